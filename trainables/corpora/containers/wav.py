"""WAV (RIFF and RF64): chunks, each with its length; the samples are in the chunk `data`.

A writer to a pipe cannot go back to the lengths, and leaves 0 there or about the largest number (sox 0x7FFFF000,
FFmpeg 0xFFFFFFFF).
"""

import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

from trainables.corpora.containers.truncated import Truncated

UNKNOWN = 0x7FFFF000
"""Lengths from here on are those of writers that did not know."""
BEGINNING = re.compile(rb"(?:RIFF|RF64).{4}WAVE[A-Za-z]{3}", re.DOTALL)
NAME = re.compile(rb"[A-Za-z][A-Za-z0-9_]{2}[A-Za-z0-9_ ]")
"""Names of chunks. Speech whose samples read like one is as good as impossible."""


def begins(head: bytes) -> bool:
    """Whether a file with these first 12 bytes is a WAV."""
    return head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE"


def streams(file: BinaryIO) -> list[bytes]:
    """The streams of a file, each as a file whose stated length is right; none where the file is right as it is.

    Where the chunks fill the file exactly, only their headers are read.

    Raises Truncated when `data` has fewer bytes than it states, and RIFF's own length says that they are missing.
    """
    size = file.seek(0, 2)
    if _filled(file, size) or not any(name == b"data" for name, _, _ in _chunks(file, 0, size)):
        return []
    file.seek(0)
    content = file.read()
    starts = [0, *(found.start() for found in BEGINNING.finditer(content, 1))]
    ends = [*starts[1:], len(content)]
    return [_mended(file, content[start:end], start) for start, end in zip(starts, ends, strict=True)]


def _chunks(file: BinaryIO, start: int, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, position and stated length of what each chunk holds, of the WAV at `start` of a file of `size` bytes."""
    position, lengths = start + 12, {}
    while position + 8 <= size:
        file.seek(position)
        name, length = struct.unpack("<4sI", file.read(8))
        if name == b"ds64":  # RF64 has its lengths here, in 64 bits, and 0xFFFFFFFF in their place
            _, lengths[b"data"] = struct.unpack("<QQ", file.read(16).ljust(16, b"\0"))
        length = lengths.get(name, length)
        yield name, position + 8, length
        position += 8 + length + length % 2


def _filled(file: BinaryIO, size: int) -> bool:
    """Whether one WAV's chunks fill the file: to its last byte, or but for the one that makes a length even."""
    end = 0
    for name, position, length in _chunks(file, 0, size):
        if name in (b"RIFF", b"RF64"):  # another WAV
            return False
        end = position + length
    return end <= size <= end + 1


def _mended(file: BinaryIO, piece: bytes, start: int) -> bytes:
    """A WAV at `start` of a file, with the length that its samples have."""
    end = start + len(piece)
    found = next(((p, n) for name, p, n in _chunks(file, start, end) if name == b"data"), None)
    if found is None:
        return piece
    position, stated = found[0] - start, found[1]
    there = len(piece) - position
    if 0 < stated <= there and NAME.match(piece, position + stated + stated % 2):
        there = stated  # something else follows, be it damaged
    elif there < stated < UNKNOWN and struct.unpack_from("<I", piece, 4)[0] + 8 > len(piece) + 1:
        raise Truncated(f"{there} of {stated} bytes")
    content = piece[8 : position - 4] + struct.pack("<I", there) + piece[position : position + there]
    return b"RIFF" + struct.pack("<I", len(content)) + content
