"""Optimiser, learning rate, clipping and averaging: all that is done with gradients and weights, as data.

A task says which of its weights learn at which peak (`Group`), and why is its own affair. `Optimisation` says how all
peaks rise and fall together: a linear warm-up, and then one of `Schedule`.
"""

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from typing_extensions import override

from trainables.config import Config, Since

Share = Annotated[float, Field(ge=0, le=1)]


class AfterWarmup(Config, ABC):
    """A schedule of the learning rate from the end of the warm-up on.

    In the formulas t is the step, counted from 0, w the number of steps of warm-up, T that of all steps, and f(t) the
    learning rate as a share of its peak; f(w) = 1.
    """

    @abstractmethod
    def factor(self, step: int, warmup: int, steps: int) -> float:
        """f(t) for w <= t < T."""


class Cosine(AfterWarmup):
    """Half a cosine to zero: f(t) = ½ (1 + cos(π (t − w) / (T − w))) (SGDR, arXiv 1608.03983, eq. 5, one period)."""

    kind: Literal["cosine"] = "cosine"

    @override
    def factor(self, step: int, warmup: int, steps: int) -> float:
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


class Linear(AfterWarmup):
    """A straight line to zero: f(t) = (T − t) / (T − w) (BERT, arXiv 1810.04805, §A.2; s3prl's DistilHuBERT)."""

    kind: Literal["linear"] = "linear"

    @override
    def factor(self, step: int, warmup: int, steps: int) -> float:
        return (steps - step) / (steps - warmup)


class Constant(AfterWarmup):
    """The peak until the end: f(t) = 1."""

    kind: Literal["constant"] = "constant"

    @override
    def factor(self, step: int, warmup: int, steps: int) -> float:
        return 1.0


class InverseSquareRoot(AfterWarmup):
    """f(t) = √(w / t), with w = 1 and t counted from 1 where there is no warm-up.

    Transformer (arXiv 1706.03762, eq. 3) and Conformer (arXiv 2005.08100), whose peaks are c · d^-½ · w^-½.
    """

    kind: Literal["inverse_square_root"] = "inverse_square_root"

    @override
    def factor(self, step: int, warmup: int, steps: int) -> float:
        scale = max(warmup, 1)
        return math.sqrt(scale / (scale + step - warmup))


class Exponential(AfterWarmup):
    """f(t) = 2^(−(t − w − hold) / half_life) from t = w + hold on, but never below `floor`; before that f(t) = 1.

    It depends on T in nothing, unlike the last phase of `TriStage` (Lingvo's `ContinuousSchedule`).
    """

    kind: Literal["exponential"] = "exponential"
    half_life: Annotated[int, Field(gt=0)]
    """Steps in which the learning rate halves."""
    hold: Annotated[int, Field(ge=0)] = 0
    """Steps at the peak, after the warm-up."""
    floor: Share = 0.0
    """Smallest share of the peak."""

    @override
    def factor(self, step: int, warmup: int, steps: int) -> float:
        return max(self.floor, 0.5 ** (max(0, step - warmup - self.hold) / self.half_life))


class TriStage(AfterWarmup):
    """After the warm-up a plateau, then an exponential decay to a last share of the peak, which is kept from then on.

    f(t) = 1 while t < w + hold, then final^((t − w − hold) / decay), and `final` from t = w + hold + decay on
    (SpecAugment, arXiv 1904.08779; fairseq's `tri_stage`). All phases are given in steps, as the warm-up is: fairseq's
    `phase_ratio` [0.1, 0.4, 0.5] of 25 000 updates is a warm-up of 2 500, a hold of 10 000, and decay to the end.
    A decay that is longer than what is left is broken off, as in fairseq. Its `init_lr_scale` is not here: a warm-up
    begins at 1 / w of the peak, and from 0.01 instead it would differ by less than 0.01 of the peak in every step.
    """

    kind: Literal["tri_stage"] = "tri_stage"
    hold: Annotated[int, Field(ge=0)] = 0
    """Steps at the peak."""
    decay: Annotated[int, Field(gt=0)] | None = None
    """Steps of the decay; all that are left if not given."""
    final: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Share of the peak at which the decay ends (fairseq's `final_lr_scale`; its recipes for wav2vec 2.0 have 0.05)."""

    @override
    def factor(self, step: int, warmup: int, steps: int) -> float:
        begin = warmup + self.hold
        if step <= begin:
            return 1.0
        decay = self.decay or steps - begin
        return self.final ** min(1.0, (step - begin) / decay)


Schedule = Annotated[
    Cosine | Linear | Constant | InverseSquareRoot | Exponential | TriStage, Field(discriminator="kind")
]


@dataclass(frozen=True)
class Group:
    """Weights of a task that learn at one rate."""

    name: str
    weights: Sequence[nn.Parameter]
    """In an order that must stay, for it is that of the optimiser's state in checkpoints. Frozen ones are left out."""
    peak: float
    """Learning rate at its highest."""
    begins: int = 0
    """Steps of the stage in which these weights do not learn yet: their gradients are dropped, before the norm that is
    clipped is taken, and the optimiser's averages of them begin then (fairseq's `freeze_finetune_updates`). A task that
    would save the work of these gradients does so itself, and says in `skips` that steps leave weights without."""


class Optimisation(Config):
    """AdamW under a linear warm-up and what follows it, by default a cosine to zero (§3.4)."""

    steps: Annotated[int, Field(gt=0)] = 20_000
    """Optimiser steps in all."""
    warmup: Annotated[int, Field(ge=0)] = 2_000
    """Steps of linear warm-up, before any schedule: the learning rate is (t + 1) / w of its peak."""
    schedule: Annotated[Schedule, Since()] = Cosine()
    """The learning rate after the warm-up."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-5
    """Peak learning rate."""
    new_learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Peak learning rate of the weights that a task sets apart as new, such as heads and projections; that of the
    others if not given."""
    betas: tuple[float, float] = (0.9, 0.98)
    epsilon: Annotated[float, Field(gt=0), Since()] = 1e-8
    """Adam's ε, which keeps the step finite where gradients vanish."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip: Annotated[float, Field(gt=0)] | None = 1.0
    """Largest norm of the gradient; None leaves it as it is."""
    ema: Annotated[Annotated[float, Field(gt=0, lt=1)] | None, Since()] = None
    """Decay of an exponential moving average of the student's weights, which is evaluated and kept in their place."""
    evaluate_every: Annotated[int, Field(gt=0)] = 2_000
    """Steps between evaluations on the validation split; a checkpoint is committed at each."""
    shares: Annotated[int, Field(gt=0)] = 1
    """Parts that each global batch is cut into; they are spread over the workers, so that any number of workers
    up to this gives the same result."""
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    """Number format of the matrix products; bfloat16 only where the device has it. Losses are always float32."""

    @model_validator(mode="after")
    def _warm_before_end(self) -> "Optimisation":
        if self.warmup >= self.steps:
            raise ValueError(
                f"`warmup` must be less than `steps`, which is {self.steps}, but is {self.warmup} instead."
            )
        return self

    @property
    def peak_of_new(self) -> float:
        """Peak learning rate of the weights that are new."""
        return self.new_learning_rate or self.learning_rate

    def build(self, task: nn.Module, groups: Sequence[Group]) -> torch.optim.AdamW:
        """The optimiser of the task's weights, in these groups.

        Raises ValueError where a weight that needs a gradient is in none of them, or in more than one.
        """
        places = Counter(id(weight) for group in groups for weight in group.weights)
        for name, weight in task.named_parameters():
            if weight.requires_grad and places[id(weight)] != 1:
                names = ", ".join(group.name for group in groups)
                raise ValueError(
                    f"`{name}` must be in one of the task's groups, {names}, but is in {places[id(weight)]} instead."
                )
        parts = [
            {
                "params": [weight for weight in group.weights if weight.requires_grad],
                "name": group.name, "peak": group.peak, "begins": group.begins,
            }
            for group in groups
        ]  # fmt: skip
        return torch.optim.AdamW(
            parts, lr=0.0, betas=self.betas, eps=self.epsilon, weight_decay=self.weight_decay, fused=True
        )

    def average(self, weights: Mapping[str, Tensor]) -> "Average | None":
        """The moving average of these weights, which begins at what they are now; None where none is wanted."""
        return None if self.ema is None else Average(self.ema, weights)

    def shares_of(self, rank: int, workers: int) -> range:
        """The parts of each global batch that one of `workers` computes, one after the other.

        Raises ValueError when there are fewer parts than workers.
        """
        if workers > self.shares:
            raise ValueError(
                f"`optimisation.shares` must be at least the number of workers, which is {workers}, "
                f"but is {self.shares} instead."
            )
        return range(rank, self.shares, workers)

    def factor(self, step: int) -> float:
        """Share of the peak learning rate at a step, counted from 0."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        return self.schedule.factor(step, self.warmup, self.steps)


class Average:
    """An exponential moving average of weights, as TensorFlow's `ExponentialMovingAverage` with `num_updates`.

    θ̄ ← d θ̄ + (1 − d) θ after each step n, counted from 0, with d = min(decay, (1 + n) / (10 + n)): without that warm-up
    an average of decay 0.9999 would be half the untrained weights after 7 000 steps. What has no fraction is copied.
    """

    def __init__(self, decay: float, weights: Mapping[str, Tensor]) -> None:
        """`weights` are the living ones, whose memory stays the same while they learn."""
        self.decay, self.weights = decay, weights
        self.values = {name: weight.clone() for name, weight in weights.items()}

    def update(self, step: int) -> None:
        """Take in the weights after a step, counted from 0."""
        part = 1 - min(self.decay, (1 + step) / (10 + step))
        for name, weight in self.weights.items():
            if weight.is_floating_point():
                self.values[name].lerp_(weight, part)
            else:
                self.values[name].copy_(weight)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """For a while, the average stands where the weights are."""
        own = {name: weight.clone() for name, weight in self.weights.items()}
        self._put(self.values)
        yield
        self._put(own)

    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, weight in self.weights.items():
            weight.copy_(values[name])

    def restore(self, values: Mapping[str, Tensor]) -> None:
        """Go on from an average that was saved."""
        for name, value in self.values.items():
            value.copy_(values[name])
