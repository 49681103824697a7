"""Two workers that train several stages do what one does."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing, nn

from trainables.batch import Batch
from trainables.corpora.batching import ByCount, TimeMasking
from trainables.optimisation import Group, Optimisation
from trainables.recipes import probe
from trainables.run import LocalRun
from trainables.sequences import Sequences
from trainables.stages import Last, Stages
from trainables.task import Losses, Task
from trainables.training import World, fit

WIDTH, SHARES = 8, 2
NOISE = [
    *probe.noise(ByCount(utterances=1), longest=0.1, shares=1, masking=TimeMasking(), teacher=None),
    *probe.noise(ByCount(utterances=2), longest=0.1, shares=1, masking=TimeMasking(), teacher=None),
]
STAGES = {
    "first": Optimisation(steps=4, warmup=1, learning_rate=0.05, evaluate_every=2, clip=0.1, precision="float32"),
    "second": Optimisation(
        steps=5, warmup=1, learning_rate=0.05, evaluate_every=2, clip=None, ema=0.5, precision="float32"
    ),
}


class Norm(Task):
    """A student whose outputs shall vanish; a layer of it begins to learn later."""

    def __init__(self, student: nn.Sequential, begins: int) -> None:
        super().__init__()
        self.student, self.begins = student, begins

    def groups(self, optimisation: Optimisation) -> list[Group]:
        first, _, last = self.student
        begin = optimisation.learning_rate, self.begins
        return [Group("a", list(first.parameters()), *begin), Group("b", list(last.parameters()), *begin[:1])]

    def forward(self, batch: Batch) -> Losses:
        return Losses((self.student(batch.audio.values).square().sum(dim=1) * batch.scale).sum(), {})

    def evaluate(self, batches: Iterator[Batch]) -> dict[str, float]:
        return {"norm": float(sum(self.forward(batch).total for batch in batches))}


def share(step: int, i: int) -> Batch:
    """Share `i` of the global batch of a step: one utterance in the first, two in the second."""
    values = torch.randn(1 + i, WIDTH, generator=torch.Generator().manual_seed(SHARES * step + i))
    return replace(NOISE[i], audio=Sequences(values, torch.full((1 + i,), WIDTH)), scale=torch.full((1 + i,), 1 / 3))


def trained(rank: int, workers: int, folder: Path) -> None:
    """One worker; its weights go to a file."""
    torch.set_num_threads(1)
    if workers > 1:
        distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=workers)
    torch.manual_seed(0)
    student = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Dropout(0.2), nn.Linear(WIDTH, 2))
    run = LocalRun(folder / f"run{rank}")
    stages = Stages(run, STAGES)
    for i, stage in enumerate(STAGES):
        fit(
            Norm(student, begins=2 * i), stages=stages, stage=stage, selection=Last(), seed=1,
            train=lambda step: ([share(n, i) for i in range(rank, SHARES, workers)] for n in range(step, 100)),
            valid=lambda: iter([share(100, 1)]), world=World(rank, workers, torch.device("cpu")),
        )  # fmt: skip
    torch.save((student.state_dict(), [report["train/loss"] for report in run.metrics()]), folder / f"{rank}.pt")
    if workers > 1:
        distributed.destroy_process_group()


def test_two_workers_are_one_in_every_stage(tmp_path: Path) -> None:
    together = tmp_path / "together"
    together.mkdir()
    trained(0, 1, tmp_path)
    multiprocessing.spawn(  # pyright: ignore[reportPrivateImportUsage]
        trained, (2, together), nprocs=2
    )
    weights, losses = torch.load(tmp_path / "0.pt", weights_only=True)
    for rank in range(2):
        found, reported = torch.load(together / f"{rank}.pt", weights_only=True)
        assert reported == pytest.approx(losses)
        for name, value in weights.items():
            torch.testing.assert_close(found[name], value, rtol=0, atol=1e-6, msg=f"{rank} {name}")
