"""Optimiser, schedule, and how long to train."""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from trainables.config import Config


class Optimisation(Config):
    """AdamW under a linear warm-up and a cosine to zero (§3.4)."""

    steps: Annotated[int, Field(gt=0)] = 20_000
    """Optimiser steps in all."""
    warmup: Annotated[int, Field(ge=0)] = 2_000
    """Steps of linear warm-up."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-5
    """Peak learning rate of the encoder."""
    new_learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Peak learning rate of what is always new, head and projection; as the encoder's if not given."""
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip: Annotated[float, Field(gt=0)] = 1.0
    """Largest norm of the gradient."""
    evaluate_every: Annotated[int, Field(gt=0)] = 2_000
    """Steps between evaluations on the validation split; a checkpoint is committed at each."""
    shares: Annotated[int, Field(gt=0)] = 1
    """Parts that each global batch is cut into; they are spread over the workers, so that any number of workers
    up to this gives the same result."""
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    """Of the matrix products; bfloat16 only where the device has it. Losses are always float32."""

    @model_validator(mode="after")
    def _warm_before_end(self) -> "Optimisation":
        if self.warmup >= self.steps:
            raise ValueError(
                f"`warmup` must be less than `steps`, which is {self.steps}, but is {self.warmup} instead."
            )
        return self

    def build(self, task: nn.Module, pretrained: nn.Module) -> torch.optim.AdamW:
        """The optimiser of the task's trainable parameters, those of `pretrained` in a group of their own."""
        old = {id(p) for p in pretrained.parameters()}
        trainable = [p for p in task.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trainable if id(p) in old], "peak": self.learning_rate},
            {
                "params": [p for p in trainable if id(p) not in old],
                "peak": self.new_learning_rate or self.learning_rate,
            },
        ]
        fused = True
        return torch.optim.AdamW(groups, lr=0.0, betas=self.betas, weight_decay=self.weight_decay, fused=fused)

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
        return 0.5 * (1 + math.cos(math.pi * (step - self.warmup) / (self.steps - self.warmup)))
