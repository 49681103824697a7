"""LibriSpeech (Panayotov et al. 2015), and the parts of it that Libri-light labels for few-shot training (Kahn et al.
2020, arXiv 1912.07875 §3).

    LibriSpeech/train-clean-100/103/1240/103-1240-0000.flac
    LibriSpeech/train-clean-100/103/1240/103-1240.trans.txt
    103-1240-0000 CHAPTER ONE MISSUS RACHEL LYNDE IS SURPRISED MISSUS RACHEL LYNDE LIVED JUST WHERE …

    librispeech_finetuning/1h/0/clean/2416/152139/2416-152139-0000.flac, in the same files

Folders are speakers, and in them chapters. A chapter without `.trans.txt` is speech without transcripts, which a
distillation can use. Where a chapter has one, a clip that no line of it names is quarantined.
"""

import hashlib
import os
from abc import abstractmethod
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import override

from trainables.batch import Rejected, Utterance
from trainables.config import Folder
from trainables.corpora import stated
from trainables.corpora.base import SpeechCorpus

LIMITED = {"10min": ("1h/0",), "1h": ("1h",), "10h": ("1h", "9h")}
"""Folders of Libri-light's limited sets: each larger one is a union with the smaller ones, so that `9h` is no set."""
SUBSET = Annotated[str, Field(pattern=r"^[\w.-]+$")]


class _Books(SpeechCorpus):
    """Audio books: a folder of chapters for each subset."""

    root: Folder
    """Folder with a folder per subset of LibriSpeech, or that which holds it as `LibriSpeech`."""
    language: str = "en"
    valid: SUBSET = "dev-other"
    """Subset to select by (fairseq's recipes)."""
    tests: tuple[SUBSET, ...] = ("test-clean", "test-other")
    """Subsets to test on; none for distillation."""

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

        Raises ValueError when a subset is missing or has no clips.
        """
        return _digest(tuple((str(folder), _changed(folder)) for s in self.splits for folder in self.folders(s)))

    @override
    def utterances(self, split: str) -> Iterator[Utterance | Rejected]:
        for folder in self.folders(split):
            for chapter in _chapters(folder):
                yield from _clips(chapter)

    @property
    def home(self) -> Path:
        """The folder of the subsets."""
        inside = Path(self.root) / "LibriSpeech"
        return inside if inside.is_dir() else Path(self.root)

    def folders(self, split: str) -> list[Path]:
        """The folders of a split. Raises ValueError, naming it, when one is not there."""
        if split == "train":
            return self.trained()
        return [_there(self.home, self.valid if split == "valid" else split, "LibriSpeech")]

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

    @override
    def trained(self) -> list[Path]:
        return [_there(self.home, subset, "LibriSpeech") for subset in self.train]


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
        inside = Path(self.limited) / "librispeech_finetuning"
        home = inside if inside.is_dir() else Path(self.limited)
        parts = [_there(home, part, "Libri-light") for part in LIMITED[self.amount]]
        # Between a part and its speakers are one or two levels: sixths of the hour, and clean or other speech.
        found = [folder for part in parts for folder in sorted(part.glob("**/")) if folder.name in ("clean", "other")]
        if not found:
            raise ValueError(f"Libri-light must have `clean` and `other` in {parts[0]}, but has neither.")
        return found


def _there(home: Path, subset: str, name: str) -> Path:
    folder = home / subset
    if not folder.is_dir():
        raise ValueError(f"{name} must have the folder {subset}, but {folder} does not exist.")
    return folder


def _chapters(folder: Path) -> Iterator[Path]:
    """The chapters of a subset, those of a speaker side by side."""
    for speaker in _folders(folder):
        yield from _folders(speaker)


def _folders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_dir())


def _clips(chapter: Path) -> Iterator[Utterance | Rejected]:
    """The clips of a chapter by name, each with its line of the transcripts; and lines that nothing can be made of."""
    prefix = f"{chapter.parent.name}-{chapter.name}"
    clips = {path.stem: path for path in sorted(chapter.glob("*.flac"))}
    file = chapter / f"{prefix}.trans.txt"
    if not file.is_file():
        yield from (Utterance(name, path, None, chapter.parent.name) for name, path in clips.items())
        return
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error.reason
        raise ValueError(f"{file} must be UTF-8 text that can be read, but is not: {why}.") from error
    texts: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        name, _, text = line.partition(" ")
        if not name.startswith(f"{prefix}-") or not text.strip():
            yield Rejected(f"{file.name} line {number}", "malformed row", f"must be `{prefix}-NUMBER TEXT`")
        elif name in texts:
            yield Rejected(f"{file.name} line {number}", "malformed row", f"{name} has a line already")
        else:
            texts[name] = text
    for name in sorted(clips.keys() | texts.keys()):
        if name in texts:
            yield Utterance(name, clips.get(name, chapter / f"{name}.flac"), texts[name], chapter.parent.name)
        else:
            yield Rejected(name, "no transcript", f"{file.name} has no line for it")


def _changed(folder: Path) -> int:
    return folder.stat().st_mtime_ns


@cache
def _digest(folders: tuple[tuple[str, int], ...]) -> str:
    """The fingerprint, remembered: a hundred trials ask, and looking at every clip takes long."""
    found, clips = hashlib.sha256(), 0
    for folder, _ in folders:
        for chapter in _chapters(Path(folder)):
            with os.scandir(chapter) as entries:
                files = sorted((entry.name, entry.stat().st_size) for entry in entries if entry.is_file())
            clips += sum(name.endswith(".flac") for name, _ in files)
            found.update(f"{chapter.parent.name}/{chapter.name}: {files}\n".encode())
            for name, _ in files:
                if name.endswith(".trans.txt"):
                    found.update((chapter / name).read_bytes())
    if not clips:
        raise ValueError(f"A corpus must have clips in SPEAKER/CHAPTER/*.flac, but {folders[0][0]} has none.")
    return found.hexdigest()[:16]
