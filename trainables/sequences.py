"""Padded sequences that never travel without their lengths."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Sequences:
    """A batch of sequences of unequal length. Values beyond each length are zero."""

    values: Shaped[Tensor, "batch time *features"]
    lengths: Int[Tensor, " batch"]

    @property
    def mask(self) -> Bool[Tensor, "batch time"]:
        """True on the valid positions."""
        return mask_of(self.lengths, self.values.shape[1])

    def changed(self, change: Callable[[Tensor], Tensor]) -> "Sequences":
        """The same after `change` of where or how both tensors are kept."""
        return Sequences(change(self.values), change(self.lengths))

    def zero_padded(self) -> "Sequences":
        """The same with zeros beyond each length, for values that a layer has written everywhere."""
        mask = self.mask.reshape(*self.values.shape[:2], *[1] * (self.values.dim() - 2))
        return Sequences(self.values.masked_fill(~mask, 0), self.lengths)

    @classmethod
    def stack(cls, items: Sequence[Tensor]) -> "Sequences":
        """Pad `items`, each (time, *features), to the longest of them."""
        lengths = torch.tensor([len(item) for item in items])
        return cls(torch.nn.utils.rnn.pad_sequence(list(items), batch_first=True), lengths)


def mask_of(lengths: Int[Tensor, " batch"], time: int) -> Bool[Tensor, "batch {time}"]:
    """True where a position is before its sequence's length."""
    return torch.arange(time, device=lengths.device) < lengths[:, None]
