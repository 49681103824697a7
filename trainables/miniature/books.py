"""A corpus in the layout of LibriSpeech, and limited sets of it in that of Libri-light.

    LibriSpeech/SUBSET/SPEAKER/CHAPTER/SPEAKER-CHAPTER-UUUU.flac     16 kHz, 16 bits
    LibriSpeech/SUBSET/SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt     a line for each clip: its name, and its text
    LibriSpeech/SPEAKERS.TXT                                         number, sex, subset, minutes and name
    librispeech_finetuning/1h/0/clean/SPEAKER/…                      clips of the training subsets once more

Texts are upper case, with no other characters than A to Z and the apostrophe.
"""

import hashlib
import os
import re
import shutil
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from trainables.cache import write_atomically
from trainables.miniature.downloads import DownloadError

CHAPTER_CLIPS = 50
SIXTHS = tuple(f"1h/{number}" for number in range(6))
REST = "9h"

_APOSTROPHES = str.maketrans(dict.fromkeys("\N{RIGHT SINGLE QUOTATION MARK}\N{ACUTE ACCENT}\N{GRAVE ACCENT}", "'"))
_NOT_SAID = re.compile(r"\([^)]*\)|<[^>]*>|\[[^\]]*\]")
_SPOKEN = {"MR": "MISTER", "MRS": "MISSUS", "DR": "DOCTOR"}  # as LibriSpeech writes them


class Speaker(NamedTuple):
    """A person, or a character, of one subset."""

    number: int
    name: str
    sex: str
    subset: str


class Clip(NamedTuple):
    """A sound file of a speaker and its text."""

    flac: Path
    text: str
    seconds: float
    speaker: Speaker
    chapter: int = 0
    number: int = 0

    @property
    def prefix(self) -> str:
        """The beginning of the names of all files of its chapter."""
        return f"{self.speaker.number}-{self.chapter}"

    @property
    def name(self) -> str:
        """The clip's name: speaker, chapter and number."""
        return f"{self.prefix}-{self.number:04d}"


def transcript(sentence: str) -> str:
    """The sentence as LibriSpeech would write it; empty if it has no letters.

    Brackets and what is in them and accents are left out, MR, MRS and DR spelled out, and what else is neither letter
    nor apostrophe parts words.
    """
    said = _NOT_SAID.sub(" ", sentence.translate(_APOSTROPHES))
    letters = unicodedata.normalize("NFKD", said).upper()
    plain = "".join(character for character in letters if not unicodedata.combining(character))
    words = re.sub(r"[^A-Z']", " ", plain).split()
    return " ".join(_SPOKEN.get(word, word) for word in words if word.strip("'"))


def in_chapters(clips: Iterable[Clip]) -> list[Clip]:
    """The clips with chapters of 50 clips and numbers in them, in the order in which they come.

    Chapters are counted through all speakers, as LibriSpeech's are.
    """
    by_speaker: dict[Speaker, list[Clip]] = defaultdict(list)
    for clip in clips:
        by_speaker[clip.speaker].append(clip)
    numbered, chapter = [], 0
    for speaker in sorted(by_speaker):
        for index, clip in enumerate(by_speaker[speaker]):
            number = index % CHAPTER_CLIPS
            chapter += number == 0
            numbered.append(clip._replace(chapter=chapter, number=number))
    return numbered


def write(folder: Path, clips: Iterable[Clip]) -> list[Clip]:
    """Lay out clips in folders of speakers and chapters, with their transcripts; the clips with their new files.

    A file is linked where the file system can, so that a clip of several sets lies on the disk once.
    """
    written = []
    lines: dict[Path, list[str]] = defaultdict(list)
    for clip in sorted(clips, key=lambda clip: clip.name):
        chapter = folder / str(clip.speaker.number) / str(clip.chapter)
        chapter.mkdir(parents=True, exist_ok=True)
        file = chapter / f"{clip.name}.flac"
        _link(clip.flac, file)
        lines[chapter / f"{clip.prefix}.trans.txt"].append(f"{clip.name} {clip.text}\n")
        written.append(clip._replace(flac=file))
    for table, its_lines in lines.items():
        table.write_text("".join(its_lines), encoding="utf-8")
    return written


def write_speakers(folder: Path, clips: Iterable[Clip]) -> None:
    """Write SPEAKERS.TXT, of those who have clips."""
    seconds: dict[Speaker, float] = defaultdict(float)
    for clip in clips:
        seconds[clip.speaker] += clip.seconds
    rows = [";ID  |SEX| SUBSET           |MINUTES| NAME\n"]
    for speaker in sorted(seconds):
        minutes = f"{seconds[speaker] / 60:.2f}"
        rows.append(f"{speaker.number:<4} | {speaker.sex} | {speaker.subset:<16} | {minutes:<5} | {speaker.name}\n")
    write_atomically(folder / "SPEAKERS.TXT", "".join(rows))


def limited(
    halves: Mapping[str, Sequence[Clip]], sixth_seconds: float, rest_seconds: float
) -> Iterator[tuple[str, list[Clip]]]:
    """Libri-light's folders and the clips for each, half of them of each of `halves` (`clean` and `other`).

    They are drawn by the digests of their names, and none for two folders. Raises DownloadError if there are too few.
    """
    for half, clips in halves.items():
        drawn = iter(sorted(clips, key=lambda clip: hashlib.sha256(clip.name.encode()).digest()))
        for part, seconds in [*((sixth, sixth_seconds) for sixth in SIXTHS), (REST, rest_seconds)]:
            chosen: list[Clip] = []
            while sum(clip.seconds for clip in chosen) < seconds / 2:
                if (clip := next(drawn, None)) is None:
                    raise DownloadError(f"The packages must hold speech enough for {part}/{half}, but do not.")
                chosen.append(clip)
            yield f"{part}/{half}", chosen


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)
