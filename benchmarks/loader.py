"""How long a step waits for data, and how much of what it computes is padding.

The claims: waiting takes at most 2 % of a step's time, and padding at most 5 % of frames at 24 clips a batch.
The peers: no waiting, and no padding.
The floor: 0 % for both; 24 clips of unequal length must be padded to the longest of them.
The note has what a step saves where its batch lies in memory already: on a CPU, loading takes part of the cores too.
"""

from collections.abc import Iterator
from itertools import islice

import numpy as np

from benchmarks.material import SMALL, XLSR_LARGE, Material, Size, lengths, scratch
from benchmarks.ratios import Claim, Measurement, alternate, device
from trainables.batch import Batch
from trainables.corpora.batching import ByCount, global_batches

WAITING = Claim("step time that waits for data", "none", "0 %", target=2, better="at most", unit="%")
PADDING = Claim(
    "padding among frames, 24 clips a batch", "none", "0 %: clips as long as each other", target=5, better="at most",
    unit="%",
)  # fmt: skip
WEIGHT = 0.5
CORPUS = 24_000
"""Clips of the epoch whose padding is counted."""


SIZES = {"cuda": Size(XLSR_LARGE, 480, 24, 20), "cpu": Size(SMALL, 96, 8, 12)}


def measure(repeats: int, size: Size | None = None) -> list[Measurement]:
    """Measure on the device at hand."""
    size = size or SIZES[device().type]
    padding = tuple(100 * padded(CORPUS, seed) for seed in range(repeats))
    waited, saved = waiting(repeats, size)
    note = f"{size}; percent saved with batches in memory: {', '.join(f'{value:.1f}' for value in saved)}"
    return [
        Measurement(WAITING, waited, note),
        Measurement(PADDING, padding, f"an epoch of {CORPUS} clips, a seed each"),
    ]


def waiting(repeats: int, size: Size) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Percent of its time that `fit` waits, and percent that it saves where nothing is left to load.

    The latter is below 0 where chance has it so: both take nearly the same.
    """
    waited: list[float] = []
    with scratch() as folder:
        material = Material.of(folder, size.shape, clips=size.clips, batch=size.batch, steps=size.steps)
        task, loaded = material.task(WEIGHT), material.batches(WEIGHT, 0, material.world())
        steps = list(islice(loaded(0), size.steps))

        def in_memory(step: int) -> Iterator[list[Batch]]:
            return iter(steps[step:])

        def from_disk() -> float:
            reported = material.reported(task, loaded)
            waited.append(reported["waiting_for_data_percent"])
            return reported["audio_seconds_per_second"]

        rates = alternate({"loader": from_disk, "memory": lambda: material.throughput(task, in_memory)}, repeats)
    saved = tuple(100 * (1 - a / b) for a, b in zip(rates["loader"], rates["memory"], strict=True))
    return tuple(waited[-repeats:]), saved  # the first was the warm-up's


def padded(clips: int, seed: int) -> float:
    """The share of an epoch's samples that are padding."""
    seconds, batching = lengths(clips, seed), ByCount(utterances=24)
    batches = islice(global_batches(seconds, batching, seed), -(-clips // batching.utterances))
    return 1 - seconds.sum() / sum(float(len(batch) * np.max(seconds[batch])) for batch in batches)
