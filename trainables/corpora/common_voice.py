"""Mozilla Common Voice, any release (Ardila et al. 2020).

A release unpacks to `cv-corpus-<version>-<date>/<locale>/` with `clips/` and one TSV file per split. A TSV
has a header and no quoting (`tsv.py` reads what other programs make of it); columns came and went, the three used
here are in every release:

    6.1:   client_id path sentence up_votes down_votes age gender accent locale segment
    22.0:  client_id path sentence_id sentence sentence_domain up_votes … accents variant locale segment

    00aa…f3 \t common_voice_cs_20487399.mp3 \t Oba muži byli zatčeni. \t 2 \t 0 \t \t \t \t cs \t
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import override

from trainables.batch import Rejected, Utterance
from trainables.config import Folder
from trainables.corpora import stated, tsv
from trainables.corpora.base import SpeechCorpus

FILES = {"train": "train.tsv", "valid": "dev.tsv", "test": "test.tsv"}
"""Tables of the splits."""
REQUIRED = ("client_id", "path", "sentence")
FILLED = ("down_votes", "locale")
"""Further columns that no release leaves empty: a row that ends before them was cut, and so may be its sentence."""
LOCALE = r"^[A-Za-z]{2,3}(-[A-Za-z0-9]+)*$"


class CommonVoice(SpeechCorpus):
    """One language of a Common Voice release: its splits `train`, `valid` and `test`."""

    kind: Literal["common_voice"] = "common_voice"
    root: Folder
    """Folder of the release: it holds one folder per locale."""
    language: Annotated[str, Field(pattern=LOCALE)]
    """Locale code, as the release's folder is named: cs, pt, zh-CN."""

    @property
    def folder(self) -> Path:
        """Folder of the language.

        Raises ValueError when the root or the locale is not there, or cannot be looked at.
        """
        root = self._root()
        folder = root / self.language
        if not stat.S_ISDIR(_mode(folder)):
            there = ", ".join(_locales(root))
            raise ValueError(
                f"The language {self.language!r} must be a folder of {root}, but there is only: {there or 'none'}."
            )
        return folder

    def _root(self) -> Path:
        root = Path(self.root)
        if not stat.S_ISDIR(_mode(root)):
            raise ValueError(f"The data root must be a folder with Common Voice locales, but {root} is none.")
        return root

    @override
    def release(self) -> str:
        """The line in `RELEASE.txt`, or the name of the root folder.

        Raises ValueError when `RELEASE.txt` is no text that can be read.
        """
        return stated.release(Path(self.root)) or os.path.basename(os.path.realpath(self.root))

    @override
    def licence(self) -> str:
        """The licences that `SOURCES.json` gives the packages of the recordings, or CC0-1.0, Common Voice's own.

        Raises ValueError when the root is not there, since a name alone does not tell, or when `SOURCES.json` does not
        tell either.
        """
        return stated.licence(self._root()) or "CC0-1.0"

    @override
    def fingerprint(self) -> str:
        """Digest of the three TSV files and of the names and sizes of the clips that they name."""
        tables = [self._table(split) for split in FILES]
        clips = self.folder / "clips"
        known = [*tables, clips] if os.path.isdir(clips) else tables
        return _fingerprint(self.root, self.language, tuple(path.stat().st_mtime_ns for path in known))

    @override
    def utterances(self, split: str) -> Iterator[Utterance | Rejected]:
        """The rows of a split in the order of its file; a malformed row comes as `Rejected`.

        Raises ValueError when the file is missing, cannot be read, or has a header that lacks a column that is needed.
        """
        path, clips = self._table(split), self.folder / "clips"
        for row in tsv.rows(path, REQUIRED, FILLED, key="path"):
            yield _utterance(row, clips)

    def _table(self, split: str) -> Path:
        path = self.folder / FILES[split]
        if not stat.S_ISREG(_mode(path)):
            raise ValueError(f"The language {self.language!r} must have {FILES[split]}, but {path} does not exist.")
        return path


@cache
def _fingerprint(root: str, language: str, changed: tuple[int, ...]) -> str:
    """The fingerprint, remembered: a hundred trials ask, and looking at every clip takes long.

    `changed` are the times of the last changes. A clip that is overwritten in place changes no folder: the next process
    sees it.
    """
    corpus, total = CommonVoice(root=root, language=language), hashlib.sha256()
    for split in FILES:
        for block in tsv.blocks(corpus.folder / FILES[split]):
            total.update(block)
    # Row by row: a release may have a million. What lies in the folder besides is not looked at.
    found = hashlib.sha256(f"{total.hexdigest()}\n".encode())
    for split in FILES:
        for row in corpus.utterances(split):
            if isinstance(row, Utterance) and isinstance(row.audio, Path):
                found.update(f"{row.audio.name}:{_size(row.audio)}\n".encode())
    return found.hexdigest()[:16]


def _size(clip: Path) -> int | None:
    """Bytes of a clip; None where there is no file to be found, as preparation will say of it."""
    try:
        found = os.stat(clip)
    except (OSError, ValueError):  # a name that the file system's encoding does not have is a ValueError
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _mode(path: Path) -> int:
    """The mode of a file, which tells its kind, or 0 where there is none. Raises ValueError when that is not told."""
    try:
        return os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return 0
    except OSError as error:
        why = error.strerror
        raise ValueError(f"{path} must be a file or a folder that can be looked at, but is not: {why}.") from error


def _locales(root: Path) -> list[str]:
    """The locales that a root has, whatever else lies there."""
    try:
        names = sorted(name for name in os.listdir(root) if re.match(LOCALE, name))
    except OSError as error:
        why = error.strerror
        raise ValueError(f"The data root must be a folder that can be read, but {root} is none: {why}.") from error
    return [name for name in names if os.path.isfile(root / name / FILES["train"])]


def _utterance(row: tsv.Row, clips: Path) -> Utterance | Rejected:
    where = f"line {row.line}"
    if row.fault:
        return Rejected(where, "malformed row", row.fault)
    name = row.values["path"]
    if not name or "/" in name or "\\" in name or "\0" in name:
        return Rejected(where, "malformed row", f"`path` must be a file name, but is {name!r}")
    # Releases before 4 leave the extension out.
    audio = clips / (name if "." in name else f"{name}.mp3")
    return Utterance(audio.stem, audio, row.values["sentence"], row.values["client_id"])
