"""How sure a table's figures are: intervals, paired comparisons and what several of them are worth together.

Whole blocks of utterances are drawn with replacement, because what one speaker says is not independent: Bisani and
Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation" (ICASSP 2004). An interval's ends are
the expanded percentiles of Hesterberg, "What Teachers Should Know About the Bootstrap" (The American Statistician 69,
2015): plain percentiles are too narrow where blocks are few.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

REPLICATIONS = 10_000
AT_ONCE = 1 << 15
"""Draws of a block that are in memory at once: so few stay in a core's cache, and BLAS starts no threads for them."""


@dataclass(frozen=True)
class Counts:
    """Errors of one cell of a table, per utterance, in a fixed order of utterances."""

    errors: NDArray[np.int64]
    """Substitutions, deletions and insertions, (utterances,)."""
    lengths: NDArray[np.int64]
    """Lengths of the references, (utterances,)."""
    blocks: NDArray[np.int64]
    """Which block each utterance belongs to, (utterances,): each of 0 … k-1 at least once."""
    unit: Literal["speaker", "utterance"]
    """The kind of the blocks."""

    def __post_init__(self) -> None:
        sizes = {name: getattr(self, name).shape for name in ("errors", "lengths", "blocks")}
        if len(set(sizes.values())) > 1 or not self.errors.size:
            raise ValueError(f"`errors`, `lengths` and `blocks` must have a value per utterance, but have {sizes}.")

    @property
    def rate(self) -> float:
        """Percent: summed errors over summed lengths."""
        return float(_percent(self.errors.sum(), self.lengths.sum()))

    @classmethod
    def pooled(cls, several: Sequence["Counts"]) -> "Counts":
        """The counts of several seeds over the same utterances, errors and lengths added.

        Raises ValueError when the utterances or their blocks differ.
        """
        for counts in several[1:]:
            _check_paired(counts, several[0])
        errors, lengths = (sum(getattr(c, name) for c in several[1:]) for name in ("errors", "lengths"))
        first = several[0]
        return cls(first.errors + errors, first.lengths + lengths, first.blocks, first.unit)

    def per_block(self, values: NDArray[np.int64]) -> NDArray[np.float64]:
        """The sum of `values`, (utterances,), over the utterances of each block, (blocks,). Exact."""
        return np.bincount(self.blocks, weights=values).astype(np.float64)


class Interval(NamedTuple):
    """95 %, in percent."""

    low: float
    high: float


class Comparison(NamedTuple):
    """A cell against the baseline of its row."""

    difference: float
    """In points; below zero is better than the baseline."""
    interval: Interval | None
    """The interval of the difference; None from one block."""
    improvement: float
    """Share of the replications in which the cell is better than the baseline; ties count half."""
    p: float
    """Two-sided, of a sign-flip permutation test over the blocks."""


class Assessment(NamedTuple):
    """The statistics of a cell."""

    interval: Interval | None
    """The interval of the rate; None from one block."""
    comparison: Comparison | None


class OverSeeds(NamedTuple):
    """A column against the baseline over rows and seeds."""

    mean: float
    """Mean of the differences, in points."""
    deviation: float
    """Standard deviation of the differences, in points."""
    p: float
    """Two-sided, of a sign-flip permutation test over the differences."""
    pairs: int
    """How many differences there are."""


def interval(counts: Counts, *, replications: int = REPLICATIONS, seed: int = 0) -> Interval | None:
    """The interval of a rate, by expanded percentiles over resampled blocks; None from one block, which says nothing.

    From two to five blocks it is nearly the range of what can be drawn: no percentile is wide enough.
    """
    return assess([counts], replications=replications, seed=seed)[0].interval


def compare(counts: Counts, baseline: Counts, *, replications: int = REPLICATIONS, seed: int = 0) -> Comparison:
    """The paired difference, `counts` minus `baseline`, over the same resampled blocks.

    Raises ValueError when they are not over the same utterances.
    """
    comparison = assess([counts], baseline, replications=replications, seed=seed)[0].comparison
    assert comparison is not None
    return comparison


def assess(
    cells: Sequence[Counts], baseline: Counts | None = None, *, replications: int = REPLICATIONS, seed: int = 0
) -> list[Assessment]:
    """`interval` and `compare` of several cells over the same utterances: the same draws of blocks serve them all.

    The p-value comes from flipping the signs of the blocks' differences, not from the bootstrap. If the two systems
    are alike, swapping what they made of a block changes nothing, so that the test is exact for any number of blocks;
    the bootstrap's distribution is too narrow when blocks are few.

    Raises ValueError when the cells are not over the same utterances.
    """
    everything = [*cells, *([baseline] if baseline else [])]
    for counts in everything[1:]:
        _check_paired(counts, everything[0])
    errors = np.stack([c.per_block(c.errors) for c in everything], axis=1)  # (blocks, cells)
    lengths = everything[0].per_block(everything[0].lengths)
    drawn = _resampled(np.column_stack([errors, lengths]), replications, seed)
    # Lengths are proportional: cells may pool unequal numbers of seeds.
    shares = np.array([c.lengths.sum() for c in everything]) / max(1, everything[0].lengths.sum())
    rates = _percent(drawn[:, :-1], drawn[:, -1:] * shares)
    intervals = _intervals(rates, blocks=len(errors))
    if baseline is None:
        return [Assessment(found, None) for found in intervals]
    differences = np.stack([_differences(c, baseline) for c in cells], axis=1)  # (blocks, cells)
    values = _flipped(differences, replications, seed)
    apart = rates[:, :-1] - rates[:, -1:]
    ends, improved = _intervals(apart, blocks=len(errors)), np.mean(apart < 0, axis=0) + np.mean(apart == 0, axis=0) / 2
    return [
        Assessment(intervals[i], Comparison(cell.rate - baseline.rate, ends[i], float(improved[i]), float(values[i])))
        for i, cell in enumerate(cells)
    ]


def holm(p: Sequence[float]) -> list[float]:
    """The p-values adjusted by Holm's step-down method, in the order given: the chance of any false finding is kept."""
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = largest
    return adjusted


def over_seeds(differences: Sequence[float]) -> OverSeeds:
    """A paired test over differences in points, one per row and seed; exact up to 13 of them.

    Raises ValueError for fewer than two.
    """
    if len(differences) < 2:
        raise ValueError(f"`differences` must be at least 2, but are {len(differences)} instead.")
    values = np.asarray(differences, dtype=np.float64)
    (p,) = _flipped(values[:, None], REPLICATIONS, 0)
    return OverSeeds(float(values.mean()), float(values.std(ddof=1)), float(p), len(values))


def _intervals(drawn: NDArray[np.float64], blocks: int) -> Sequence[Interval | None]:
    """Expanded percentiles, (replications, n) -> n: as wide as Student's interval of a mean where draws are normal.

    The variance of a mean over resampled blocks is (blocks - 1)/blocks of what it should be, and it was estimated.
    """
    if blocks == 1:
        return [None] * drawn.shape[1]
    tail = 100 * ndtr(-math.sqrt(blocks / (blocks - 1)) * stdtrit(blocks - 1, 0.975))
    return [Interval(*map(float, ends)) for ends in np.percentile(drawn, (tail, 100 - tail), axis=0).T]


def _check_paired(counts: Counts, other: Counts) -> None:
    totals = counts.lengths.sum(), other.lengths.sum()
    if not (
        counts.unit == other.unit
        and np.array_equal(counts.blocks, other.blocks)
        and np.array_equal(counts.lengths * totals[1], other.lengths * totals[0])
    ):
        raise ValueError(
            "Cells that are compared or pooled must be over the same utterances, but are over "
            f"{len(counts.errors)} and {len(other.errors)}, {totals[0]} and {totals[1]} long, or of other blocks."
        )


def _differences(counts: Counts, baseline: Counts) -> NDArray[np.float64]:
    """Errors more than the baseline's, per block, on a common scale of whole numbers: their sums are exact."""
    totals = int(counts.lengths.sum()), int(baseline.lengths.sum())
    common = math.gcd(*totals) or 1
    mine, theirs = (max(1, total // common) for total in totals)
    return counts.per_block(counts.errors) * theirs - baseline.per_block(baseline.errors) * mine


def _percent(errors: NDArray[np.float64], lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    return 100 * errors / np.maximum(lengths, 1)


def _resampled(sums: NDArray[np.float64], replications: int, seed: int) -> NDArray[np.float64]:
    """Totals of as many blocks as there are, drawn with replacement: (blocks, n) -> (replications, n)."""
    blocks, random = len(sums), np.random.default_rng(seed)
    drawn = []
    for chunk in _chunks(replications, blocks):
        which = random.integers(blocks, size=(len(chunk), blocks), dtype=np.int32)
        which += blocks * np.arange(len(chunk), dtype=np.int32)[:, None]
        times = np.bincount(which.ravel(), minlength=which.size).reshape(which.shape)
        drawn.append(times.astype(np.float64) @ sums)
    return np.concatenate(drawn)


def _flipped(differences: NDArray[np.float64], replications: int, seed: int) -> NDArray[np.float64]:
    """P-values of sums that are so far from zero, (blocks, n) -> (n,): over all signs where they are few, or drawn."""
    blocks, random = len(differences), np.random.default_rng(seed)
    seen = differences.sum(axis=0)
    least = np.abs(seen) - 1e-9 * np.abs(differences).sum(axis=0)  # ties are ties after rounding, too
    exact = 2**blocks <= replications
    total, found = 2**blocks if exact else replications, np.zeros(len(seen))
    for chunk in _chunks(total, blocks):
        if exact:
            kept = np.array(chunk)[:, None] >> np.arange(blocks) & 1
        else:
            octets = random.integers(256, size=(len(chunk), -(-blocks // 8)), dtype=np.uint8)
            kept = np.unpackbits(octets, axis=1, count=blocks)
        # A sum under signs ±1 is twice that of what keeps its sign, less that of all.
        found += (np.abs(2 * (kept.astype(np.float64) @ differences) - seen) >= least).sum(axis=0)
    # What was seen is one of the draws, so that a p-value is never zero.
    return found / total if exact else (found + 1) / (total + 1)


def _chunks(rows: int, width: int) -> Iterator[range]:
    """The numbers of `rows` in parts, each of at most `AT_ONCE` values where a row has `width`."""
    most = max(1, AT_ONCE // width)
    for begin in range(0, rows, most):
        yield range(begin, min(begin + most, rows))
