"""A small `queen.1c` in the format of the game's: what the tests of its reader, and of the whole build, are made of."""

import struct
from collections.abc import Mapping, Sequence

HEADER = bytes(20)
NAMES = ("hatch", "Trader Bob", "note")
PEOPLE = (2, 3)
DESCRIPTIONS = ("I don't see anything special*24", "Neat*02It glows*03")


def pack(files: Mapping[str, bytes]) -> bytes:
    """The file of these files."""
    at = 15 + 21 * len(files)
    table = b""
    for name, content in files.items():
        table += struct.pack(">12sBII", name.encode(), 1, at, len(content))
        at += len(content)
    return b"QTBLCEM10\0\0\0\1" + struct.pack(">H", len(files)) + table + b"".join(files.values())


def text(content: str, at: int, align: int = 2) -> bytes:
    """A string that begins at an offset, filled up so that the next thing is aligned."""
    data = bytes([len(content)]) + content.encode("latin-1")
    return data + bytes(-(at + len(data)) % align) if content else data


def dialogue(key: int, joe: Mapping[int, str], other: Mapping[int, str], goodbyes: tuple[str, str]) -> bytes:
    """A .DOG of one level; the numbers of lines are their identifiers."""
    lines, starts = bytes(32 + 96), []
    for said in (joe, other):
        starts.append(len(lines))
        for identifier, content in said.items():
            lines += struct.pack(">hh", 0, identifier)
            lines += text(content, len(lines), align=4)
    starts.append(len(lines))
    for content in goodbyes:
        lines += text(content, len(lines))
    first = struct.pack(">5h", 1, 0, key, len(joe), len(other)) + bytes(12)
    first += struct.pack(">3H", starts[1], 0, starts[2])
    return HEADER + first + lines[len(first) :]


def scene(happenings: Sequence[tuple[int, int, str]]) -> bytes:
    """A .CUT of (object, frames of its animation, text), for each with one person on stage."""
    things = b""
    for who, frames, _ in happenings:
        numbers = [0] * 17
        numbers[0], numbers[4], numbers[5] = who, int(frames > 0), int(frames > 0)
        things += struct.pack(">17h", *numbers) + struct.pack(">hh", 1, 7)
        if frames:
            things += struct.pack(">10h", *[0] * 10) * frames + struct.pack(">h", -2)
    start = 12 + len(things)
    strings = b""
    for content in ("*FL", *(said for _, _, said in happenings)):
        strings += text(content, start + len(strings))
    return HEADER + struct.pack(">6h", 0, -len(happenings), 0, 0, start, 0) + things + strings


def tables() -> dict[str, bytes]:
    """The objects, and the texts about them, of one room."""
    objects = b"".join(
        struct.pack(">8h", -number, *[0] * 6, -3 if number in PEOPLE else 0) for number in range(1, len(NAMES) + 1)
    )
    counts = struct.pack(">4H", 1, len(NAMES), len(NAMES), len(DESCRIPTIONS))
    answers = ["It doesn't seem to open*03", *["No*03"] * 39]
    lines = [*DESCRIPTIONS, *NAMES, "ROOM", *["verb"] * 12, *answers]
    return {"QUEEN.JAS": HEADER + counts + objects, "QUEEN2.JAS": "\r\n".join(lines).encode("latin-1")}
