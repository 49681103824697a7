"""Bringing speech frames and text tokens to one length, for a whole batch at once.

An utterance of eight frames and five tokens, each with one feature, `_` the blank:

    frames, H^SM          1  3  5  7  9 11 13 15
    CTC's argmax          _  a  a  b  _  b  b  _
    shrunk (eq. 9)           4     7    12          one mean per run of equal labels; a blank parts the two b

    tokens, H^LM         10 20 30 40 50
    nearest (eq. 10)     10 20 40                   position i is token floor(i · 5 / 3): 0, 1, 3
    linear               13⅓ 30 46⅔                 position i lies at (i + ½) · 5 / 3 − ½ = ⅓, 2, 3⅔

The text takes the length of the speech, which is the longer in general: two tokens over five positions are
10 10 10 20 20 (nearest) or 10 11 15 19 20 (linear). The loss then compares position with position.
"""

from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from trainables.config import Config
from trainables.sequences import Sequences, mask_of


class Shrunk(Config):
    """One position per run of equal CTC labels, runs of blank and unknown left out: the paper's (eq. 9)."""

    kind: Literal["shrunk"] = "shrunk"

    def __call__(self, hidden: Sequences, labels: Int[Tensor, "batch frames"], dropped: tuple[int, ...]) -> Sequences:
        """`hidden` (batch, frames, features) as (batch, time, features), one position per run of `labels`: `shrink`."""
        return shrink(hidden, labels, dropped)


class AllFrames(Config):
    """Every valid frame of the speech, whatever CTC predicts."""

    kind: Literal["all_frames"] = "all_frames"

    def __call__(self, hidden: Sequences, labels: Int[Tensor, "batch frames"], dropped: tuple[int, ...]) -> Sequences:
        """`hidden` (batch, frames, features) as it is, with zeros beyond each length."""
        return hidden.zero_padded()


Frames = Annotated[Shrunk | AllFrames, Field(discriminator="kind")]
"""The choice of the positions of the speech that are compared with the text."""


class Nearest(Config):
    """Each position takes over one token of the text: the paper's (eq. 10)."""

    kind: Literal["nearest"] = "nearest"

    def __call__(self, hidden: Sequences, lengths: Int[Tensor, " batch"], time: int) -> Sequences:
        """`hidden` (batch, tokens, features) as (batch, time, features), of these `lengths`: `nearest`."""
        return nearest(hidden, lengths, time)


class Linear(Config):
    """Each position takes a mixture of the two tokens it lies between."""

    kind: Literal["linear"] = "linear"

    def __call__(self, hidden: Sequences, lengths: Int[Tensor, " batch"], time: int) -> Sequences:
        """`hidden` (batch, tokens, features) as (batch, time, features), of these `lengths`: `linear`."""
        return linear(hidden, lengths, time)


Interpolation = Annotated[Nearest | Linear, Field(discriminator="kind")]
"""The choice of how the text is brought to the length of the speech."""


def shrink(hidden: Sequences, labels: Int[Tensor, "batch frames"], dropped: tuple[int, ...]) -> Sequences:
    """Mean of `hidden` over each maximal run of equal labels, runs of `dropped` labels left out (eq. 9).

    `hidden` is (batch, frames, features), `labels` CTC's argmax; the result is (batch, time, features). Its time is
    the most runs of an utterance on a CPU, and all frames on a GPU, where the host would wait to be told.
    Where at most one run is left the valid frames stay as they are: early in training CTC predicts only blanks, and
    there would be nothing to learn from.
    """
    batch, frames, _ = hidden.values.shape
    kept = hidden.mask
    for label in dropped:
        kept = kept & (labels != label)
    begins = torch.ones_like(kept)
    begins[:, 1:] = labels[:, 1:] != labels[:, :-1]
    # A kept frame is preceded by a kept one whenever their labels agree, so begins needs no look at `kept`.
    starts = kept & begins
    runs = starts.sum(dim=1)
    too_few = (runs <= 1)[:, None]
    kept = torch.where(too_few, hidden.mask, kept)
    starts = torch.where(too_few, hidden.mask, starts)

    lengths = starts.sum(dim=1)
    time = int(lengths.max()) if lengths.device.type == "cpu" else frames
    segment = starts.cumsum(dim=1) - 1
    # Frames that are left out go to one more segment at the end, which is cut off.
    segment = torch.where(kept, segment, time)
    flat = (segment + (time + 1) * torch.arange(batch, device=segment.device)[:, None]).flatten()
    width = hidden.values.shape[2]
    sums = hidden.values.new_zeros(batch * (time + 1), width).index_add(0, flat, hidden.values.flatten(0, 1))
    sizes = hidden.values.new_zeros(batch * (time + 1)).index_add(0, flat, torch.ones_like(flat, dtype=sums.dtype))
    means = (sums / sizes.clamp(min=1)[:, None]).unflatten(0, (batch, time + 1))[:, :time]
    return Sequences(means, lengths)


def nearest(hidden: Sequences, lengths: Int[Tensor, " batch"], time: int) -> Sequences:
    """`hidden` stretched or thinned to `lengths` by nearest-neighbour interpolation (eq. 10).

    Position i of the result, (batch, time, features), is position floor(i · L / lengths) of the input, L its
    length: the rule of image processing, in either direction.
    """
    # In integers. PyTorch's `interpolate` takes the quotient in float32, and is one token off for some lengths, such as
    # 2 tokens over 82 positions, where position 41 is the first of the second token.
    position = torch.arange(time, device=lengths.device)
    index = position * hidden.lengths[:, None] // lengths.clamp(min=1)[:, None]
    index = index.clamp(max=hidden.values.shape[1] - 1)[:, :, None].expand(-1, -1, hidden.values.shape[2])
    values: Float[Tensor, "batch time features"] = hidden.values.gather(1, index)
    return Sequences(values * mask_of(lengths, time)[:, :, None], lengths)


def linear(hidden: Sequences, lengths: Int[Tensor, " batch"], time: int) -> Sequences:
    """`hidden` stretched or thinned to `lengths` by linear interpolation.

    Position i of the result, (batch, time, features), lies at (i + ½) · L / lengths − ½ of the input, L its length,
    kept between the first and the last: positions are centres, as in image processing.
    """
    position = torch.arange(time, device=lengths.device)
    whole, length = 2 * lengths.clamp(min=1)[:, None], hidden.lengths[:, None]
    # In integers, over the denominator `whole`: rounding must not move a position across a token.
    place = ((2 * position + 1) * length - lengths[:, None]).clamp(min=0)
    last = (length - 1).clamp(min=0)
    lower = (place // whole).minimum(last)
    upper = (lower + 1).minimum(last)
    share = ((place - lower * whole).to(hidden.values.dtype) / whole)[:, :, None]
    width = hidden.values.shape[2]
    before, after = (hidden.values.gather(1, i[:, :, None].expand(-1, -1, width)) for i in (lower, upper))
    values: Float[Tensor, "batch time features"] = torch.lerp(before, after, share)
    return Sequences(values * mask_of(lengths, time)[:, :, None], lengths)
