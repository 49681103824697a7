"""A student with batch norm, masks and an average: cut off and resumed, or trained by two workers, it is the same."""

import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed, multiprocessing
from torch.nn import functional

from tests.interrupted import Interrupted, InterruptedRun
from trainables import testing
from trainables.batch import Batch
from trainables.corpora.spec_augment import BandMasks, TimeMasks
from trainables.optimisation import Average, Exponential, InverseSquareRoot, Optimisation
from trainables.run import LocalRun, Run
from trainables.sequences import Sequences
from trainables.stages import Last, Stages
from trainables.students.acoustic import AcousticEncoder
from trainables.students.attending import Additive
from trainables.students.conformer import Conformer
from trainables.students.las import Las, LasModel
from trainables.students.las_search import GreedySpelling
from trainables.students.recurrent import ConvBlstm
from trainables.task import Losses, Task
from trainables.training import World, fit

SHARES, STEPS = 2, 6
ENCODERS: list[AcousticEncoder] = [
    ConvBlstm(channels=2, layers=2, cells=4),
    Conformer(layers=1, width=8, heads=2, feed_forward=8, kernel=3, channels=2, dropout=0.2),
]
OPTIMISATION = Optimisation(
    steps=STEPS, warmup=2, schedule=InverseSquareRoot(), learning_rate=0.01, evaluate_every=3, shares=SHARES,
    ema=0.9, precision="float32",
)  # fmt: skip


class Spelling(Task):
    """Cross-entropy over word pieces."""

    student: LasModel

    def __init__(self, student: LasModel) -> None:
        super().__init__()
        self.student = student

    def forward(self, batch: Batch) -> Losses:
        logits, tokens = self.student(batch).logits, batch.sources["tokens"]
        losses = functional.cross_entropy(logits.values.transpose(1, 2), tokens.values, reduction="none")
        return Losses(((losses * tokens.mask).sum(dim=1) * batch.scale).sum(), {})

    def evaluate(self, batches: Iterator[Batch]) -> dict[str, float]:
        batch = next(batches)
        said = GreedySpelling().search(self.student, self.student.encoder(batch))
        return {"loss": float(self.forward(batch).total), "tokens": float(sum(map(sum, said)))}


def share(step: int, i: int) -> Batch:
    """Share `i` of the global batch of a step, one utterance in the first, two in the second."""
    random = torch.Generator().manual_seed(SHARES * step + i)
    audio = Sequences.stack([0.1 * torch.randn(1600 * (2 + k), generator=random) for k in range(1 + i)])
    masks = [np.random.default_rng((1, step, i, k)) for k in range(1 + i)]
    tokens = Sequences.stack([torch.randint(1, 9, (3 + k,), generator=random) for k in range(1 + i)])
    return Batch(
        ids=("a",) * (1 + i), audio=audio, scale=torch.full((1 + i,), 1 / 3), texts=("",) * (1 + i),
        sources={"tokens": tokens}, step=step,
        masked=torch.from_numpy(np.stack([TimeMasks(count=2).draw(10 * (1 + i), each) for each in masks])),
        channels=torch.from_numpy(np.stack([BandMasks().draw(80, each) for each in masks])),
    )  # fmt: skip


def train(run: Run, encoder: AcousticEncoder, rank: int = 0, workers: int = 1) -> dict[str, Any]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = Las(encoder=encoder, attention=Additive(hidden=4), embedding=4, cells=5)
    task = Spelling(config.build(testing.numbered_pieces(9)))
    stages = Stages(run, {"all": OPTIMISATION})
    fit(
        task, stages=stages, stage="all", selection=Last(), seed=1,
        train=lambda step: ([share(n, i) for i in range(rank, SHARES, workers)] for n in range(step, 100)),
        valid=lambda: iter([share(100, 1)]), world=World(rank, workers, torch.device("cpu")),
    )  # fmt: skip
    return task.student.state_dict()


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda encoder: encoder.kind)
def test_a_student_that_is_resumed_is_an_undisturbed_one(encoder: AcousticEncoder, tmp_path: Path) -> None:
    whole = LocalRun(tmp_path / "whole")
    expected = train(whole, encoder)
    with suppress(Interrupted):
        train(InterruptedRun(tmp_path / "parts", at=3), encoder)
    parts = LocalRun(tmp_path / "parts")
    found = train(parts, encoder)
    assert len(parts.metrics()) == 2
    assert parts.metrics()[-1]["valid/loss"] == whole.metrics()[-1]["valid/loss"]
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def worker(rank: int, folder: Path) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    found = [train(LocalRun(folder / f"{rank}-{i}"), encoder, rank, 2) for i, encoder in enumerate(ENCODERS)]
    torch.save(found, folder / f"{rank}.pt")
    distributed.destroy_process_group()


def test_two_workers_train_the_student_of_one_with_its_batch_norm(tmp_path: Path) -> None:
    expected = [train(LocalRun(tmp_path / str(i)), encoder) for i, encoder in enumerate(ENCODERS)]
    multiprocessing.spawn(  # pyright: ignore[reportPrivateImportUsage]
        worker, (tmp_path,), nprocs=2
    )
    for rank in range(2):
        for weights, found in zip(expected, torch.load(tmp_path / f"{rank}.pt", weights_only=True), strict=True):
            assert any("running_mean" in name for name in weights)
            for name, value in weights.items():
                torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=f"{rank} {name}")


def test_an_average_of_weights_that_stay_has_their_closed_form() -> None:
    weights, steps = {"weight": torch.zeros(1, dtype=torch.float64)}, 50
    average = Average(0.9999, weights)
    weights["weight"].fill_(1.0)
    for step in range(steps):
        average.update(step)
    # Π (1 + n) / (10 + n) = 9! n! / (n + 9)!, far below 0.9999 until n = 89 991.
    left = math.factorial(9) * math.factorial(steps) / math.factorial(steps + 9)
    assert 1 - float(average.values["weight"]) == pytest.approx(left, rel=1e-6)


def test_the_schedules_are_those_of_the_paper_and_of_lingvo() -> None:
    conformer = Optimisation(steps=100_000, warmup=10_000, schedule=InverseSquareRoot())
    peaks = [conformer.factor(step) for step in (4_999, 9_999, 10_000, 40_000)]
    assert peaks == pytest.approx([0.5, 1, 1, 0.5])
    lingvo = Exponential(half_life=100_000, hold=50_000, floor=0.01)
    las = Optimisation(steps=1_000_000, warmup=0, schedule=lingvo)
    shares = [las.factor(step) for step in (0, 50_000, 150_000, 250_000, 999_999)]
    assert shares == pytest.approx([1, 1, 0.5, 0.25, 0.01])
