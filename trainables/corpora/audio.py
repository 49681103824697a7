"""Any sound file to 16 kHz mono.

Decoding goes through libsndfile (WAV, FLAC, OGG, MP3): torchaudio and datasets decode with FFmpeg, which
is not everywhere.
"""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from trainables.corpora.containers import Truncated, check, streams

SAMPLE_RATE = 16_000
SILENCE = 1e-4
"""Peak amplitude under which a clip holds nothing: -80 dB."""
UNREAD = {b"ftyp": "MPEG-4", b"\x1a\x45\xdf\xa3": "WebM or Matroska", b"0&\xb2u": "Windows Media"}
"""Formats that people record in and libsndfile does not read, by four bytes of their beginnings."""
BLOCK = 1 << 22
"""Samples that are decoded at once."""
UNKNOWN = 1 << 62
"""Samples that libsndfile states from here on are none that anybody counted."""


UNRECOGNISED = 1
"""libsndfile's number for a format that it does not know."""


class UnusableAudio(ValueError):
    """A clip that cannot be used: `reason` in words that can be counted, `detail` with the figures."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


def decode(audio: Path | bytes, *, longest: float) -> NDArray[np.int16]:
    """The samples of a sound file, or of the bytes of one, at 16 kHz, channels averaged; joined files in a row.

    Raises UnusableAudio, and nothing else, when it is missing, empty, damaged, silent, or longer than `longest`
    seconds, which is seen before more than that is decoded.
    """
    name = audio.name if isinstance(audio, Path) else "the clip"
    try:
        if isinstance(audio, Path) and not os.path.isfile(audio):  # False too for a name that no file can have
            raise UnusableAudio("missing clip", name)
        if not (audio.stat().st_size if isinstance(audio, Path) else audio):
            raise UnusableAudio("empty clip", f"{name} has 0 bytes")
        with audio.open("rb") if isinstance(audio, Path) else io.BytesIO(audio) as file:
            return _decode(file, name, longest)
    except UnusableAudio:
        raise
    except Truncated as error:
        raise UnusableAudio("truncated clip", f"{name}: {error}") from error
    # One clip of a million must not end what goes through them all, whatever a library makes of its bytes.
    except Exception as error:
        raise UnusableAudio("undecodable clip", f"{name}: {_why(error)}") from error


def _decode(file: BinaryIO, name: str, longest: float) -> NDArray[np.int16]:
    pieces: list[NDArray[np.float32]] = []
    seconds, loudest, peak = 0.0, 0.0, 0.0
    for source in _sources(file):
        with _opened(source, file, name) as sound:
            samples, rate = _samples(sound, file, longest, seconds), sound.samplerate
        if not len(samples):
            continue
        if not np.isfinite(samples).all():
            raise UnusableAudio("undecodable clip", f"{name} holds samples that are not numbers")
        seconds += len(samples) / rate
        mono = samples.mean(axis=1)
        peak = max(peak, float(np.abs(mono).max(initial=0)))
        loudest = peak if peak >= SILENCE else max(loudest, float(np.abs(samples).max(initial=0)))
        pieces.append(mono if rate == SAMPLE_RATE else soxr.resample(mono, rate, SAMPLE_RATE))
    if not seconds:
        raise UnusableAudio("empty clip", f"{name} has no samples")
    if loudest < SILENCE:
        raise UnusableAudio("silent clip", f"peak {loudest:.1e}, must be at least {SILENCE:.0e}")
    if peak < SILENCE:
        raise UnusableAudio("channels of opposite phase", f"peak {loudest:.1e}, but of their mean {peak:.1e}")
    return np.clip(np.rint(np.concatenate(pieces) * 32767), -32768, 32767).astype(np.int16)


def _sources(file: BinaryIO) -> list[BinaryIO | int]:
    """The streams of a file, each as what libsndfile opens: a whole file by its descriptor, which is the quickest.

    Never by its name: one that ends in .raw is taken for samples without a header, whatever is in it.
    """
    if found := streams(file):
        return [io.BytesIO(stream) for stream in found]
    if isinstance(file, io.BytesIO):
        file.seek(0)
        return [file]
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    return [file.fileno()]


def _opened(source: BinaryIO | int, file: BinaryIO, name: str) -> soundfile.SoundFile:
    try:
        return soundfile.SoundFile(source, closefd=False)
    except soundfile.SoundFileError as error:
        file.seek(0)
        head = file.read(12)
        if kind := UNREAD.get(head[4:8], UNREAD.get(head[:4])):
            must = "but must be WAV, FLAC, OGG or MP3"
            raise UnusableAudio("undecodable clip", f"{name} is {kind}, {must}") from error
        raise


def _samples(sound: soundfile.SoundFile, file: BinaryIO, longest: float, before: float) -> NDArray[np.float32]:
    """The samples of a stream, (samples, channels); `before` are the seconds of the streams before it.

    Raises UnusableAudio when that is too long, or less than there should be.
    """
    rate, room = sound.samplerate, longest - before
    stated = sound.frames if sound.frames < UNKNOWN else None
    if stated is not None and stated > room * rate:
        seconds = before + stated / rate
        raise UnusableAudio("long clip", f"{seconds:.1f} s, must be at most {longest:g} s")
    blocks, total = [], 0
    try:
        for block in _blocks(sound):
            blocks.append(block)
            total += len(block)
            if total > room * rate:
                raise UnusableAudio("long clip", f"more than {longest:g} s")
    except soundfile.SoundFileError:
        check(file)
        raise
    # The structure of MP3 and OGG was read, and is right where the stated length is not.
    if stated is not None and total < stated and sound.format not in ("MP3", "OGG"):
        raise UnusableAudio("truncated clip", f"{total} of {stated} samples")
    return np.concatenate(blocks) if total else np.zeros((0, sound.channels), np.float32)


def _blocks(sound: soundfile.SoundFile) -> Iterator[NDArray[np.float32]]:
    """The samples of a stream, (samples, channels), until no more come: some streams do not know how many."""
    size = max(1, BLOCK // sound.channels)
    while len(block := np.asarray(sound.read(size, dtype="float32", always_2d=True), np.float32)):
        yield block


def _why(error: Exception) -> str:
    """Why libsndfile, or what came after it, could not go on."""
    if isinstance(error, soundfile.LibsndfileError):
        # libsndfile says that a file does not exist which its MP3 decoder cannot make out.
        unknown = error.code == UNRECOGNISED or "does not exist" in error.error_string
        return "not a sound file" if unknown else error.error_string
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
