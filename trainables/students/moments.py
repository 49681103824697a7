"""Mean and variance of filter banks over a whole split, by which students normalise them wherever they are used."""

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from trainables.cache import building, cache_folder, sha256_of, write_atomically
from trainables.config import Preparation
from trainables.corpora.prepared import PreparedSplit, SplitPreparation
from trainables.sequences import Sequences
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
        by_length = np.argsort(split.samples, kind="stable")
        for start in range(0, len(split), CLIPS_AT_ONCE):
            clips = [split.audio(int(i)).astype(np.float32) / 32768 for i in by_length[start : start + CLIPS_AT_ONCE]]
            found = energies(Sequences.stack(clips).changed(lambda values: values.to(device)))
            valid = found.values[found.mask].double()
            total, squares, frames = total + valid.sum(dim=0), squares + valid.square().sum(dim=0), frames + len(valid)
        mean = total / frames
        np.save(folder / "moments.npy", torch.stack([mean, squares / frames - mean.square()]).float().cpu().numpy())
        manifest = {"identity": self.identity(), "frames": frames, "sha256": sha256_of(folder / "moments.npy")}
        write_atomically(folder / "manifest.json", json.dumps(manifest, indent=1, ensure_ascii=False))


def moments(folder: Path) -> Float[Tensor, "2 80"]:
    """The mean and the variance of each bin, as `FilterBankMoments` wrote them.

    Raises ValueError when they are not what was written.
    """
    path = folder / "moments.npy"
    expected = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["sha256"]
    if (found := sha256_of(path)) != expected:
        raise ValueError(
            f"{path} must have SHA-256 {expected}, but has {found} instead; delete its folder to prepare it again."
        )
    return torch.from_numpy(np.load(path))
