import struct

import numpy as np
import pytest

from trainables.miniature.e5_file import E5File, dequantise
from trainables.miniature.e5_weights import tokenizer

PIECES = ("<s>", "<pad>", "</s>", "<unk>", "▁ko", "hout", "▁")


def block(scale, weights):
    low, high = np.array(weights[:16]) + 8, np.array(weights[16:]) + 8
    return np.float16(scale).tobytes() + (low | high << 4).astype(np.uint8).tobytes()


def write_e5(path, width=32, vocabulary=9):
    """One quantised 2 x 32 matrix and one full vector, after the header and a vocabulary."""
    weights = np.arange(64) % 16 - 8
    data = block(0.5, weights[:32]) + block(2.0, weights[32:]) + np.array([1.5, -2.5], np.float32).tobytes()
    text = "".join(PIECES).encode()
    ends = np.cumsum([0, *(len(piece.encode()) for piece in PIECES)]).astype(np.uint32)
    head = b"E5S1" + struct.pack("<i", 1)
    head += struct.pack("<7if", width, 1, 1, 64, vocabulary, 16, 2, 1e-12)
    head += struct.pack("<i5iQ", 32, len(PIECES), 0, 2, 1, 3, len(text))
    head += ends.tobytes() + np.array([0, 0, 0, 0, -1, -2, -3], np.float32).tobytes() + text
    head += struct.pack("<iI", 1, 3) + b"abc"

    def table(start):
        rows = (("m", 1, 64, start, 36), ("v", 0, 2, start + 36, 8))
        packed = (struct.pack("<H", 1) + row[0].encode() + struct.pack("<BIQQ", *row[1:]) for row in rows)
        return struct.pack("<i", 2) + b"".join(packed)

    start = len(head) + len(table(0))
    path.write_bytes(head + table(start) + data)
    return weights.astype(np.float32) * np.repeat(np.array([0.5, 2.0], np.float32), 32)


def test_dequantise_one_block_by_hand():
    packed = np.zeros(18, np.uint8)
    packed[:2] = np.frombuffer(np.float16(0.25).tobytes(), np.uint8)
    packed[2] = 0xF1  # first weight 1 - 8, seventeenth 15 - 8
    weights = dequantise(packed)
    assert weights.dtype == np.float32
    assert weights.shape == (32,)
    assert (weights[0], weights[16], weights[1]) == (-7 * 0.25, 7 * 0.25, -8 * 0.25)


def test_read_a_file(tmp_path):
    expected = write_e5(tmp_path / "model.bin")
    file = E5File(tmp_path / "model.bin")
    assert (file.header.width, file.header.vocabulary, file.header.unk) == (32, 9, 3)
    assert tuple(file.pieces) == PIECES
    np.testing.assert_array_equal(file.quantised("m", 2, 32), expected.reshape(2, 32))
    np.testing.assert_array_equal(file.full("v"), np.array([1.5, -2.5], np.float32))


def test_another_file_is_refused(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"GGUF" * 20)
    with pytest.raises(ValueError, match="must start with E5S1"):
        E5File(tmp_path / "model.bin")


def test_tokenizer_frames_a_sentence_and_pads_with_its_own_ids(tmp_path):
    write_e5(tmp_path / "model.bin")
    tokens = tokenizer(E5File(tmp_path / "model.bin"))
    assert tokens("kohout")["input_ids"] == [0, 4, 5, 2]
    assert (tokens.pad_token_id, tokens.unk_token_id, tokens.mask_token_id) == (1, 3, 8)
    assert tokens.decode([0, 4, 5, 2], skip_special_tokens=True) == "kohout"
