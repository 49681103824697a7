"""FLAC (RFC 9639): a header that states the number of samples, then frames that are numbered."""

from trainables.corpora.containers.truncated import Truncated

MARK = b"fLaC"
STREAMINFO = (b"\x00\x00\x00\x22", b"\x80\x00\x00\x22")
"""How the header that follows the mark begins: its kind, whether it is the last one, and its length."""
SYNC = (b"\xff\xf8", b"\xff\xf9")
"""Beginning of a frame, in a stream whose frames have one size, and in one where they have several."""
ID3V1 = 128
"""Bytes of a tag that begins with TAG, at the very end."""


def begins(head: bytes) -> bool:
    """Whether a file with these first 12 bytes is a FLAC."""
    return head[:4] == MARK and head[4:8] in STREAMINFO


def streams(data: bytes) -> list[bytes]:
    """The streams of a file, each as a file whose stated length is right; none where the file is right as it is.

    Raises Truncated when another number of samples is stated than there is, and the last frame is not whole.
    """
    if data[-ID3V1:][:3] == b"TAG":
        data = data[:-ID3V1]
    starts = [i for i in _found(data, MARK) if data[i + 4 : i + 8] in STREAMINFO]
    pieces = [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]
    mended = [_mended(piece) for piece in pieces]
    return [] if len(pieces) == 1 and mended == pieces else mended


def check(data: bytes) -> None:
    """Raises Truncated when the last frame is not whole: of two whole ones, the second may begin with any bytes."""
    found = _last_frame(data)
    if found is not None and not _whole(data[found[0] :]):
        raise Truncated(f"the last frame, from sample {found[1]} on, is not whole")


def _mended(piece: bytes) -> bytes:
    stated = int.from_bytes(piece[21:26], "big") & 0xFFFFFFFFF  # 36 bits
    found = _last_frame(piece)
    if found is None or stated == found[2]:
        return piece
    check(piece)
    total = (int.from_bytes(piece[21:26], "big") & ~0xFFFFFFFFF) | found[2]
    return piece[:21] + total.to_bytes(5, "big") + piece[26:]


def _found(data: bytes, what: bytes) -> list[int]:
    """All positions of some bytes."""
    found, position = [], data.find(what)
    while position >= 0:
        found.append(position)
        position = data.find(what, position + 1)
    return found


def _last_frame(piece: bytes) -> tuple[int, int, int] | None:
    """Position of the last frame, its first sample, and the sample after its last; None where there is no frame."""
    size = int.from_bytes(piece[10:12], "big")  # samples of a frame, where all have as many
    position = len(piece)
    while (position := max(piece.rfind(sync, 0, position) for sync in SYNC)) >= 0:
        if (found := _header(piece[position : position + 16])) is not None:
            number, samples = found
            first = number if piece[position + 1] & 1 else number * size
            return position, first, first + samples
    return None


def _header(head: bytes) -> tuple[int, int] | None:
    """The number of the frame, or of its first sample, and its samples; None for what is no frame's header."""
    if len(head) < 6 or head[3] & 1:
        return None
    code, rate = head[2] >> 4, head[2] & 15
    width = next((n for n in range(8) if not head[4] & (0x80 >> n)), 8)  # of a number, as in UTF-8
    width, number = (1, head[4]) if width == 0 else (width, head[4] & (0x7F >> width))
    for byte in head[5 : 4 + width]:
        number = number << 6 | byte & 0x3F
    end = 4 + width
    match code:
        case 0:
            return None
        case 1:
            samples = 192
        case 6 | 7:
            samples = int.from_bytes(head[end : end + code - 5], "big") + 1
            end += code - 5
        case _:
            samples = 576 << (code - 2) if code < 6 else 256 << (code - 8)
    end += {12: 1, 13: 2, 14: 2}.get(rate, 0)
    return (number, samples) if end < len(head) and _crc(head[:end], 0x07, 8) == head[end] else None


def _whole(frame: bytes) -> bool:
    return _crc(frame[:-2], 0x8005, 16) == int.from_bytes(frame[-2:], "big")


def _crc(data: bytes, polynomial: int, bits: int) -> int:
    """Checksum of some bytes, from 0, the highest bit first."""
    top, mask, value = 1 << (bits - 1), (1 << bits) - 1, 0
    for byte in data:
        value ^= byte << (bits - 8)
        for _ in range(8):
            value = (value << 1 ^ polynomial) & mask if value & top else value << 1
    return value
