"""Audio books as LibriSpeech lays them out: a folder for each speaker, and in it one for each chapter.

    103/1240/103-1240-0000.flac     speaker / chapter / speaker-chapter-utterance
    103/1240/103-1240.trans.txt     a line for each clip, in capitals and without punctuation but apostrophes:
    103-1240-0000 CHAPTER ONE MISSUS RACHEL LYNDE IS SURPRISED MISSUS RACHEL LYNDE LIVED JUST WHERE …

A chapter without `.trans.txt` is speech without transcripts. Hidden files are left alone: macOS leaves a `._NAME.flac`
beside each clip that it copies to another disk.
"""

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from trainables.batch import Rejected, Utterance

CLIP = ".flac"


def utterances(parts: Sequence[Path]) -> Iterator[Utterance | Rejected]:
    """The clips of folders of speakers, by speaker, chapter and name; what cannot be used comes as `Rejected`.

    Raises ValueError when a folder or a file of transcripts cannot be read.
    """
    chapter_of: dict[str, Path] = {}
    for part in parts:
        for chapter in _chapters(part):
            for item in _utterances(chapter):
                if isinstance(item, Utterance) and (first := chapter_of.setdefault(item.id, chapter)) != chapter:
                    yield Rejected(item.id, "duplicate clip", f"is in {first} too")
                else:
                    yield item


def fingerprint(part: Path) -> str:
    """Digest of all transcripts of a folder of speakers, and of the names and sizes of all its clips.

    Raises ValueError when it has no clips, or something cannot be read.
    """
    known = [path for chapter in _chapters(part) for path in (chapter, _table(chapter))]
    return _fingerprint(part, tuple(_changed(path) for path in known))


def folders(folder: Path) -> list[Path]:
    """The folders in a folder, by name, but for hidden ones. Raises ValueError when it cannot be read."""
    return [folder / name for name in _names(folder) if os.path.isdir(folder / name)]


@cache
def _fingerprint(part: Path, changed: tuple[int, ...]) -> str:
    """The fingerprint, remembered: a hundred trials ask, and looking at every clip takes long.

    `changed` are the times of the last changes of the chapters and their transcripts. A clip that is overwritten in
    place changes no folder: the next process sees it.
    """
    found, clips = hashlib.sha256(), 0
    for chapter in _chapters(part):
        names = _clips(chapter)
        sizes = [f"{name}:{_size(chapter / name)}" for name in names]
        found.update(os.fsencode(f"{chapter.parent.name}/{chapter.name}: {' '.join(sizes)}\n"))
        found.update(_content(_table(chapter)) or b"")
        clips += len(names)
    if not clips:
        raise ValueError(f"{part} must have clips in SPEAKER/CHAPTER/*{CLIP}, but has none.")
    return found.hexdigest()[:16]


def _utterances(chapter: Path) -> Iterator[Utterance | Rejected]:
    """The clips of a chapter by name, each with its line of the transcripts; and lines that nothing can be made of."""
    speaker, prefix = chapter.parent.name, _prefix(chapter)
    clips = {}
    for file in _clips(chapter):
        if _belongs(name := file.removesuffix(CLIP), prefix):
            clips[name] = chapter / file
        else:
            where, must = f"{prefix} {file}", f"must be `{prefix}-NUMBER{CLIP}`"
            yield Rejected(_printable(where), "malformed name", _printable(must))
    file = _table(chapter).name
    if (content := _content(_table(chapter))) is None:
        yield from (Utterance(name, path, None, speaker) for name, path in clips.items())
        return
    texts: dict[str, str] = {}
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not line.strip():
            continue
        name, text, fault = _line(line, prefix)
        if name in texts:
            fault = f"{name} has a line already"
        if fault:
            yield Rejected(_printable(f"{file} line {number}"), "malformed row", _printable(fault))
        else:
            texts[name] = text
    for name in sorted(clips.keys() | texts.keys()):
        if name in texts:
            yield Utterance(name, clips.get(name, chapter / f"{name}{CLIP}"), texts[name], speaker)
        else:
            yield Rejected(name, "no transcript", f"{file} has no line for it")


def _line(line: bytes, prefix: str) -> tuple[str, str, str]:
    """The name and the text of a line, or what is wrong with it."""
    try:
        name, *text = line.decode().split(maxsplit=1)
    except UnicodeDecodeError:
        return "", "", "holds bytes that are not UTF-8"
    if not _belongs(name, prefix) or not text:
        return "", "", f"must be `{prefix}-NUMBER TEXT`"
    return name, text[0].strip(), ""


def _prefix(chapter: Path) -> str:
    """The beginning of the names of a chapter's files."""
    return f"{chapter.parent.name}-{chapter.name}"


def _belongs(name: str, prefix: str) -> bool:
    """Whether a name is that of a clip of the chapter: `prefix`, a hyphen and a number."""
    number = name.removeprefix(f"{prefix}-")
    return number != name and number.isdecimal() and name.isascii()


def _printable(text: str) -> str:
    """The text, with bytes of file names that are not UTF-8 as `\\udcff`: a quarantine is a file in UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def _table(chapter: Path) -> Path:
    """The file of a chapter's transcripts, whether it is there or not."""
    return chapter / f"{_prefix(chapter)}.trans.txt"


def _content(table: Path) -> bytes | None:
    """The bytes of a file, None where there is none. Raises ValueError when it cannot be read."""
    try:
        return table.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(f"{table} must be text that can be read, but is not: {error.strerror}.") from error


def _changed(path: Path) -> int:
    """The time of the last change; 0 where there is nothing."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _size(clip: Path) -> int | None:
    """Bytes of a clip; None where it is no file, as preparation will say of it."""
    try:
        found = os.stat(clip)
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _chapters(part: Path) -> list[Path]:
    """The folders of chapters, in the order of their speakers' and their own names.

    Raises ValueError when one cannot be read.
    """
    return [chapter for speaker in folders(part) for chapter in folders(speaker)]


def _clips(chapter: Path) -> list[str]:
    """The names of a chapter's sound files. Raises ValueError when the folder cannot be read."""
    return [name for name in _names(chapter) if name.endswith(CLIP)]


def _names(folder: Path) -> list[str]:
    """The names in a folder, sorted, but for hidden ones. Raises ValueError when it cannot be read."""
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise ValueError(f"{folder} must be a folder that can be read, but is not: {error.strerror}.") from error
