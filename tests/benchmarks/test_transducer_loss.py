"""The benchmarks of the transducer's loss on a few frames, and what its memory must be at any size."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import transducer_loss, transducer_published
from benchmarks.planted_joint import Planted, Shape, trained, untrained
from benchmarks.transducer_loss import Cost, Size, alone, cost, measure
from trainables.losses.transducer import Limits

TINY = Size(Shape(2, 15, 3, 20, 16), 3, Shape(1, 8, 3, 30, 16))


def test_every_claim_is_measured_and_the_peers_find_the_same() -> None:
    threads = torch.get_num_threads()
    found = measure(2, TINY, cost)
    assert {m.claim.what for m in found} == {
        claim.what
        for claim in (
            *transducer_loss.TIME.values(), *transducer_loss.MEMORY.values(), transducer_loss.SHARP,
            transducer_loss.FITS, transducer_loss.FORMS,
        )
    }  # fmt: skip
    assert all(len(m.repeats) == 2 and min(m.repeats) > 0 for m in found)
    assert torch.get_num_threads() == threads


def test_a_loss_that_is_not_the_peers_is_told() -> None:
    def wrong(arm: str, file: str) -> Cost:
        return replace(cost(arm, file), loss=1.0 if arm == "parakeet" else 2.0)

    with pytest.raises(ValueError, match="The loss must be the same in all arms, but is"):
        measure(1, TINY, wrong)


def test_a_joint_network_that_was_trained_has_learned_to_align() -> None:
    losses, sharpness = [], []
    for steps in (0, 150):
        found = trained(Shape(2, 75, 5, 12, 64), steps).loss()
        losses.append(found.losses.mean().item())
        sharpness.append(float(found.tokens.max(dim=1).values[:, :-1].mean()))  # of each token's likeliest frame
    assert losses[1] < losses[0] / 10
    assert sharpness[1] > 2 * sharpness[0]


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    given = untrained(TINY.batch)
    given.save(tmp_path / "joint")
    assert Planted.load(tmp_path / "joint").loss().losses.equal(given.loss().losses)


def test_memory_is_that_of_a_chunk_and_the_weights(tmp_path: Path) -> None:
    """248 MB of logits, of which the loss holds 17 at a time."""
    shape, megabyte = Shape(1, 100, 30, 20_000, 64), 2**20
    untrained(shape).save(tmp_path / "joint")
    found = alone("exact", str(tmp_path / "joint"))
    chunk, weights, nodes = 4 * Limits().logits, 4 * shape.vocabulary * shape.hidden, shape.frames * (shape.tokens + 1)
    assert found.megabytes * megabyte < 3 * (chunk + weights) + 64 * nodes
    assert found.megabytes * megabyte > chunk


def test_the_table_beside_published_figures_needs_a_gpu_or_is_tiny(capsys: pytest.CaptureFixture[str]) -> None:
    assert transducer_published.main() == 2
    assert "There must be a GPU, but there is none" in capsys.readouterr().err
    assert transducer_published.main(tiny=True, batches=1) == 0
    printed = capsys.readouterr().out
    assert "k2, pruned, published" in printed
    found = json.loads(printed.splitlines()[-1])
    assert [row["implementation"] for row in found["bert"]] == [
        "ours, exact", "ours, exact, 2²⁶ logits at once", "ours, least 1e-7", "ours, exact, products in bfloat16",
    ]  # fmt: skip
    assert all(row["milliseconds"] > 0 for row in found["small"] + found["bert"])
