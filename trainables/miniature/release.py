"""A corpus in the layout of a Common Voice release: clips, and one tab-separated table per split."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from trainables.cache import write_atomically

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")


class Clip(NamedTuple):
    """A row, in the order of the columns of current releases."""

    client_id: str
    path: str
    sentence_id: str
    sentence: str
    sentence_domain: str = ""
    up_votes: int = 0
    down_votes: int = 0
    age: str = ""
    gender: str = ""
    accents: str = ""
    variant: str = ""
    locale: str = ""
    segment: str = ""


def clip(file: str, sentence: str, speaker: str, locale: str) -> Clip:
    """The row of a clip, as far as it is known; speakers and sentences are named by digests, as in Common Voice."""
    return Clip(_digest(speaker), file, _digest(sentence), sentence, locale=locale)


def tidy(sentence: str) -> str:
    """The sentence as written, in NFC and on one line."""
    return " ".join(unicodedata.normalize("NFC", sentence).split())


def split_of(sentence: str, locale: str) -> Split:
    """The split of a sentence, 80 / 10 / 10 by its words alone, so that no text is in two splits. (Speakers are.)"""
    words = re.sub(r"[^\w\s]|_", " ", unicodedata.normalize("NFKC", sentence).lower()).split()
    digest = hashlib.sha1(f"{locale}|{' '.join(words)}".encode(), usedforsecurity=False).hexdigest()
    percentile = int(digest, 16) % 100
    if percentile < 10:
        return "test"
    return "dev" if percentile < 20 else "train"


def write_tables(folder: Path, splits: Mapping[Split, Iterable[Clip]]) -> None:
    """Write `train.tsv`, `dev.tsv` and `test.tsv`. Common Voice does not quote: a `"` is just a character."""
    for split in SPLITS:
        rows = [Clip._fields, *splits[split]]
        lines = ("\t".join(map(str, row)) for row in rows)
        write_atomically(folder / f"{split}.tsv", "".join(f"{line}\n" for line in lines))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
