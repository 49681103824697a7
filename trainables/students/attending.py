"""Additive attention over an encoder's frames, for decoders that ask once for each token."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from trainables.config import Config
from trainables.sequences import Sequences

Size = Annotated[int, Field(gt=0)]


class Additive(Config):
    """One head of additive attention (arXiv 1409.0473, §A.1.2), as LAS has it in Lingvo: the softmax over frames t of
    v · tanh(K h_t + Q s)."""

    kind: Literal["additive"] = "additive"
    hidden: Size = 128


class LocationAware(Config):
    """The same, which also sees where it has looked: + F f_t inside the tanh, where f is the convolution of the sum of
    all earlier weights (arXiv 1506.07503 §2.2, with the sum in place of the last weights).

    With little speech to learn from, it finds the way along the frames sooner.
    """

    kind: Literal["location_aware"] = "location_aware"
    hidden: Size = 128
    filters: Size = 10
    kernel: Size = 31
    """Frames of a filter, an odd number."""

    @model_validator(mode="after")
    def _has_a_middle(self) -> "LocationAware":
        if self.kernel % 2 == 0:
            raise ValueError(f"`kernel` must be odd, but is {self.kernel} instead.")
        return self


AttentionConfig = Annotated[Additive | LocationAware, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True)
class Memory:
    """What is attended to: made once for a batch."""

    values: Float[Tensor, "batch frames features"]
    keys: Float[Tensor, "batch frames hidden"]
    mask: Bool[Tensor, "batch frames"]

    def select(self, rows: Int[Tensor, " rows"]) -> "Memory":
        """What some rows of the batch attend to, in their order."""
        return Memory(self.values[rows], self.keys[rows], self.mask[rows])


class Attention(nn.Module):
    """Contexts of queries: means of the frames, weighed by how well they fit."""

    def __init__(self, config: AttentionConfig, features: int, query: int) -> None:
        """`features` are those of the frames."""
        super().__init__()
        self.keys = nn.Linear(features, config.hidden, bias=False)
        self.query = nn.Linear(query, config.hidden, bias=False)
        self.score = nn.Linear(config.hidden, 1, bias=False)
        self.filters: nn.Conv1d | None = None
        if isinstance(config, LocationAware):
            self.filters = nn.Conv1d(1, config.filters, config.kernel, padding=config.kernel // 2, bias=False)
            self.location = nn.Linear(config.filters, config.hidden, bias=False)

    def memory(self, frames: Sequences) -> Memory:
        """What is attended to of an encoder's frames (batch, frames, features)."""
        return Memory(frames.values, self.keys(frames.values), frames.mask)

    def forward(
        self, query: Float[Tensor, "batch query"], memory: Memory, looked: Float[Tensor, "batch frames"]
    ) -> tuple[Float[Tensor, "batch features"], Float[Tensor, "batch frames"]]:
        """A context for each query, and its weights added to those of earlier ones, `looked`."""
        fit = memory.keys + self.query(query)[:, None]
        if self.filters is not None:
            fit = fit + self.location(self.filters(looked[:, None]).transpose(1, 2))
        scores = self.score(torch.tanh(fit))[:, :, 0].float()
        weights = functional.softmax(scores.masked_fill(~memory.mask, torch.finfo(torch.float32).min), dim=1)
        context = torch.bmm(weights[:, None].to(memory.values.dtype), memory.values)[:, 0]
        return context, looked + weights
