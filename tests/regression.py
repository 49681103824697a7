"""A task in two stages, small enough for exact comparisons: a student that regresses onto a frozen teacher."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from trainables.batch import Batch
from trainables.corpora.batching import ByCount, TimeMasking
from trainables.optimisation import Group, Linear, Optimisation
from trainables.recipes import probe
from trainables.sequences import Sequences
from trainables.stages import Best, Last, Stages
from trainables.task import Losses, Task
from trainables.training import World, fit

WIDTH = 8


(NOISE,) = probe.noise(ByCount(utterances=3), longest=0.1, shares=1, masking=TimeMasking(), teacher=None)


def batch(step: int) -> Batch:
    values = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(step))
    return replace(NOISE, audio=Sequences(values, torch.full((3,), WIDTH)))


class Student(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fixed = nn.Linear(WIDTH, WIDTH).requires_grad_(False)
        self.front = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.Dropout(0.2))
        self.head = nn.Linear(WIDTH, 2)

    def forward(self, values: Tensor) -> Tensor:
        return self.head(self.front(self.fixed(values)))


class Regression(Task):
    """A student that regresses onto a frozen teacher through a projection of its own, itself with running means."""

    def __init__(self, student: Student, *, begins: int = 0) -> None:
        super().__init__()
        self.student, self.begins = student, begins
        self.projection = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 4))
        self.teacher = nn.Sequential(nn.Linear(WIDTH, 4), nn.BatchNorm1d(4)).requires_grad_(False).eval()
        self.draws: list[int] = []

    def train(self, mode: bool = True) -> "Regression":
        super().train(mode)
        self.teacher.eval()
        return self

    def groups(self, optimisation: Optimisation) -> list[Group]:
        front = list(self.student.front.parameters())
        rest = [*self.student.head.parameters(), *self.projection.parameters()]
        return [
            Group("front", front, optimisation.learning_rate, self.begins),
            Group("rest", rest, optimisation.peak_of_new),
        ]

    def forward(self, batch: Batch) -> Losses:
        self.draws.append(torch.initial_seed())
        values = batch.audio.values
        distance = (self.projection(self.student(values)) - self.teacher(values)).square().mean(dim=1)
        return Losses((distance * batch.scale).sum(), {})

    def evaluate(self, batches: Iterator[Batch]) -> dict[str, float]:
        errors = [self.forward(batch).total.item() for batch in batches]
        del self.draws[-len(errors) :]
        return {"error": 100 * sum(errors), "accuracy": 100 - 100 * sum(errors)}


FIRST = Optimisation(steps=6, warmup=2, learning_rate=0.05, evaluate_every=3, precision="float32")


SECOND = Optimisation(
    steps=9, warmup=1, learning_rate=0.02, new_learning_rate=0.1, evaluate_every=2, precision="float32",
    schedule=Linear(), epsilon=1e-6, clip=None, ema=0.9,
)  # fmt: skip


STAGES = {"first": FIRST, "second": SECOND}


class Interrupted(Exception):
    pass


def fitted(task: Regression, stages: Stages, stage: str, selection: Best | Last | None = None) -> Any:
    return fit(
        task, stages=stages, stage=stage,
        train=lambda step: ([batch(i)] for i in range(step, 1000)), valid=lambda: iter([batch(1001)]),
        selection=selection or Best(value="valid/error"), seed=1, world=World(0, 1, torch.device("cpu")),
    )  # fmt: skip


def equal(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
