"""Teacher features of a whole split, computed once and cached."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import override

from trainables.cache import building, cache_folder, check_sealed, seal
from trainables.config import Preparation
from trainables.corpora.prepared import PreparedSplit, SplitPreparation
from trainables.corpora.sources import FeatureSource, Indices
from trainables.sequences import Sequences
from trainables.teachers.language_model import FrozenLanguageModel

TEXTS_AT_ONCE = 64


class FeaturePreparation(Preparation):
    """The teacher's hidden states over the transcripts of a prepared split, in half precision."""

    accelerated: ClassVar[bool] = True
    format: ClassVar[int] = 3

    teacher: FrozenLanguageModel
    split: SplitPreparation

    def __str__(self) -> str:
        seed = f", seed {self.teacher.seed}" if self.teacher.kind == "random_language_model" else ""
        return f"{self.split} {self.teacher.label or 'teacher'}{seed}"

    def folder(self) -> Path:
        """The place of the features, whether they are there or not."""
        return cache_folder() / "features" / self.signature()

    @override
    def build(self) -> Path:
        """The folder of the features, made if it is not there.

        Raises ValueError when what is there is damaged.
        """
        split = PreparedSplit(self.split.build())
        with building(self.folder()) as folder:
            if folder is not None:
                self._write(folder, split)
        CachedFeatures(self.folder()).verify()
        return self.folder()

    @override
    def summary(self) -> str:
        values = CachedFeatures(self.folder()).values
        return f"{len(values)} hidden states of {values.shape[1]} ({values.nbytes / 2**20:.0f} MiB)"

    def _write(self, folder: Path, split: PreparedSplit) -> None:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        texts, teacher = split.transcripts, self.teacher.build().to(device)
        by_length = sorted(range(len(split)), key=lambda i: len(texts[i]))

        def hidden() -> Iterator[tuple[list[int], Sequences]]:
            for start in range(0, len(by_length), TEXTS_AT_ONCE):
                indices = by_length[start : start + TEXTS_AT_ONCE]
                yield indices, teacher([texts[i] for i in indices])

        write_features(folder, hidden(), len(split), self.teacher.features(), self.identity())


def write_features(
    folder: Path, parts: Iterator[tuple[list[int], Sequences]], count: int, features: int, identity: dict[str, Any]
) -> None:
    """Write features of the `count` utterances of a split in half precision, and last of all their manifest.

    `parts` has each utterance once, in any order: indices, and sequences (batch, time, features) of them.
    """
    rows, written = np.zeros((count, 2), np.int64), 0
    with (folder / "values.bin").open("wb") as file:  # all of them may be more than memory holds
        for indices, sequences in parts:
            values, lengths = sequences.values.half().cpu().numpy(), sequences.lengths.tolist()
            for i, row, length in zip(indices, values, lengths, strict=True):
                file.write(row[:length].tobytes())
                rows[i] = written, written + length
                written += length
    np.save(folder / "rows.npy", rows)
    seal(folder, identity, features=features)


class CachedFeatures:
    """A feature source that reads what `write_features` wrote, memory-mapped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Identity of the preparation, width of the features, and the data's checksums."""
        return json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))

    # Opened when first asked for, so that `verify` can tell of a file that does not even open.
    @cached_property
    def values(self) -> NDArray[np.float16]:
        """The hidden states of all transcripts, (tokens, features), one transcript after the other."""
        return np.memmap(self.folder / "values.bin", np.float16, "r").reshape(-1, self.manifest["features"])

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """The places at which each transcript's hidden states begin and end, (utterances, 2)."""
        return np.load(self.folder / "rows.npy")

    def __call__(self, indices: Indices) -> Sequences:
        """Hidden states (batch, tokens, features), float32."""
        return Sequences.stack([self.values[begin:end].astype(np.float32) for begin, end in self.rows[indices]])

    def verify(self) -> None:
        """Raises ValueError when the features are not what was written."""
        check_sealed(self.folder)


@dataclass(frozen=True)
class ShuffledFeatures:
    """A feature source that gives each utterance what another one has."""

    features: FeatureSource
    others: Indices
    """For each utterance, the index of the one whose features it gets."""

    @classmethod
    def of(cls, features: FeatureSource, utterances: int, seed: int) -> "ShuffledFeatures":
        """Shuffled by a random cycle through all utterances: the simplest draw in which nobody keeps their own.

        Raises ValueError when there is but one utterance.
        """
        if utterances < 2:
            raise ValueError(f"Utterances must be at least 2 to be shuffled, but are {utterances} instead.")
        cycle = np.random.default_rng(seed).permutation(utterances)
        others = np.empty_like(cycle)
        others[cycle] = np.roll(cycle, 1)
        return cls(features, others)

    def __call__(self, indices: Indices) -> Sequences:
        """Hidden states (batch, tokens, features) of the others."""
        return self.features(self.others[indices])
