"""SpecAugment's masks over filter banks, a fixed number of spans of random width (arXiv 1904.08779 §2).

The loader draws them for each utterance from (seed, step, utterance), as it does those of `batching.py`, which have
spans of one width over a share of the frames. Time is not warped.
"""

from typing import Annotated, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from trainables.config import Config

MEL_HOP, MEL_BANDS = 160, 80
"""Samples from one frame of filter banks to the next, and their bands: what a loader draws these masks over."""


@runtime_checkable
class Masks(Protocol):
    """What a loader draws masks by."""

    def draw(self, length: int, random: np.random.Generator, /) -> NDArray[np.bool_]:
        """True on the masked ones of `length` frames or features."""
        ...


class TimeMasks(Config):
    """Spans of frames whose width depends on the clip's length (arXiv 1912.05533, "adaptive size")."""

    count: Annotated[int, Field(ge=0)] = 10
    """Spans of a clip; they may overlap."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Part of a clip that a span may cover: from 0 to ⌊share · T⌋ of its T frames, each width equally likely."""

    def draw(self, frames: int, random: np.random.Generator) -> NDArray[np.bool_]:
        """True on the masked ones of `frames` frames."""
        return _spans(frames, self.count, int(self.share * frames), random)


class BandMasks(Config):
    """Spans of mel bands, hidden in all frames of a clip."""

    count: Annotated[int, Field(ge=0)] = 2
    """Spans of a clip; they may overlap."""
    widest: Annotated[int, Field(gt=0)] = 27
    """A span has from 0 to so many bands, each width as likely as the others."""

    def draw(self, bands: int, random: np.random.Generator) -> NDArray[np.bool_]:
        """True on the masked ones of `bands` bands."""
        return _spans(bands, self.count, min(self.widest, bands), random)


def _spans(length: int, count: int, widest: int, random: np.random.Generator) -> NDArray[np.bool_]:
    """True under `count` spans, each at any place where it fits whole."""
    widths = random.integers(widest + 1, size=count)
    starts = random.integers(length - widths + 1)
    places = np.arange(length)
    inside = (places >= starts[:, None]) & (places < (starts + widths)[:, None])
    return np.logical_or.reduce(inside, axis=0)
