"""Hours of audio that a minute of one core decodes, resamples and writes.

The claim: at least 3 times what `datasets.map` does.
The peer: a function that reads a clip with soundfile, averages its channels and resamples it with soxr in high quality,
which is what `librosa.load` does, normalises it with transformers' feature extractor and returns float32 values, in
one process, as the usual scripts do.
The floor: decoding alone, and with resampling, both of which are the same libraries on both sides; the note says what
they take, and how many times quicker than the peer one would be that did nothing but decode.
"""

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import soundfile
import soxr
from datasets import Dataset
from transformers import Wav2Vec2FeatureExtractor

from benchmarks.material import environment, lengths, release, scratch
from benchmarks.ratios import Arm, Claim, Measurement, alternate, core_seconds, ratios
from trainables.batch import Utterance
from trainables.corpora.audio import SAMPLE_RATE
from trainables.corpora.common_voice import CommonVoice
from trainables.corpora.filters import RoomForCTC
from trainables.corpora.prepared import SplitPreparation
from trainables.corpora.text import Letters

CLAIM = Claim(
    "preparation, hours of audio per core-minute", "datasets.map, librosa-style decoding",
    "decoding alone", target=3, better="at least",
)  # fmt: skip


@dataclass(frozen=True)
class Size:
    """The number and the rate of MP3 clips; Common Voice's have 48 kHz."""

    clips: int = 160
    rate: int = 48_000


def measure(repeats: int, size: Size | None = None) -> list[Measurement]:
    """Measure the processor time of each way: more cores would make it no better."""
    size = size or Size()
    hours = lengths(size.clips).sum() / 3600
    with scratch() as folder:
        corpus, numbers = release(folder / "release", size.clips, suffix="mp3", rate=size.rate), count()
        rows = corpus.utterances("train")
        clips = [row.audio for row in rows if isinstance(row, Utterance) and isinstance(row.audio, Path)]
        arms: dict[str, Arm] = {
            "ours": core_seconds(lambda: ours(corpus, folder / f"ours-{next(numbers)}")),
            "datasets.map": core_seconds(lambda: usual(clips, folder / f"usual-{next(numbers)}")),
            "two maps": core_seconds(lambda: twice(clips, folder / f"twice-{next(numbers)}")),
            "decoding and resampling": core_seconds(lambda: [read(clip) for clip in clips]),
            "decoding": core_seconds(lambda: [samples(clip) for clip in clips]),
        }
        costs = alternate(arms, repeats)
        wall = _wall(lambda: ours(corpus, folder / "wall"))
    note = f"{size}; hours per core-minute: " + "; ".join(
        f"{name} {', '.join(f'{60 * hours / value:.2f}' for value in values)}" for name, values in costs.items()
    )
    floor = statistics.median(ratios(costs["datasets.map"], costs["decoding"]))
    note += f"; decoding alone would be {floor:.2f} × the peer"
    note += f"; ours on {os.cpu_count()} cores once: {wall:.1f} s, {60 * hours / wall:.2f} hours per minute"
    return [Measurement(CLAIM, ratios(costs["datasets.map"], costs["ours"]), note)]


def ours(corpus: CommonVoice, cache: Path) -> None:
    """Prepare the training split, in a cache of its own."""
    with environment(L2S_CACHE=str(cache)):
        SplitPreparation(
            corpus=corpus, split="train", normaliser=Letters(), longest=10, filters=(RoomForCTC(),)
        ).build()


def usual(clips: list[Path], cache: Path) -> None:
    """Prepare the same clips by `datasets.map`, as float32 values in a file under `cache`."""
    cache.mkdir()
    extractor = Wav2Vec2FeatureExtractor()

    def prepare(row: dict[str, Any]) -> dict[str, Any]:
        values = extractor(read(Path(row["path"])), sampling_rate=SAMPLE_RATE).input_values[0]
        return {"input_values": values, "input_length": len(values)}

    rows = Dataset.from_dict({"path": [str(clip) for clip in clips]})
    rows.map(prepare, remove_columns="path", cache_file_name=str(cache / "rows.arrow"))


def twice(clips: list[Path], cache: Path) -> None:
    """Prepare them as transformers' examples did when the paper was written: a map decodes, a second normalises."""
    cache.mkdir()
    extractor = Wav2Vec2FeatureExtractor()

    def prepare(row: dict[str, Any]) -> dict[str, Any]:
        return {"input_values": extractor(row["speech"], sampling_rate=SAMPLE_RATE).input_values[0]}

    rows = Dataset.from_dict({"path": [str(clip) for clip in clips]})
    decoded = rows.map(lambda row: {"speech": read(Path(row["path"]))}, cache_file_name=str(cache / "decoded.arrow"))
    decoded.map(prepare, remove_columns=["path", "speech"], cache_file_name=str(cache / "rows.arrow"))


def read(clip: Path) -> Any:
    """A clip's samples at 16 kHz, as `librosa.load` makes them at its defaults but for the rate."""
    decoded, rate = samples(clip)
    return soxr.resample(decoded.mean(axis=1), rate, SAMPLE_RATE, quality="HQ")


def samples(clip: Path) -> Any:
    """The samples of a file, (time, channels), and their rate."""
    return soundfile.read(clip, dtype="float32", always_2d=True)


def _wall(run: Callable[[], None]) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun
