"""The one file of Flight of the Amazon Queen: a table of names, and the files behind it.

`queen.1c` as ScummVM's tools made it, big endian: "QTBL", the game's version in six bytes, two zeros, the compression
of its sounds (1: MP3), the number of entries in two bytes, and that many of 21 bytes:

    name 12 bytes, ended by zeros · bundle 1 byte · offset 4 bytes · size 4 bytes

A string in a file is its length in one byte and that many characters in Latin-1; the next thing begins where the
offset in the file is even, or a multiple of four among lines of dialogue. An empty one is the single zero.
"""

import struct
from pathlib import Path

from trainables.miniature.downloads import DownloadError

HEADER = 20
"""Bytes that dialogues, scenes and QUEEN.JAS begin with, before where their own offsets count from."""
_COUNT_AT, _TABLE_AT = 13, 15
_ENTRY = struct.Struct(">12sBII")


class QueenFile:
    """The files in `queen.1c`. Raises DownloadError when it is not there, or its table or a file is not whole."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise DownloadError(f"The game's package must hold {path.name}, but does not.")
        self._content = path.read_bytes()
        if not self._content.startswith(b"QTBL"):
            raise DownloadError(f"`{path.name}` must begin with QTBL, but does not.")
        try:
            count = int16(self._content, _COUNT_AT)
            entries = [_ENTRY.unpack_from(self._content, _TABLE_AT + index * _ENTRY.size) for index in range(count)]
        except struct.error:
            raise DownloadError(f"`{path.name}` must hold its table of files whole, but ends within it.") from None
        self._places = {name.rstrip(b"\0").decode("latin-1"): (at, size) for name, _, at, size in entries}
        for name, (at, size) in self._places.items():
            if at + size > len(self._content):
                raise DownloadError(f"`{path.name}` must hold {name} whole, but ends before it does.")

    def names(self, kind: str) -> list[str]:
        """The names of all files with this ending, without it, sorted."""
        return sorted(name.removesuffix(f".{kind}") for name in self._places if name.endswith(f".{kind}"))

    def read(self, name: str) -> bytes:
        """The bytes of a file. Raises DownloadError when there is none of that name."""
        if name not in self._places:
            raise DownloadError(f"`queen.1c` must have the file {name}, but has not.")
        at, size = self._places[name]
        return self._content[at : at + size]


def int16(data: bytes, at: int) -> int:
    """The signed number of two bytes at an offset. Raises struct.error beyond the end."""
    return struct.unpack_from(">h", data, at)[0]


def string(data: bytes, at: int, align: int = 2) -> tuple[str, int]:
    """The string at an offset, and the offset of what follows it. Raises IndexError beyond the end."""
    length = data[at]
    end = at + 1 + length
    if end > len(data):
        raise IndexError(f"a string of {length} bytes at {at} is not whole")
    return data[at + 1 : end].decode("latin-1"), -(-end // align) * align if length else end
