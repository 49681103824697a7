"""Hidden units for a teacher that was trained on none: clusters of its last hidden states.

HuBERT makes its units so, by k-means over hidden states of the model before it (arXiv 2106.07447 §II-C). Cosines need
one thing more. The states of most encoders point nearly one way, so that all cosines are near 1 and p_t is flat: they
are whitened first, which is what HuBERT's own affine projection W_e, b_e can do as well.
"""

from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy.cluster.vq import kmeans2
from typing_extensions import override

from trainables.cache import building, cache_folder, check_sealed, seal
from trainables.config import Config, Preparation
from trainables.corpora.filters import FRAME
from trainables.corpora.prepared import PreparedSplit, SplitPreparation
from trainables.corpora.sources import Indices
from trainables.teachers.hidden_units import HiddenUnits
from trainables.teachers.speech import SpeechTeacher
from trainables.teachers.states import listen


class Clusters(Config):
    """The k-means clusters of whitened hidden states."""

    count: Annotated[int, Field(gt=1)] = 500
    """Units (HuBERT base has 500)."""
    dimensions: Annotated[int, Field(gt=0)] = 256
    """Principal components that are whitened and kept (HuBERT's embeddings have 256)."""
    temperature: Annotated[float, Field(gt=0)] = 0.1
    """τ of eq. 4, HuBERT's."""
    frames: Annotated[int, Field(gt=0)] = 100_000
    """Frames that are clustered, about: those of clips drawn from the split, and no more than it has."""
    seed: Annotated[int, Field(ge=0)] = 1

    def fit(self, states: NDArray[np.float32]) -> HiddenUnits:
        """The units of a sample of hidden states (frames, features).

        Raises ValueError when there are fewer frames than units, or fewer features than dimensions.
        """
        if len(states) < self.count:
            raise ValueError(f"Frames must be at least as many as units, {self.count}, but are {len(states)} instead.")
        if states.shape[1] < self.dimensions:
            raise ValueError(
                f"`dimensions` must be at most the teacher's features, {states.shape[1]}, "
                f"but is {self.dimensions} instead."
            )
        mean = states.mean(axis=0, dtype=np.float64)
        variances, directions = np.linalg.eigh(np.cov(states - mean, rowvar=False))
        kept = slice(-1, -self.dimensions - 1, -1)  # the largest first
        projection = (directions[:, kept] / np.sqrt(variances[kept] + 1e-9)).T
        whitened = (states - mean) @ projection.T
        # By direction, as the cosine compares them.
        whitened /= np.linalg.norm(whitened, axis=1, keepdims=True)
        centroids, _ = kmeans2(
            whitened.astype(np.float32), self.count, iter=20, minit="++", rng=np.random.default_rng(self.seed)
        )
        return HiddenUnits(
            torch.from_numpy(projection), torch.from_numpy(-projection @ mean), torch.from_numpy(centroids),
            self.temperature,
        )  # fmt: skip


class ClusterPreparation(Preparation):
    """The hidden units of a teacher, from its last states over a prepared split."""

    accelerated: ClassVar[bool] = True

    teacher: SpeechTeacher
    split: SplitPreparation
    clusters: Clusters

    def __str__(self) -> str:
        return f"{self.split} {self.clusters.count} hidden units of a {self.teacher.label or 'teacher'}"

    def folder(self) -> Path:
        """The place of the units, whether they are there or not."""
        return cache_folder() / "hidden_units" / self.signature()

    @override
    def build(self) -> Path:
        """The folder of the units, made if it is not there.

        Raises ValueError when there are too few frames, or when what is there is damaged.
        """
        split = PreparedSplit(self.split.build())
        with building(self.folder()) as folder:
            if folder is not None:
                teacher = self.teacher.build((self.teacher.depth,))
                heard = listen(teacher, split, self._drawn(split))
                states = np.concatenate([each.values[each.mask].cpu().numpy() for _, each in heard])
                self.clusters.fit(states).save(folder)
                seal(folder, self.identity())
        check_sealed(self.folder())
        return self.folder()

    def _drawn(self, split: PreparedSplit) -> Indices:
        order = np.random.default_rng(self.clusters.seed).permutation(len(split))
        frames = np.cumsum(split.samples[order] // FRAME)
        return order[: int(np.searchsorted(frames, self.clusters.frames)) + 1]

    @override
    def summary(self) -> str:
        return f"{HiddenUnits.load(self.folder()).count} hidden units"
