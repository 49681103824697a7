"""Joint networks to measure a transducer's loss on: one of random weights, and one that was trained until it aligns.

What may be left out of a gradient depends on how sharp the alignments are, so these are learned, and not written down:
utterances of noise in which each token's code is heard for three frames at a place of its own, and weights that learn
from random ones, on others than those that are measured.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trainables.losses.lattice import Posteriors
from trainables.losses.transducer import EXACT, Limits, transducer_loss
from trainables.sequences import Sequences

CODE, HELD, NOISE = 64, 3, 0.5
WORDS = 100
"""Tokens of the vocabulary that occur: few enough to be learned in a minute."""


@dataclass(frozen=True)
class Shape:
    """The sizes of a batch; all its utterances are of one length, so that padding costs nobody anything."""

    utterances: int
    frames: int
    tokens: int
    vocabulary: int
    hidden: int = 640

    def __str__(self) -> str:
        sizes = (self.utterances, self.frames, self.tokens, self.vocabulary)
        return " × ".join(map(str, sizes)) + f", hidden {self.hidden}"


@dataclass(frozen=True)
class Planted:
    """What a transducer's loss is given; blank is 0."""

    acoustic: Tensor
    language: Tensor
    weight: Tensor
    bias: Tensor
    tokens: Sequences
    frames: Tensor

    def loss(self, limits: Limits = EXACT) -> Posteriors:
        """Ours."""
        acoustic, language = Sequences(self.acoustic, self.frames), Sequences(self.language, self.tokens.lengths + 1)
        return transducer_loss(acoustic, language, self.tokens, self.weight, self.bias, 0, limits)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What has a gradient."""
        return self.acoustic, self.language, self.weight, self.bias

    def save(self, file: Path) -> None:
        """Write it, for a process that measures."""
        save_file({
            "acoustic": self.acoustic.detach(), "language": self.language.detach(), "weight": self.weight.detach(),
            "bias": self.bias.detach(), "tokens": self.tokens.values, "lengths": self.tokens.lengths,
            "frames": self.frames,
        }, file)  # fmt: skip

    @classmethod
    def load(cls, file: Path) -> "Planted":
        """Read it again, with gradients wanted."""
        read = load_file(file)
        acoustic, language, weight, bias = (
            read[name].requires_grad_() for name in ("acoustic", "language", "weight", "bias")
        )
        return cls(acoustic, language, weight, bias, Sequences(read["tokens"], read["lengths"]), read["frames"])


def untrained(shape: Shape) -> Planted:
    """Random weights and states, on the processor."""
    generator = torch.Generator().manual_seed(0)

    def draw(*sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=generator)

    batch, tokens = shape.utterances, torch.randint(1, shape.vocabulary, (shape.utterances, shape.tokens))
    return Planted(
        draw(batch, shape.frames, shape.hidden).mul_(0.5).requires_grad_(),
        draw(batch, shape.tokens + 1, shape.hidden).mul_(0.5).requires_grad_(),
        draw(shape.vocabulary, shape.hidden).mul_(0.05).requires_grad_(),
        torch.zeros(shape.vocabulary, requires_grad=True),
        Sequences(tokens, torch.full((batch,), shape.tokens)),
        torch.full((batch,), shape.frames),
    )


def trained(shape: Shape, steps: int) -> Planted:
    """The same after so many steps of 8 utterances, of which each is a fifth as long as those that are measured."""
    torch.manual_seed(0)
    network = _Network(shape)
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    short = Shape(8, max(shape.frames // 5, HELD), max(shape.tokens // 5, 1), shape.vocabulary, shape.hidden)
    heard = _utterances(short, seed=1)
    for _ in range(steps):
        losses = network(*next(heard)).loss(Limits(least=1e-5)).losses
        optimiser.zero_grad()
        losses.mean().backward()
        optimiser.step()
    return network(*next(_utterances(shape, seed=2)))


class _Network(nn.Module):
    """The smallest transducer: an affine map of each frame, and an embedding of the last token."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.encoder = nn.Linear(CODE, shape.hidden)
        self.prediction = nn.Embedding(shape.vocabulary, shape.hidden)
        self.output = nn.Linear(shape.hidden, shape.vocabulary)

    def forward(self, frames: Tensor, tokens: Tensor) -> Planted:
        batch, longest = tokens.shape
        before = nn.functional.pad(tokens, (1, 0))
        return Planted(
            self.encoder(frames), self.prediction(before), self.output.weight, self.output.bias,
            Sequences(tokens, torch.full((batch,), longest)), torch.full((batch,), frames.shape[1]),
        )  # fmt: skip


def _utterances(shape: Shape, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of frames (batch, frames, CODE) and tokens (batch, tokens), without end."""
    codes = torch.randn(shape.vocabulary, CODE, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    while True:
        tokens = torch.randint(
            1, 1 + min(WORDS, shape.vocabulary - 1), (shape.utterances, shape.tokens), generator=generator
        )
        frames = NOISE * torch.randn(shape.utterances, shape.frames, CODE, generator=generator)
        for heard, said in zip(frames, tokens, strict=True):
            places = torch.randperm(shape.frames // HELD, generator=generator)[: shape.tokens].sort().values
            for held in range(HELD):
                heard[HELD * places + held] += codes[said]
        yield frames, tokens
