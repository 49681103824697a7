"""LibriSpeech (Panayotov et al. 2015), and the parts of it that Libri-light labels for few-shot training (Kahn et al.
2020, arXiv 1912.07875 §3).

    LibriSpeech/train-clean-100/…  dev-other/…  test-clean/…       subsets; `chapters.py` reads what is in them
    librispeech_finetuning/1h/0/clean/…  1h/0/other/…  to 1h/5/…   six folders of ten minutes
    librispeech_finetuning/9h/clean/…  9h/other/…                  nine hours besides

All clips of Libri-light's are of train-clean-100 and train-other-500. The folder 9h has none of those of 1h: what
papers train on as 10 h is both, and as 10 min the first of the six.
"""

import hashlib
import os
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from typing_extensions import override

from trainables.batch import Rejected, Utterance
from trainables.config import Folder
from trainables.corpora import chapters, stated
from trainables.corpora.base import SpeechCorpus

SIXTHS = tuple(f"1h/{number}" for number in range(6))
LIMITED = {"10min": SIXTHS[:1], "1h": SIXTHS, "10h": (*SIXTHS, "9h")}
"""Folders of Libri-light's limited sets: each larger one is a union with the smaller ones, so that `9h` is no set."""
SPOKEN = {"10min": "folder 1h/0", "1h": "folders 1h/0 to 1h/5", "10h": "folders 1h/0 to 1h/5 and 9h"}
SUBSET = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]


class _Books(SpeechCorpus):
    """Audio books: a folder of chapters for each subset."""

    root: Folder
    """Folder with a folder per subset of LibriSpeech, or that which holds it as `LibriSpeech`."""
    language: str = "en"
    valid: SUBSET = "dev-other"
    """Subset to select by (fairseq's recipes)."""
    tests: tuple[SUBSET, ...] = ("test-clean", "test-other")
    """Subsets to test on; none for distillation."""

    @model_validator(mode="after")
    def _has_splits_of_different_names(self) -> Self:
        if twice := _twice(self.splits):
            raise ValueError(f"Each split must have a name of its own, but {twice} is twice.")
        return self

    @property
    @override
    def splits(self) -> tuple[str, ...]:
        return "train", "valid", *self.tests

    @override
    def release(self) -> str:
        """The line in `RELEASE.txt`, or the corpus and what of it is trained on."""
        return stated.release(self.home) or str(self)

    @override
    def licence(self) -> str:
        """The licences that `SOURCES.json` gives, or LibriSpeech's own."""
        return stated.licence(self.home) or "CC-BY-4.0"

    @override
    def fingerprint(self) -> str:
        """Digest of all transcripts, and of the names and sizes of all clips.

        Raises ValueError when a subset is missing, has no clips or cannot be read.
        """
        parts = {split: [chapters.fingerprint(folder) for folder in self.folders(split)] for split in self.splits}
        return hashlib.sha256(str(parts).encode()).hexdigest()[:16]

    @override
    def utterances(self, split: str) -> Iterator[Utterance | Rejected]:
        """The clips of a split by subset, speaker, chapter and name, each with its line of the transcripts.

        A clip without a line, a clip that is there twice, and what is malformed come as `Rejected`.
        Raises ValueError when a folder or a file of transcripts is missing or cannot be read.
        """
        return chapters.utterances(self.folders(split))

    @property
    def home(self) -> Path:
        """The folder of the subsets."""
        return _within(self.root, "LibriSpeech")

    def folders(self, split: str) -> list[Path]:
        """The folders of a split. Raises ValueError, naming it, when one is not there."""
        if split == "train":
            return self.trained()
        return [self.subset(self.valid if split == "valid" else split)]

    def subset(self, name: str) -> Path:
        """The folder of a subset. Raises ValueError, with those that are there, when it is not."""
        if not os.path.isdir(self.home / name):
            others = [folder.name for folder in chapters.folders(self.home)] if os.path.isdir(self.home) else []
            has = f"has only: {', '.join(others)}" if others else "has no folders"
            raise ValueError(f"LibriSpeech must have the folder {name}, but {self.home} {has}.")
        return self.home / name

    @abstractmethod
    def trained(self) -> list[Path]:
        """The folders of the training split. Raises ValueError, naming it, when one is not there."""


class LibriSpeech(_Books):
    """Subsets of LibriSpeech as the splits `train` and `valid` and any number of test sets, by the subsets' names."""

    kind: Literal["librispeech"] = "librispeech"
    train: Annotated[tuple[SUBSET, ...], Field(min_length=1)] = ("train-clean-100",)
    """Subsets to train on, one after the other."""

    def __str__(self) -> str:
        return f"LibriSpeech {' + '.join(self.train)}"

    @model_validator(mode="after")
    def _trains_on_no_held_out_subset(self) -> Self:
        if twice := _twice((*self.train, *{self.valid, *self.tests})):
            raise ValueError(
                f"`train` must have each subset once, and none of `valid` and `tests`, but has {twice} again."
            )
        return self

    @override
    def trained(self) -> list[Path]:
        return [self.subset(name) for name in self.train]


class LibriLight(_Books):
    """Ten minutes, one hour or ten hours of LibriSpeech that Libri-light picked, and LibriSpeech's own other splits."""

    kind: Literal["librilight"] = "librilight"
    limited: Folder
    """Folder `librispeech_finetuning`, or that which holds it."""
    amount: Literal["10min", "1h", "10h"]

    def __str__(self) -> str:
        return f"Libri-light {self.amount}"

    @override
    def trained(self) -> list[Path]:
        home, parts = _within(self.limited, "librispeech_finetuning"), LIMITED[self.amount]
        missing = [part for part in parts if not os.path.isdir(home / part)]
        halves = [f"{part}/{half}" for part in parts for half in ("clean", "other")]
        missing += [half for half in halves if not half.startswith(tuple(missing)) and not os.path.isdir(home / half)]
        if missing:
            raise ValueError(
                f"Libri-light's {self.amount} must have the {SPOKEN[self.amount]}, each with `clean` and `other`, "
                f"but {home} lacks {', '.join(missing)}."
            )
        return [home / half for half in halves]


def _within(root: str, name: str) -> Path:
    """The folder of that name in a root; the root itself where it has none."""
    return Path(root, name) if os.path.isdir(Path(root, name)) else Path(root)


def _twice(names: Iterable[str]) -> str:
    """The names that come more than once."""
    return ", ".join(repr(name) for name, count in Counter(names).items() if count > 1)
