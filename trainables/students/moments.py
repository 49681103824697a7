"""Mean and variance of filter banks over a whole split, by which students normalise them wherever they are used."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from trainables.cache import building, cache_folder, check_sealed, seal
from trainables.config import Preparation
from trainables.corpora.prepared import PreparedSplit, SplitPreparation
from trainables.corpora.sources import Waveforms
from trainables.students.fbank import LogEnergies

CLIPS_AT_ONCE = 16


class FilterBankMoments(Preparation):
    """The mean and the variance of each of 80 mel bins over all frames of a prepared split."""

    accelerated: ClassVar[bool] = True

    split: SplitPreparation

    def __str__(self) -> str:
        return f"{self.split} filter banks"

    def folder(self) -> Path:
        """The place of the moments, whether they are there or not."""
        return cache_folder() / "moments" / self.signature()

    @override
    def build(self) -> Path:
        """The folder of the moments, made if it is not there. Raises ValueError when what is there is damaged."""
        split = PreparedSplit(self.split.build())
        with building(self.folder()) as folder:
            if folder is not None:
                self._write(folder, split)
        moments(self.folder())
        return self.folder()

    @override
    def summary(self) -> str:
        mean, variance = moments(self.folder())
        return f"80 bins: means {mean.min():.1f} to {mean.max():.1f}, deviations to {variance.max().sqrt():.1f}"

    def _write(self, folder: Path, split: PreparedSplit) -> None:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        energies, frames = LogEnergies().to(device), 0
        total, squares = (torch.zeros(80, dtype=torch.float64, device=device) for _ in range(2))
        waveforms, by_length = Waveforms(split), np.argsort(split.samples, kind="stable")
        for start in range(0, len(split), CLIPS_AT_ONCE):
            clips = waveforms(by_length[start : start + CLIPS_AT_ONCE])
            found = energies(clips.changed(lambda values: values.to(device)))
            valid = found.values[found.mask].double()
            total, squares, frames = total + valid.sum(dim=0), squares + valid.square().sum(dim=0), frames + len(valid)
        mean = total / frames
        np.save(folder / "moments.npy", torch.stack([mean, squares / frames - mean.square()]).float().cpu().numpy())
        seal(folder, self.identity(), frames=frames)


def moments(folder: Path) -> Float[Tensor, "2 80"]:
    """The mean and the variance of each bin, as `FilterBankMoments` wrote them.

    Raises ValueError when they are not what was written.
    """
    check_sealed(folder)
    return torch.from_numpy(np.load(folder / "moments.npy"))
