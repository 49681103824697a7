import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from orchestrator.results.statistics import Counts, Interval, assess, compare, holm, interval, over_seeds


def counts(
    errors: Sequence[int] | np.ndarray, lengths: Sequence[int] | np.ndarray, blocks: Sequence[int] | np.ndarray = ()
) -> Counts:
    given = np.asarray(blocks) if len(blocks) else np.arange(len(errors))
    return Counts(np.asarray(errors), np.asarray(lengths), given, "speaker" if len(blocks) else "utterance")


@pytest.fixture
def systems() -> tuple[Counts, Counts]:
    """200 utterances of 25 speakers, of whom some are harder; the first system is a little better."""
    random = np.random.default_rng(7)
    speakers = np.sort(np.concatenate([np.arange(25), random.integers(25, size=175)]))
    lengths, hard = random.integers(10, 60, 200), random.beta(2, 18, 25)[speakers]
    better = hard * random.lognormal(-0.2, 0.2, 25)[speakers]
    first, second = (counts(random.binomial(lengths, p), lengths, speakers) for p in (better, hard))
    return first, second


def per_speaker(cell: Counts) -> tuple[np.ndarray, np.ndarray]:
    """Without `Counts.per_block`."""
    members = [cell.blocks == block for block in range(cell.blocks.max() + 1)]
    return np.array([cell.errors[m].sum() for m in members]), np.array([cell.lengths[m].sum() for m in members])


def expanded(blocks: int) -> float:
    """The level at which plain percentiles are Hesterberg's at 95 %."""
    deviations = math.sqrt(blocks / (blocks - 1)) * stats.t.ppf(0.975, blocks - 1)
    return float(stats.norm.cdf(deviations) - stats.norm.cdf(-deviations))


def normal(blocks: int) -> np.ndarray:
    """Errors that are the quantiles of a normal distribution."""
    return np.rint(1000 + 100 * stats.norm.ppf((np.arange(blocks) + 0.5) / blocks)).astype(int)


def width(cell: Counts) -> float:
    found = interval(cell)
    assert found is not None
    return found.high - found.low


def test_an_interval_is_scipys_bootstrap_of_the_blocks(systems: tuple[Counts, Counts]) -> None:
    cell = systems[1]
    assert expanded(25) == pytest.approx(0.9648, abs=1e-4), "visibly more than 95 %"
    reference = stats.bootstrap(
        per_speaker(cell), lambda e, n, axis: 100 * e.sum(axis) / n.sum(axis), paired=True, method="percentile",
        confidence_level=expanded(25), n_resamples=20_000, rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    near = 0.03 * (reference.high - reference.low)
    assert interval(cell) == pytest.approx((reference.low, reference.high), abs=near)
    assert interval(cell) != pytest.approx(interval(counts(cell.errors, cell.lengths)), abs=near)


@pytest.mark.parametrize("blocks", [8, 15, 40, 200])
def test_an_interval_is_students_where_blocks_are_normal(blocks: int) -> None:
    errors = normal(blocks)
    student = stats.ttest_1samp(errors / 100, 0).confidence_interval(0.95)
    near = 0.05 * (student.high - student.low)
    assert interval(counts(errors, [10_000] * blocks)) == pytest.approx((student.low, student.high), abs=near)
    none = counts(np.zeros(blocks, int), [10_000] * blocks)
    assert compare(counts(errors, none.lengths), none).interval == interval(counts(errors, none.lengths))


def test_fewer_blocks_give_wider_intervals() -> None:
    """Of equal standard errors, as they are estimated."""
    cells = [counts(normal(blocks), [10_000] * blocks) for blocks in (6, 12, 48)]
    relative = [width(cell) / stats.sem(cell.errors / 100) for cell in cells]
    assert relative == sorted(relative, reverse=True)
    assert relative[0] > 1.15 * relative[2]


def test_a_difference_is_scipys_bootstrap_and_permutation_test(systems: tuple[Counts, Counts]) -> None:
    found = compare(*systems)
    (better, lengths), (worse, _) = map(per_speaker, systems)
    reference = stats.bootstrap(
        (better - worse, lengths), lambda d, n, axis: 100 * d.sum(axis) / n.sum(axis), paired=True,
        method="percentile", confidence_level=expanded(25), n_resamples=20_000, rng=np.random.default_rng(1),
    )  # fmt: skip
    low, high = reference.confidence_interval
    assert found.interval == pytest.approx((low, high), abs=0.04 * (high - low))
    assert found.improvement == pytest.approx((reference.bootstrap_distribution < 0).mean(), abs=0.01)
    assert found.difference == pytest.approx(systems[0].rate - systems[1].rate)
    permuted = stats.permutation_test(
        (better - worse,), np.sum, permutation_type="samples", n_resamples=50_000, rng=np.random.default_rng(1)
    )
    assert found.p == pytest.approx(permuted.pvalue, abs=0.01)
    assert 0.01 < found.p < 0.2, "a fixture whose p-value says something"


def test_few_blocks_are_permuted_in_full() -> None:
    mine, theirs, lengths = [3, 1, 4, 1, 5, 9, 2], [4, 2, 4, 3, 4, 12, 3], [20, 10, 30, 10, 20, 40, 10]
    reference = stats.permutation_test((np.subtract(mine, theirs),), np.sum, permutation_type="samples")
    assert compare(counts(mine, lengths), counts(theirs, lengths)).p == pytest.approx(reference.pvalue)
    assert over_seeds([(a - b) / 10 for a, b in zip(mine, theirs, strict=True)]).p == pytest.approx(reference.pvalue)


def test_kaldis_bootstrap_agrees(systems: tuple[Counts, Counts]) -> None:
    """compute-wer-bootci: a mean and deviations over resampled utterances, and how often the errors are fewer."""
    better, worse = (counts(cell.errors, cell.lengths) for cell in systems)
    random, rates, improved = np.random.default_rng(3), [], 0
    for _ in range(4000):
        drawn = random.integers(len(better.errors), size=len(better.errors))
        rates.append(100 * better.errors[drawn].sum() / better.lengths[drawn].sum())
        improved += int((worse.errors[drawn] - better.errors[drawn]).sum() > 0)
    # Kaldi takes 1.96 deviations at 95 %.
    mean, half = float(np.mean(rates)), float(stats.norm.ppf((1 + expanded(200)) / 2) * np.std(rates))
    # It is symmetric; percentiles follow the distribution's slight skew.
    assert interval(better) == pytest.approx((mean - half, mean + half), abs=0.15 * half)
    assert compare(better, worse).improvement == pytest.approx(improved / 4000, abs=0.02)


def test_holms_example() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04: times 4, 3, 2, 1; the last is raised to the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_over_seeds() -> None:
    found = over_seeds([-0.5, -0.3, 0.1, -0.6])
    assert (found.mean, found.deviation, found.pairs) == pytest.approx((-0.325, math.sqrt(0.2875 / 3), 4))
    # Of the 16 signs, ±1.3 is reached by all alike and is surpassed by turning the 0.1.
    assert found.p == 4 / 16
    assert over_seeds([0.1] * 6).p == 2 / 64, "ties are ties in spite of rounding"
    with pytest.raises(ValueError, match="at least 2, but are 1"):
        over_seeds([0.1])


def test_seeds_are_pooled_and_compared_with_fewer(systems: tuple[Counts, Counts]) -> None:
    better, worse = systems
    pooled = Counts.pooled([better, worse])
    assert pooled.rate == pytest.approx((better.rate + worse.rate) / 2)
    assert interval(Counts.pooled([better, better, better])) == pytest.approx(interval(better))
    found, of_one = compare(Counts.pooled([better, better]), worse), compare(better, worse)
    assert (found.difference, found.improvement, found.p) == pytest.approx(
        (of_one.difference, of_one.improvement, of_one.p)
    )
    assert found.interval == pytest.approx(of_one.interval)
    assert compare(pooled, worse).difference == pytest.approx(of_one.difference / 2)


def test_a_row_is_assessed_as_its_cells_are(systems: tuple[Counts, Counts]) -> None:
    for cell, found in zip(systems, assess(systems, systems[1], seed=5), strict=True):
        assert found.interval == interval(cell, seed=5)
        assert found.comparison == compare(cell, systems[1], seed=5)
    assert assess(systems)[0].comparison is None


def test_draws_are_those_of_the_seed(systems: tuple[Counts, Counts], monkeypatch: pytest.MonkeyPatch) -> None:
    found = compare(*systems)
    assert compare(*systems) == found
    assert compare(*systems, seed=1) != found
    monkeypatch.setattr("orchestrator.results.statistics.AT_ONCE", 500)
    assert compare(*systems).interval == found.interval, "memory makes no difference"


def test_edges() -> None:
    one_block = counts([1, 2], [10, 20], [0, 0])
    assert interval(one_block) is None, "of one speaker nothing can be said"
    alone = compare(one_block, counts([5, 9], [10, 20], [0, 0]))
    assert alone == (pytest.approx(-110 / 3), None, 1, 1)
    assert interval(counts([1, 4], [10, 20])) == Interval(10, 20), "of two, the range of what can be drawn"
    perfect = counts([0] * 30, [10] * 30)
    assert interval(perfect) == Interval(0, 0)
    found = compare(perfect, perfect)
    assert (found.difference, found.interval, found.improvement, found.p) == (0, Interval(0, 0), 0.5, 1)
    assert counts([2, 0], [0, 10]).rate == 20, "insertions where nothing was said"
    assert np.isfinite(width(counts([2, 0], [0, 10])))
    assert compare(counts([0], [0]), counts([1], [0])).difference == -100
    with pytest.raises(ValueError, match="must be over the same utterances"):
        compare(counts([1, 2], [10, 20]), counts([1, 2], [20, 10]))
    with pytest.raises(ValueError, match="must be over the same utterances"):
        Counts.pooled([one_block, counts([1, 2], [10, 20])])
    with pytest.raises(ValueError, match="a value per utterance"):
        counts([], [])
