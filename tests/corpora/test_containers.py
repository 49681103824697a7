"""Containers that state no length or a wrong one, and files that were joined: what decodes counts."""

import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.corpora.audio import SAMPLE_RATE, UnusableAudio, decode


def speech(seconds, *, rate=SAMPLE_RATE, seed=0):
    """Noise that comes and goes: what variable bit rates differ over."""
    random, time = np.random.default_rng(seed), np.arange(int(seconds * rate)) / rate
    return (0.2 * random.normal(size=len(time)) * (np.sin(5 * time) > 0)).astype(np.float32)


@pytest.fixture
def made(tmp_path):
    """The bytes of a sound file with `seconds` of sound."""

    def made(extension, seconds=2.0, *, rate=SAMPLE_RATE, seed=0, **options):
        path = tmp_path / f"made.{extension}"
        soundfile.write(path, speech(seconds, rate=rate, seed=seed), rate, **options)
        return path.read_bytes()

    return made


@pytest.fixture
def read(tmp_path):
    """The samples that these bytes decode to."""

    def read(content, name="clip"):
        (tmp_path / name).write_bytes(content)
        return decode(tmp_path / name, longest=100)

    return read


def counter(content):
    """Position of what an MP3 states, and of its first frame with sound."""
    at = max(content.find(b"Xing"), content.find(b"Info"))
    return at, content.index(content[:2], at)


def with_total(flac, total):
    """A FLAC that states another number of samples."""
    fields = int.from_bytes(flac[18:26], "big")
    return flac[:18] + (fields >> 36 << 36 | total).to_bytes(8, "big") + flac[26:]


def with_lengths(wav, *, riff=None, data=None):
    """A WAV that states other lengths."""
    content, at = bytearray(wav), wav.index(b"data") + 4
    if riff is not None:
        content[4:8] = struct.pack("<I", riff)
    if data is not None:
        content[at : at + 4] = struct.pack("<I", data)
    return bytes(content)


@pytest.mark.parametrize("total", [0, 1, 4096, 16_000, 40_000, 2**36 - 1])
def test_flac_that_states_another_number_of_samples(total, made, read):
    flac = made("flac")
    assert np.array_equal(read(with_total(flac, total)), read(flac))


@pytest.mark.parametrize("lengths", [
    {"riff": 0, "data": 0}, {"riff": 0xFFFFFFFF, "data": 0xFFFFFFFF}, {"riff": 36, "data": 0}, {"data": 0},
    {"riff": 0x7FFFFFFF, "data": 0x7FFFF000}, {"riff": 0, "data": 0x80000000}, {"riff": 0}, {"data": 20_000},
    {"data": 200_000}, {"riff": 20_036, "data": 20_000}, {"riff": 0xFFFFFFFF},
])  # fmt: skip
def test_wav_that_states_other_lengths(lengths, made, read):
    wav = made("wav")
    assert np.array_equal(read(with_lengths(wav, **lengths)), read(wav))


def test_wav_of_64_bits_that_does_not_know_its_length(made, read):
    content = bytearray(made("wav", format="RF64", subtype="PCM_16"))
    whole = read(bytes(content))
    at = content.index(b"ds64") + 8
    content[at : at + 16] = b"\xff" * 16
    assert np.array_equal(read(bytes(content)), whole)


def test_what_follows_the_samples_of_a_wav_is_not_heard(made, read):
    wav = made("wav")
    note = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"a writer, 1.0\0"
    assert len(read(with_lengths(wav, riff=len(wav) + len(note) - 8) + note)) == len(read(wav))
    assert len(read(with_lengths(wav, riff=0) + note[:-4])) == len(read(wav))


def test_a_wav_without_samples_before_a_note_is_empty(made, tmp_path):
    wav = with_lengths(made("wav")[:44], data=0) + b"LIST" + struct.pack("<I", 4) + b"INFO"
    (tmp_path / "clip").write_bytes(wav)
    with pytest.raises(UnusableAudio, match="empty clip"):
        decode(tmp_path / "clip", longest=10)


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("frames", [0, 1, 10, 10_000])
def test_mp3_that_states_another_number_of_frames(frames, mode, made, read):
    mp3 = made("mp3", bitrate_mode=mode)
    at, _ = counter(mp3)
    assert np.array_equal(read(mp3[: at + 8] + frames.to_bytes(4, "big") + mp3[at + 12 :]), read(mp3))


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_mp3_that_states_nothing(rate, mode, made, read):
    mp3 = made("mp3", rate=rate, bitrate_mode=mode)
    _, sound = counter(mp3)
    bare = read(mp3[sound:])
    # Nothing tells how many of the samples are the encoder's own, at the beginning and at the end.
    assert len(read(mp3)) <= len(bare) <= len(read(mp3)) + 3 * 1152 * SAMPLE_RATE / rate


@pytest.mark.parametrize("tags", [False, True])
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_joined_mp3(mode, tags, made, read):
    pieces = [made("mp3", seconds, seed=i, bitrate_mode=mode) for i, seconds in enumerate((1.0, 2.5, 0.5))]
    before = b"ID3\4\0\0" + bytes([0, 0, 0, 20]) + b"\xff\xfb\x90\0" * 5 if tags else b""
    after = b"TAG" + bytes(125) if tags else b""
    joined = read(b"".join(before + piece + after for piece in pieces))
    assert np.array_equal(joined, np.concatenate([read(piece) for piece in pieces]))


@pytest.mark.parametrize(("extension", "options"), [
    ("wav", {}), ("wav", {"subtype": "FLOAT"}), ("flac", {}), ("ogg", {}), ("ogg", {"subtype": "OPUS"}),
])  # fmt: skip
def test_joined_files(extension, options, made, read):
    pieces = [made(extension, seconds, seed=i, **options) for i, seconds in enumerate((1.0, 2.5, 0.5))]
    assert np.array_equal(read(b"".join(pieces)), np.concatenate([read(piece) for piece in pieces]))


def test_joined_files_of_several_rates(made, read):
    for extension in ("mp3", "wav", "flac", "ogg"):
        pieces = [made(extension, rate=rate) for rate in (16_000, 48_000, 22_050)]
        assert np.array_equal(read(b"".join(pieces)), np.concatenate([read(piece) for piece in pieces])), extension


def test_joined_files_are_as_long_as_all_of_them(made, tmp_path):
    (tmp_path / "clip").write_bytes(2 * made("flac", 2))
    assert len(decode(tmp_path / "clip", longest=4)) == 4 * SAMPLE_RATE
    with pytest.raises(UnusableAudio, match=r"long clip: 4\.0 s, must be at most 3\.9 s"):
        decode(tmp_path / "clip", longest=3.9)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.77, 0.999])
@pytest.mark.parametrize(("extension", "options"), [
    ("wav", {}), ("flac", {}), ("ogg", {}), ("ogg", {"subtype": "OPUS"}), ("mp3", {}),
    ("mp3", {"bitrate_mode": "VARIABLE"}),
])  # fmt: skip
def test_a_file_that_was_cut_short_is_truncated(extension, options, share, made, tmp_path):
    content = made(extension, **options)
    cut = content[: int(share * len(content))]
    variants = [cut, content + cut]
    if extension == "flac":
        variants.append(with_total(cut, 0))
    if extension == "mp3" and options:
        variants.append(cut[counter(cut)[1] : -7])  # of one cut between two frames, nothing tells
    for variant in variants:
        (tmp_path / "clip").write_bytes(variant)
        with pytest.raises(UnusableAudio, match="truncated clip"):
            decode(tmp_path / "clip", longest=100)


def test_a_tag_after_the_last_frame_is_no_damage(made, read):
    for extension in ("mp3", "flac"):
        content = made(extension)
        assert np.array_equal(read(content + b"TAG" + bytes(125)), read(content)), extension
        zero = with_total(content, 0) if extension == "flac" else content
        assert np.array_equal(read(zero + b"TAG" + bytes(125)), read(content)), extension


@settings(max_examples=150, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3"])
def test_damage_of_any_kind_raises_nothing_else(extension, data, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp()
    original = folder / f"original.{extension}"
    if not original.exists():
        soundfile.write(original, speech(0.5), SAMPLE_RATE)
    content = bytearray(original.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, min(len(content) - 1, 200) if data.draw(st.booleans()) else len(content) - 1))
        piece = data.draw(st.binary(max_size=12))
        content[at : at + data.draw(st.integers(0, 12))] = piece
    (folder / "damaged").write_bytes(content)
    try:
        samples = decode(folder / "damaged", longest=100)
    except UnusableAudio:
        return
    assert 0 < len(samples) <= 100 * SAMPLE_RATE + 1
