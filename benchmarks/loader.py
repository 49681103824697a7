"""How long a step waits for data, and how much of what it computes is padding.

The claims: waiting takes at most 2 % of a step's time, and padding at most 5 % of frames at 24 clips a batch.
The peers: the same steps on batches that lie in memory already; and no padding.
The floor: 0 % for both; 24 clips of unequal length must be padded to the longest of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from benchmarks.material import SMALL, XLSR_LARGE, Material, Shape, lengths, scratch
from benchmarks.ratios import Claim, Measurement, alternate, device
from trainables.batch import Batch
from trainables.corpora.batching import ByCount, plan

WAITING = Claim("step time that waits for data", "batches in memory", "0 %", target=2, better="at most", unit="%")
PADDING = Claim(
    "padding among frames, 24 clips a batch", "none", "0 %: clips as long as each other", target=5, better="at most",
    unit="%",
)  # fmt: skip
WEIGHT = 0.5


@dataclass(frozen=True)
class Size:
    """Of a repeat, and of the corpus whose padding is counted."""

    shape: Shape
    clips: int
    batch: int
    steps: int
    corpus: int = 24_000


SIZES = {"cuda": Size(XLSR_LARGE, 480, 24, 20), "cpu": Size(SMALL, 96, 8, 12)}


def measure(repeats: int, size: Size | None = None) -> list[Measurement]:
    """On the device at hand."""
    size = size or SIZES[device().type]
    padding = tuple(100 * padded(size.corpus, seed) for seed in range(repeats))
    return [
        Measurement(WAITING, waiting(repeats, size), str(size)),
        Measurement(PADDING, padding, f"an epoch of {size.corpus} clips, a seed each"),
    ]


def waiting(repeats: int, size: Size) -> tuple[float, ...]:
    """Percent of `fit`'s time that it saves where nothing is left to load. Below 0 where both take the same."""
    with scratch() as folder:
        material = Material.of(folder, size.shape, clips=size.clips, batch=size.batch, steps=size.steps)
        task, loaded = material.task(WEIGHT), material.batches(WEIGHT, 0, material.world())
        steps = list(islice(loaded(0), size.steps))

        def in_memory(step: int) -> Iterator[list[Batch]]:
            return iter(steps[step:])

        arms = {
            "loader": lambda: material.throughput(task, loaded),
            "memory": lambda: material.throughput(task, in_memory),
        }
        rates = alternate(arms, repeats)
    return tuple(100 * (1 - a / b) for a, b in zip(rates["loader"], rates["memory"], strict=True))


def padded(clips: int, seed: int) -> float:
    """Share of an epoch's samples that are padding."""
    seconds, batching = lengths(clips, seed), ByCount(utterances=24)
    batches = islice(plan(seconds, batching, seed), -(-clips // batching.utterances))
    return 1 - seconds.sum() / sum(float(len(batch) * np.max(seconds[batch])) for batch in batches)
