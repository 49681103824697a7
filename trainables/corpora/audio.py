"""Any sound file to 16 kHz mono.

Decoding goes through libsndfile (WAV, FLAC, OGG, MP3): torchaudio and datasets decode with FFmpeg, which
is not everywhere.
"""

import re
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
SILENCE = 1e-4
"""Peak amplitude under which a clip holds nothing: -80 dB."""


class UnusableAudio(ValueError):
    """A clip that cannot be used: `reason` in words that can be counted, `detail` with the figures."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


def decode(path: Path, *, longest: float) -> NDArray[np.int16]:
    """The samples of a clip at 16 kHz, channels averaged.

    Raises UnusableAudio when it is missing, empty, damaged, silent, or longer than `longest` seconds,
    which is seen from the header before anything is decoded.
    """
    if not path.is_file():
        raise UnusableAudio("missing clip", path.name)
    if path.stat().st_size == 0:
        raise UnusableAudio("empty clip", f"{path.name} has 0 bytes")
    try:
        with soundfile.SoundFile(path) as file:
            if file.frames > longest * file.samplerate:
                seconds = file.frames / file.samplerate
                raise UnusableAudio("long clip", f"{seconds:.1f} s, must be at most {longest:g} s")
            _check_data_chunk(file.extra_info)
            samples, rate, expected = file.read(dtype="float32", always_2d=True), file.samplerate, file.frames
    except (soundfile.SoundFileError, OSError, MemoryError) as error:
        # Of a file that its MP3 decoder cannot make out, libsndfile says that it does not exist.
        why = "not a sound file" if "does not exist" in str(error) else str(error)
        raise UnusableAudio("undecodable clip", f"{path.name}: {why}") from error
    if len(samples) < expected:
        raise UnusableAudio("truncated clip", f"{len(samples)} of {expected} samples")
    if not len(samples):
        raise UnusableAudio("empty clip", f"{path.name} has no samples")
    if not np.isfinite(samples).all():
        raise UnusableAudio("undecodable clip", f"{path.name} holds samples that are not numbers")
    mono = samples.mean(axis=1)
    peak = float(np.abs(mono).max())
    if peak < SILENCE:
        raise UnusableAudio("silent clip", f"peak {peak:.1e}, must be at least {SILENCE:.0e}")
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE)
    return np.clip(np.rint(mono * 32767), -32768, 32767).astype(np.int16)


def _check_data_chunk(log: str) -> None:
    """Raises UnusableAudio for a WAV that ends early: libsndfile shortens it to what is there, and only logs."""
    if found := re.search(r"^data : (\d+) \(should be (\d+)\)", log, re.MULTILINE):
        declared, there = map(int, found.groups())
        # A WAV that was written to a pipe declares the largest size: its writer could not know better.
        if there < declared < 0x7FFFF000:
            raise UnusableAudio("truncated clip", f"{there} of {declared} bytes")
