"""Padded sequences that never travel without their lengths."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Sequences:
    """A batch of sequences of unequal length. Values beyond each length are zero.

    The sequences 5 6 7 and 8 are values [[5, 6, 7], [8, 0, 0]], lengths [3, 1] and mask [[1, 1, 1], [1, 0, 0]].
    Whatever takes means over time needs the lengths: the second row's mean is 8, not 8/3.
    """

    values: Shaped[Tensor, "batch time *features"]
    lengths: Int[Tensor, " batch"]

    @property
    def mask(self) -> Bool[Tensor, "batch time"]:
        """True on the valid positions."""
        return mask_of(self.lengths, self.values.shape[1])

    def changed(self, change: Callable[[Tensor], Tensor]) -> "Sequences":
        """The same sequences after `change`, such as a move to a device, of both tensors."""
        return Sequences(change(self.values), change(self.lengths))

    def zero_padded(self) -> "Sequences":
        """The same sequences with zeros beyond each length, where a layer may have written something."""
        mask = self.mask.reshape(*self.values.shape[:2], *[1] * (self.values.dim() - 2))
        return Sequences(self.values.masked_fill(~mask, 0), self.lengths)

    def mean(self) -> Shaped[Tensor, "batch *features"]:
        """The mean over time; zeros for a sequence that has no positions."""
        lengths = self.lengths.reshape(-1, *[1] * (self.values.dim() - 2))
        return self.values.sum(dim=1) / lengths.clamp(min=1)

    @classmethod
    def stack(cls, items: Sequence[Tensor | NDArray[Any]]) -> "Sequences":
        """Pad `items` on the host, each (time, *features), to the longest of them.

        NumPy copies them in the caller's thread. PyTorch would share the work among all cores and wait for each of
        them, while the step that runs at the same time has them all in use.
        """
        arrays = [np.asarray(item) for item in items]
        lengths = [len(array) for array in arrays]
        values = np.zeros((len(arrays), max(lengths), *arrays[0].shape[1:]), arrays[0].dtype)
        for row, array in zip(values, arrays, strict=True):
            row[: len(array)] = array
        return cls(torch.from_numpy(values), torch.tensor(lengths))


def mask_of(lengths: Int[Tensor, " batch"], time: int) -> Bool[Tensor, "batch {time}"]:
    """True where a position is before its sequence's length."""
    return torch.arange(time, device=lengths.device) < lengths[:, None]
