"""Distances between a projected speech position and its text position."""

from typing import Annotated, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from trainables.config import Config

Positions = Float[Tensor, "batch time features"]
Distances = Float[Tensor, "batch time"]


class SquaredError(Config):
    """Mean of the squared differences over the features: the paper's MSE (eq. 13)."""

    kind: Literal["squared_error"] = "squared_error"

    def __call__(self, speech: Positions, text: Positions) -> Distances:
        """The distance at each position, (batch, time)."""
        return (speech - text).square().mean(dim=2)


class AbsoluteError(Config):
    """Mean of the absolute differences over the features: L1."""

    kind: Literal["absolute_error"] = "absolute_error"

    def __call__(self, speech: Positions, text: Positions) -> Distances:
        """The distance at each position, (batch, time)."""
        return (speech - text).abs().mean(dim=2)


class SmoothL1(Config):
    """Half a square over `beta` for differences below `beta`, L1 less half of `beta` above, mean over the features."""

    kind: Literal["smooth_l1"] = "smooth_l1"
    beta: Annotated[float, Field(gt=0)] = 1.0
    """The difference at which the square becomes the line (Girshick 2015: 1)."""

    def __call__(self, speech: Positions, text: Positions) -> Distances:
        """The distance at each position, (batch, time)."""
        return functional.smooth_l1_loss(speech, text, reduction="none", beta=self.beta).mean(dim=2)


class Cosine(Config):
    """1 − cos of the angle between the two, from 0 to 2: lengths do not matter."""

    kind: Literal["cosine"] = "cosine"

    def __call__(self, speech: Positions, text: Positions) -> Distances:
        """The distance at each position, (batch, time); 1 where a vector is zero."""
        return 1 - functional.cosine_similarity(speech, text, dim=2)


Distance = Annotated[SquaredError | AbsoluteError | SmoothL1 | Cosine, Field(discriminator="kind")]
