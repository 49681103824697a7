"""Mozilla Common Voice, any release (Ardila et al. 2020).

A release unpacks to `cv-corpus-<version>-<date>/<locale>/` with `clips/` and one TSV file per split. A TSV
has a header and no quoting; columns came and went, the three used here are in every release:

    6.1:   client_id path sentence up_votes down_votes age gender accent locale segment
    22.0:  client_id path sentence_id sentence sentence_domain up_votes … accents variant locale segment

    00aa…f3 \t common_voice_cs_20487399.mp3 \t Oba muži byli zatčeni. \t 2 \t 0 \t \t \t \t cs \t
"""

import hashlib
import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from trainables.batch import Rejected, Utterance
from trainables.config import Config, Folder

Split = Literal["train", "valid", "test"]
FILES: dict[Split, str] = {"train": "train.tsv", "valid": "dev.tsv", "test": "test.tsv"}
REQUIRED = ("client_id", "path", "sentence")


class CommonVoice(Config):
    """One language of a Common Voice release."""

    kind: Literal["common_voice"] = "common_voice"
    root: Folder
    """Folder of the release: it holds one folder per locale."""
    language: Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]+)*$")]
    """Locale code, as the release's folder is named: cs, pt, zh-CN."""

    @property
    def folder(self) -> Path:
        """Folder of the language.

        Raises ValueError when the root or the locale is not there.
        """
        root = Path(self.root)
        if not root.is_dir():
            raise ValueError(f"The data root must be a folder with Common Voice locales, but {root} is none.")
        folder = root / self.language
        if not folder.is_dir():
            there = ", ".join(sorted(p.name for p in root.iterdir() if (p / "train.tsv").is_file()))
            raise ValueError(
                f"The language {self.language!r} must be a folder of {root}, but there is only: {there or 'none'}."
            )
        return folder

    def release(self) -> str:
        """What this data is called in tables: the line in `RELEASE.txt`, or the name of the root folder."""
        label = Path(self.root) / "RELEASE.txt"
        return label.read_text(encoding="utf-8").strip() if label.is_file() else Path(self.root).resolve().name

    def licence(self) -> str:
        """Of the recordings: what `SOURCES.json` says of the packages they come from, or CC0-1.0, Common Voice's own.

        Raises ValueError when the root is not there: a name alone does not tell.
        """
        if not Path(self.root).is_dir():
            raise ValueError(f"The data root must be a folder with Common Voice locales, but {self.root} is none.")
        sources = Path(self.root) / "SOURCES.json"
        if not sources.is_file():
            return "CC0-1.0"
        packages = json.loads(sources.read_text(encoding="utf-8"))["packages"]
        return ", ".join(sorted({package["licence"] for package in packages}))

    def fingerprint(self) -> str:
        """Digest of the three TSV files and of the names and sizes of the clips that they name."""
        tables = [self._table(split) for split in FILES]
        clips = self.folder / "clips"
        known = [*tables, clips] if clips.is_dir() else tables
        return _fingerprint(self.root, self.language, tuple(path.stat().st_mtime_ns for path in known))

    def utterances(self, split: Split) -> Iterator[Utterance | Rejected]:
        """The rows of a split in the order of its file; a malformed row comes as `Rejected`.

        Raises ValueError when the file is missing or its header lacks a column that is needed.
        """
        path, clips = self._table(split), self.folder / "clips"
        with path.open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            header = next(file, "").rstrip("\r\n").split("\t")
            if missing := [name for name in REQUIRED if name not in header]:
                raise ValueError(f"The header of {path} must have {', '.join(missing)}, but is {header} instead.")
            for number, line in enumerate(file, start=2):
                yield parse(header, line, number, clips, self.language)

    def _table(self, split: Split) -> Path:
        path = self.folder / FILES[split]
        if not path.is_file():
            raise ValueError(f"The language {self.language!r} must have {FILES[split]}, but {path} does not exist.")
        return path


@cache
def _fingerprint(root: str, language: str, changed: tuple[int, ...]) -> str:
    """A hundred trials ask, and looking at every clip takes long; `changed` are the times of the last changes.

    A clip that is overwritten in place changes no folder: the next process sees it.
    """
    corpus, total = CommonVoice(root=root, language=language), hashlib.sha256()
    for split in FILES:
        with (corpus.folder / FILES[split]).open("rb") as file:
            while block := file.read(1 << 20):
                total.update(block)
    clips = corpus.folder / "clips"
    sizes = {p.name: p.stat().st_size for p in os.scandir(clips)} if clips.is_dir() else {}
    # Row by row: a release may have a million.
    found = hashlib.sha256(f"{total.hexdigest()}\n".encode())
    for split in FILES:
        for row in corpus.utterances(split):
            if isinstance(row, Utterance):
                found.update(f"{row.audio.name}:{sizes.get(row.audio.name)}\n".encode())
    return found.hexdigest()[:16]


def parse(header: list[str], line: str, number: int, clips: Path, language: str) -> Utterance | Rejected:
    """One line of a TSV, `number` counted from 1 as an editor does."""
    fields = line.rstrip("\r\n").split("\t")
    where = f"line {number}"
    try:
        line.encode()
    except UnicodeEncodeError:  # bytes that did not decode come as lone surrogates
        return Rejected(where, "malformed row", "holds bytes that are not UTF-8")
    if len(fields) != len(header):
        return Rejected(where, "malformed row", f"{len(fields)} fields, must be {len(header)}")
    row = dict(zip(header, fields, strict=True))
    name = row["path"]
    if not name or "/" in name or "\\" in name or "\0" in name:
        return Rejected(where, "malformed row", f"`path` must be a file name, but is {name!r}")
    # Releases before 4 leave the extension out.
    audio = clips / (name if "." in name else f"{name}.mp3")
    return Utterance(audio.stem, audio, None, row["sentence"], language, row["client_id"])
