"""MP3 (MPEG audio, layer III): frames, each with its length in its header; a first one without sound may count them.

That first frame (`Xing` or `Info`, written by LAME and FFmpeg; `VBRI`, by Fraunhofer's encoder) is missing where an
encoder wrote to a pipe, and each of several joined files has its own. Without one, mpg123 takes the bit rate of the
beginning for that of the whole.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache

from trainables.corpora.containers.truncated import Truncated

KILOBITS = {
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Thousands of bits in a second, by the index in a header, of MPEG 1 and of MPEG 2."""
COUNTER = re.compile(rb"Xing|Info|VBRI")
FARTHEST = 40
"""Bytes of a frame after which its counter begins, at most."""
COUNTED, MEASURED = 1, 2
"""Flags of a counter that it states the number of frames, and then their bytes."""


@dataclass
class Piece:
    """One of the files that were joined: where it begins in the whole, and what it states."""

    begin: int
    sound: int
    """Position of its first frame with sound."""
    counter: int | None
    """Position of what it states, if anything."""
    end: int
    frames: int = 0
    """Whole frames with sound."""
    rates: set[int] = field(default_factory=set)
    """Bit rates of those, by their headers' index."""


def begins(head: bytes) -> bool:
    """Whether a file with these first 12 bytes may be an MP3."""
    return head[:3] == b"ID3" or _length(head[:4]) is not None


def streams(data: bytes) -> list[bytes]:
    """The streams of a file, each as a file whose stated length is right; none where the file is right as it is.

    Raises Truncated when the last frame is not whole, unless all that were stated came before it; and when frames and
    bytes are missing of what is stated, for a file may be cut between two frames.
    """
    pieces, missing = _pieces(data)
    stated = [_stated(data, piece) for piece in pieces]
    if pieces:
        last, number = pieces[-1], stated[-1]
        if missing and (number is None or last.frames < number):
            raise Truncated(f"{missing} bytes of the last frame are missing")
        if number is not None and last.frames + 1 < number and _length_stated(data, last) > last.end - last.begin:
            raise Truncated(f"{last.frames} of {number} frames")
    # Some encoders count the counter's own frame too.
    right = [number in (piece.frames, piece.frames + 1) for number, piece in zip(stated, pieces, strict=True)]
    if right in ([], [True]) or (len(pieces) == 1 and _guessed(data, pieces[0])):
        return []
    return [
        data[piece.begin : piece.end] if fine else _mended(data, piece)
        for piece, fine in zip(pieces, right, strict=True)
        if piece.frames
    ]


def _pieces(data: bytes) -> tuple[list[Piece], int]:
    """The files that were joined, and how many bytes the last frame lacks."""
    pieces: list[Piece] = []
    position, fresh = 0, True
    while position < len(data):
        if data.startswith(b"ID3", position):
            position, fresh = _after_id3(data, position), True
            continue
        length = _length(data[position : position + 4])
        if length is None:  # a tag at the end, or bytes that do not belong there
            position = _next(data, position + 1)
            continue
        end = position + length
        if end > len(data):
            return pieces, end - len(data)
        counter = COUNTER.search(data, position + 4, position + FARTHEST)
        if fresh or counter:
            pieces.append(Piece(position, end if counter else position, counter.start() if counter else None, end))
            fresh = False
        if not counter:
            pieces[-1].frames += 1
            pieces[-1].rates.add(data[position + 2] >> 4)
        position = pieces[-1].end = end
    return pieces, 0


def _after_id3(data: bytes, position: int) -> int:
    """The position after a tag, whose length has seven bits in each byte."""
    length = 0
    for byte in data[position + 6 : position + 10]:
        length = length << 7 | byte & 0x7F
    return position + 10 + length


def _next(data: bytes, position: int) -> int:
    """Position of the next tag, or of the next frame that another of its kind follows; or the end."""
    for found in re.compile(rb"\xff[\xe0-\xff]|ID3[\2-\4]\0").finditer(data, position):
        start = found.start()
        if data[start] != 0xFF:
            return start
        length = _length(data[start : start + 4])
        if length and data[start + length : start + length + 2] == found[0] and _length(data[start + length :][:4]):
            return start
    return len(data)


@lru_cache(4096)
def _length(header: bytes) -> int | None:
    """Bytes of a frame with these first four; None for what is no header of layer III with a bit rate."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    kilobits, rate = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or layer != 1 or kilobits in (0, 15) or rate == 3:
        return None
    mpeg, halvings = {3: (1, 0), 2: (2, 1), 0: (2, 2)}[version]
    hertz = (44_100, 48_000, 32_000)[rate] >> halvings
    return 144_000 // mpeg * KILOBITS[mpeg][kilobits] // hertz + (header[2] >> 1 & 1)


def _guessed(data: bytes, piece: Piece) -> bool:
    """Whether mpg123 guesses its length right: where nothing is stated, and no byte is of anything but frames."""
    return piece.counter is None and len(piece.rates) == 1 and (piece.begin, piece.end) == (0, len(data))


def _stated(data: bytes, piece: Piece) -> int | None:
    """The number of frames that a piece states."""
    if (at := piece.counter) is None:
        return None
    if data.startswith(b"VBRI", at):
        return int.from_bytes(data[at + 14 : at + 18], "big")
    return int.from_bytes(data[at + 8 : at + 12], "big") if data[at + 7] & COUNTED else None


def _length_stated(data: bytes, piece: Piece) -> int:
    """The number of bytes that a piece states; 0 where it states none."""
    at = piece.counter
    if at is None or data.startswith(b"VBRI", at) or data[at + 7] & (COUNTED | MEASURED) != COUNTED | MEASURED:
        return 0
    return int.from_bytes(data[at + 12 : at + 16], "big")


def _mended(data: bytes, piece: Piece) -> bytes:
    """A piece that states the number of its frames."""
    number, at, sound = piece.frames.to_bytes(4, "big"), piece.counter, data[piece.sound : piece.end]
    if at is not None and _stated(data, piece) is not None and not data.startswith(b"VBRI", at):
        # The rest of the counter's frame tells how many samples are the encoder's own.
        return data[piece.begin : at + 8] + number + data[at + 12 : piece.sound] + sound
    # A frame of the same kind, without a checksum, and of a bit rate that leaves room.
    header = bytes([0xFF, sound[1] | 1, 9 << 4 | sound[2] & 0x0C, sound[3]])
    one, mono = sound[1] >> 3 & 3 == 3, sound[3] >> 6 == 3
    before = header.ljust(4 + ((17 if mono else 32) if one else (9 if mono else 17)), b"\0")
    return (before + b"Xing" + COUNTED.to_bytes(4, "big") + number).ljust(_length(header) or 0, b"\0") + sound
