r"""Drascula, an adventure of 1996 (English voices, 8 bits at 11 kHz; a licence of its own).

    usr/share/scummvm/drascula/en/D12.ALS        a sound: 32 bytes, samples as unsigned bytes, 32 bytes
    usr/share/scummvm/drascula/en/drascula.dat   ScummVM's tables: what is in the game's own program

The letters of a sound's name say who speaks, and its number which of that character's texts. `drascula.dat` is big
endian: nine bytes, thirteen tables of numbers, each after its length in two bytes, and the number of languages, of
which English is the first. Then come tables of texts, each as the number of its texts and a block for each language:
its size, two zeros, and each text, ended by a zero and more, after the distance from its beginning to the next one's.
The first text of a table stands for nothing.
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from trainables.miniature.downloads import DownloadError
from trainables.miniature.recording import Recording

PACKAGE = "drascula"
ROOT = "usr/share/scummvm/drascula/en"
TABLES = "drascula.dat"
RATE = 11025

VOICES = {
    "": "John Hacker",
    "D": "Count Drascula",
    "B": "drunkard",
    "BJ": "BJ",
    "E": "musician",
    "I": "Igor",
    "L": "werewolf",
    "P": "pianist",
    "T": "bartender",
    "VB": "Von Braun",
}
"""Characters by the letters of their sounds' names, in the order of their tables of texts."""

_WIDTHS = (4, 4, 4, 2, 4, 2, 4, 2, 2, 20, 20, 10, 8)
"""Bytes of an entry of each table of numbers."""
_EDGE = 32


def wanted(path: str) -> bool:
    """Whether a packaged file is needed."""
    return path.startswith(f"{ROOT}/") and (path.endswith(".ALS") or path == f"{ROOT}/{TABLES}")


def recordings(root: Path) -> Iterator[Recording]:
    """Every sound of a character under `root` (where the package was unpacked), with its text where there is one.

    The sounds are written anew as WAV. Raises DownloadError when the table of texts is missing or damaged.
    """
    folder = root / ROOT
    if not (folder / TABLES).is_file():
        raise DownloadError(f"`{PACKAGE}` must hold {TABLES}, which has the texts, but does not.")
    texts = read_texts((folder / TABLES).read_bytes())
    for sound in sorted(folder.glob("*.ALS")):
        name = re.fullmatch(r"([A-Z]*)(\d+)", sound.stem)
        if name is None or name[1] not in VOICES:  # a noise
            continue
        said, number = texts[name[1]], int(name[2])
        audio = sound.with_suffix(".wav")
        samples = np.frombuffer(sound.read_bytes()[_EDGE:-_EDGE], np.uint8)
        soundfile.write(audio, (samples.astype(np.int16) - 128) << 8, RATE, subtype="PCM_16")
        sentence = said[number] if number < len(said) else ""
        yield Recording(audio, f"drascula-{sound.stem}", sentence, f"drascula {VOICES[name[1]]}")


def read_texts(data: bytes) -> dict[str, list[str]]:
    """The English texts of each character, by the letters of its sounds' names.

    Raises DownloadError when the file ends before its tables do.
    """
    try:
        return _read_texts(data)
    except (struct.error, ValueError):
        raise DownloadError(f"`{TABLES}` must hold its tables whole, but ends within them.") from None


def _read_texts(data: bytes) -> dict[str, list[str]]:
    at = 9
    for width in _WIDTHS:
        at += 2 + width * _uint16(data, at)
    languages, at = _uint16(data, at), at + 2
    texts: dict[str, list[str]] = {}
    for letters in VOICES:
        count, at = _uint16(data, at), at + 2
        for language in range(languages):
            size, at = _uint16(data, at), at + 2
            if language == 0:
                texts[letters] = _strings(data[at : at + size], count)
            at += size
    if at > len(data):
        raise ValueError("the last block is not whole")
    return texts


def _strings(block: bytes, count: int) -> list[str]:
    """The texts of a block."""
    at, texts = 4, [""]
    for _ in range(1, count):
        at += _uint16(block, at - 2)
        texts.append(block[at : block.index(b"\0", at)].decode("cp850"))
    return texts


def _uint16(data: bytes, at: int) -> int:
    return struct.unpack_from(">H", data, at)[0]
