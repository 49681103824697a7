import importlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import (
    distillation_loss,
    distillation_overhead,
    evaluation,
    finetuning,
    loader,
    manifest,
    peak,
    preparation,
    shared_preparation,
    two_workers,
    usual_trainer,
)
from benchmarks.material import Material, Shape, environment, lengths, scratch
from benchmarks.ratios import Claim, Measurement, alternate, device, not_measured, ratios

CLAIM = Claim("a step of ours", "a step of theirs", "the work itself", target=1.5, better="at least")
TINY = Shape(layers=1, width=64, convolutions=4, teacher_layers=1, teacher_width=64)


def test_arms_take_turns_back_and_forth_after_a_round_that_does_not_count() -> None:
    order: list[str] = []
    values = iter(range(100))

    def arm(name: str) -> float:
        order.append(name)
        return float(next(values))

    found = alternate({"a": lambda: arm("a"), "b": lambda: arm("b")}, 3)
    assert order == ["b", "a", "a", "b", "b", "a", "a", "b"]
    assert found == {"a": (2.0, 5.0, 6.0), "b": (3.0, 4.0, 7.0)}


def test_a_ratio_is_of_two_that_ran_side_by_side() -> None:
    assert ratios((2.0, 9.0, 4.0), (1.0, 3.0, 8.0)) == (2.0, 3.0, 0.5)


@pytest.mark.parametrize(
    ("better", "repeats", "met"),
    [
        ("at least", (1.0, 1.6, 9.0), True),
        ("at least", (1.4,), False),
        ("at most", (1.4, 1.6), True),
        ("at most", (), None),
        ("at most", (np.float64(1.75),), False),  # whose comparisons are NumPy's own
    ],
)
def test_the_median_decides(better: str, repeats: tuple[float, ...], met: bool | None) -> None:
    claim = Claim("what", "peer", "floor", target=1.5, better=better)  # pyright: ignore[reportArgumentType]
    assert Measurement(claim, repeats).met is met


def run(
    monkeypatch: pytest.MonkeyPatch, found: list[Measurement], *, names: tuple[str, ...] = (), json: Path | None = None
) -> int:
    monkeypatch.setattr(command, "BENCHMARKS", {"some": lambda repeats: found})
    return command.main(names, repeats=3, json=json)


def test_a_missed_target_is_told_and_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, [Measurement(CLAIM, (1.0, 1.25, 1.125)), Measurement(CLAIM, (2.0, 1.75, 2.5))]) == 1
    printed = capsys.readouterr().out
    for part in (
        "a step of ours",
        "a step of theirs",
        "1.12 ×",
        "1 to 1.25",
        "≥ 1.5 ×",
        "MISSED",
        "met",
        "1.75 to 2.5",
    ):
        assert part in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_what_is_not_measured_is_no_failure_and_has_no_figure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "found.json"
    assert run(monkeypatch, not_measured([CLAIM], "there is no GPU"), json=path) == 0
    printed = capsys.readouterr().out
    assert "not measured" in printed
    assert "MISSED" not in printed
    (row,) = json.loads(path.read_text())["measurements"]
    assert (row["repeats"], row["median"], row["met"], row["note"]) == ([], None, None, "there is no GPU")


def test_the_json_has_all_repeats_device_and_versions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    assert run(monkeypatch, [Measurement(CLAIM, (1.75, 2.0, 1.5), "sizes")], names=("some",), json=path) == 0
    found = json.loads(path.read_text())
    assert found["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert found["device"]
    assert list(found["seconds"]) == ["some"]
    (row,) = found["measurements"]
    assert (row["repeats"], row["median"], row["target"], row["note"]) == ([1.75, 2.0, 1.5], 1.75, 1.5, "sizes")


@pytest.mark.parametrize(("names", "repeats", "message"), [
    (("none",), 5, "A benchmark must be one of some, but is 'none' instead."),
    ((), 0, "`repeats` must be at least 1, but is 0 instead."),
])  # fmt: skip
def test_what_cannot_be_run_is_named(
    names: tuple[str, ...], repeats: int, message: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(command, "BENCHMARKS", {"some": lambda repeats: []})
    assert command.main(names, repeats=repeats) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_named_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(command, "BENCHMARKS", {"some": lambda repeats: pytest.fail("it was measured")})
    for path in (tmp_path, tmp_path / "none" / "found.json"):
        assert command.main(json=path) == 2
        assert f"`json` must be a file in a folder that can be written to, but is {path} instead." in (
            capsys.readouterr().err
        )


def test_an_interrupt_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def interrupted(repeats: int) -> list[Measurement]:
        raise KeyboardInterrupt

    measured = {"some": lambda repeats: [Measurement(CLAIM, (1.75,))], "another": interrupted}
    monkeypatch.setattr(command, "BENCHMARKS", measured)
    assert command.main(json=tmp_path / "found.json") == 130
    output = capsys.readouterr()
    assert "1.75 ×" in output.out
    assert "Interrupted." in output.err
    assert [row["median"] for row in json.loads((tmp_path / "found.json").read_text())["measurements"]] == [1.75]


def test_every_script_says_its_claim_its_peer_and_its_floor() -> None:
    for name in command.BENCHMARKS:
        said = importlib.import_module(f"benchmarks.{name}").__doc__ or ""
        assert all(word in said for word in ("The claim", "The peer", "The floor")), name


def test_lengths_are_those_of_common_voice() -> None:
    drawn = lengths(10_000)
    assert 4.9 < sorted(drawn)[5_000] < 5.1
    assert drawn.min() >= 1
    assert drawn.max() == 10


def test_the_environment_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("L2S_ONE", "1")
    with environment(L2S_ONE="2", L2S_TWO="2"):
        pass
    assert (os.environ["L2S_ONE"], os.environ.get("L2S_TWO")) == ("1", None)


def test_the_loss_is_the_loops() -> None:
    size = distillation_loss.Size(2, 30, 6, 5, vocabulary=8, characters=6, tokens=4, times=1)
    found = distillation_loss.measure(1, size)
    assert [len(m.repeats) for m in found] == [1, 0]


def test_a_loss_that_is_not_the_loops_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(_: object, hidden: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return hidden[:3]

    monkeypatch.setattr(distillation_loss.FrameByFrame, "_shrink", wrong)
    with pytest.raises(ValueError, match="must be the loop's"):
        distillation_loss.measure(1, distillation_loss.Size(2, 30, 6, 5, 8, 6, 4, 1))


def test_training_is_measured() -> None:
    overhead = distillation_overhead.measure(1, distillation_overhead.Size(TINY, 4, 2, 1))
    assert [len(m.repeats) for m in overhead] == [1, 0]
    waiting, padding = loader.measure(1, loader.Size(TINY, 4, 2, 1))
    assert len(waiting.repeats) == 1
    assert padding.met, "batches of 24 are sorted by length"


def test_an_evaluation_is_measured() -> None:
    (found,) = evaluation.measure(1, evaluation.Size(TINY, 4, 2, 1))
    assert 0 < found.repeats[0] < 100


def test_training_is_measured_against_transformers() -> None:
    found = finetuning.measure(1, finetuning.Size(TINY, 4, 2, 1))
    assert all(len(m.repeats) == 1 and m.repeats[0] > 0 for m in found)


def test_only_what_the_trainer_was_trained_on_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usual_trainer.Clock, "seconds", property(lambda _: 1.0, lambda *_: None))
    with scratch() as folder:
        material = Material.of(folder, TINY, clips=8, batch=2, steps=2)
        kind = usual_trainer.processor(material, folder)
        collator = usual_trainer.PaddingCollator(kind)
        model, rows = usual_trainer.student(material), usual_trainer.dataset(material, kind)
        seconds = usual_trainer.throughput(model, rows, collator, material, folder, grouped=False, seed=0)
    assert len(collator.seconds) > 2, "it fetches ahead"
    assert seconds == pytest.approx(sum(collator.seconds[:2]))


def test_operations_are_counted() -> None:
    with scratch() as folder:
        material = peak.made(folder, peak.Size(TINY, 2, 2, 1))
        counted = peak.operations(material, material.task(0.0))
    frames, width = 50, TINY.width
    layer = 6 * 12 * width**2 * frames  # forward and backward are three products, each two operations a weight
    assert layer < counted < 20 * layer
    if device().type == "cpu":
        assert peak.measure(1)[0].repeats == ()


def test_preparing_is_measured() -> None:
    assert len(preparation.measure(1, preparation.Size(clips=2))[0].repeats) == 1
    assert shared_preparation.measure(1)[0].note.startswith("the miniature is not there")


def test_what_is_done_with_a_manifest_is_measured(tmp_path: Path) -> None:
    manifest.made(tmp_path, 1000)
    found = manifest.read(tmp_path)
    assert 0 < found["digest"] + found["rows"] + found["split"] <= found["seconds"] + 0.001
    assert found["gigabytes"] > 0.01


def test_one_core_is_not_enough_for_two_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    assert two_workers.measure(1)[0].repeats == ()


def test_two_workers_are_measured() -> None:
    (found,) = two_workers.measure(1, two_workers.Size(TINY, 4, 2, 1))
    assert len(found.repeats) == 1


def test_material_is_trained_on_as_it_was_asked_for() -> None:
    with scratch() as folder:
        material = Material.of(folder, TINY, clips=4, batch=2, steps=2)
        (batch,) = next(material.batches(0.5, 0, material.world())(0))
        assert (len(material.train), len(batch.ids)) == (4, 2)
        assert batch.sources["teacher"].lengths.tolist() == [len(text.split()) + 2 for text in batch.texts]
