"""Whether the statistics can be believed: how often intervals hold the truth, how often a test cries wolf; and speed.

`python -m benchmarks.significance [data sets [geometric|log-normal]]`. A test split of Common Voice is simulated: few
or many speakers, who have unequal numbers of clips and unequal error rates. In Common Voice 6.1 the languages of the
paper's Table 1 have between 27 speakers (Finnish) and 1 120 (Portuguese), half of them 200 or more, and most speakers
are in the test split, because it takes those with the fewest clips. Intervals have a target from half that median on.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.random import Generator
from rich.console import Console
from rich.table import Table as RichTable

from orchestrator.printing import escape_output
from orchestrator.results.statistics import Comparison, Counts, Interval, assess

DATA_SETS = 2000
SPEAKERS = (3, 6, 10, 27, 50, 100, 200)
REALISTIC = 100
"""Speakers from which on all targets hold."""
CLIPS: dict[str, Callable[[Generator, int], np.ndarray]] = {
    "geometric": lambda random, count: random.geometric(1 / 10, count),
    "log-normal": lambda random, count: np.maximum(1, np.rint(12 * random.lognormal(-0.5, 1.0, count))).astype(int),
}
"""Draws of the clips of each speaker: 10 in the mean and about 50 for one in a hundred, or, harsher, 12 and 75."""
RATE = 0.10
"""Errors per character over all speakers; from speaker to speaker their deviation is half of that."""
REPLICATIONS = 2000
"""Replications in the simulation; in the measurement of time they are 10 000."""
COVERAGE, FALSE_POSITIVES, SECONDS = (0.93, 0.97), 0.06, 10.0


@dataclass(frozen=True)
class Setting:
    """The findings for one number of speakers."""

    speakers: int
    data_sets: int
    coverage: float
    """Share of the rate's intervals that hold the truth, blocks by speaker."""
    by_utterance: float
    """Share of the rate's intervals that hold the truth, every utterance a block."""
    difference: float
    """Share of the difference's intervals that hold the truth, which is zero."""
    false_positives: float
    """Share of p-values below 0.05, of `compare`: from permutations."""
    by_bootstrap: float
    """Share of p-values below 0.05, taken from the bootstrap: twice the smaller tail."""
    power: float
    """Share of p-values below 0.05 where one system is 5 % better, of `compare`."""

    @property
    def met(self) -> bool:
        """Whether it meets the targets; few speakers have none but that a test must not cry wolf."""
        covered = [low <= share <= high for share in (self.coverage, self.difference) for low, high in [COVERAGE]]
        return self.false_positives <= FALSE_POSITIVES and (self.speakers < REALISTIC or all(covered))


def speakers(random: Generator, count: int, clips: str) -> tuple[np.ndarray, np.ndarray]:
    """Speaker and length of each clip, (clips,)."""
    of = np.repeat(np.arange(count), CLIPS[clips](random, count))
    return of, random.integers(15, 80, len(of))


def systems(random: Generator, of: np.ndarray, lengths: np.ndarray, better: float = 1.0) -> tuple[Counts, Counts]:
    """Two systems with the same true error rate, or the first of them `better` times the second's.

    A speaker is hard for both of them, by a common factor, and for each by one of its own; so is a clip.
    """
    hard = common(random, of)
    first, second = (
        Counts(errors(random, times * hard * own(random, of), lengths), lengths, of, "speaker")
        for times in (better, 1.0)
    )
    return first, second


def factor(random: Generator, deviation: float, size: int) -> np.ndarray:
    """Log-normal factors of mean 1, (size,)."""
    return random.lognormal(-(deviation**2) / 2, deviation, size)


def common(random: Generator, of: np.ndarray) -> np.ndarray:
    """Factors by which each clip is hard for any system, from its speaker and from itself, (clips,)."""
    return factor(random, 0.47, of.max() + 1)[of] * factor(random, 0.6, len(of))


def own(random: Generator, of: np.ndarray) -> np.ndarray:
    """Factors by which each clip is hard for one system alone, from its speaker, (clips,)."""
    return factor(random, 0.15, of.max() + 1)[of]


def errors(random: Generator, hard: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Errors of one trained model on each clip, (clips,)."""
    return random.poisson(RATE * hard * factor(random, 0.3, len(lengths)) * lengths)


def simulate(count: int, data_sets: int, clips: str) -> Setting:
    """Simulate many test splits of so many speakers."""
    random = np.random.default_rng(count)
    found = []
    for number in range(data_sets):
        of, lengths = speakers(random, count, clips)
        pair = systems(random, of, lengths)
        assessed = assess(pair, pair[1], replications=REPLICATIONS, seed=number)
        comparison = assessed[0].comparison
        assert comparison is not None
        single = Counts(pair[0].errors, lengths, np.arange(len(of)), "utterance")
        alone = assess([single], replications=REPLICATIONS, seed=number)[0].interval
        improved = systems(random, of, lengths, better=0.95)
        real = assess(improved[:1], improved[1], replications=REPLICATIONS, seed=number)[0].comparison
        assert real is not None
        found.append(
            (
                holds(assessed[0].interval, 100 * RATE), holds(alone, 100 * RATE), holds(comparison.interval, 0.0),
                comparison.p < 0.05, tails(comparison) < 0.05, real.p < 0.05,
            )
        )  # fmt: skip
    return Setting(count, data_sets, *(round(float(share), 4) for share in np.mean(found, axis=0)))


def holds(interval: Interval | None, truth: float) -> bool:
    """Whether the truth is in the interval."""
    assert interval is not None
    return interval[0] <= truth <= interval[1]


def tails(comparison: Comparison) -> float:
    """The two-sided p-value that the bootstrap suggests."""
    return 2 * min(comparison.improvement, 1 - comparison.improvement)


def timed(rows: int, columns: int, blocks: int | None) -> float:
    """Seconds of one core for a table whose cells have 2 000 utterances, each a block or from so many speakers."""
    random = np.random.default_rng(0)
    lengths = random.integers(15, 80, 2000)
    of = np.arange(2000) if blocks is None else np.arange(2000) % blocks
    table = [
        [Counts(random.binomial(lengths, RATE), lengths, of, "speaker") for _ in range(columns)] for _ in range(rows)
    ]
    begun = time.process_time()  # whatever else this machine does
    for row in table:
        assess(row, row[0])
    return round(time.process_time() - begun, 2)


def report(settings: Sequence[Setting], seconds: dict[str, float]) -> bool:
    """Print what was found; returns whether every target was met."""
    table = RichTable(
        "speakers", "interval\nof the rate", "blocks by\nutterance", "interval of\nthe difference", "false\npositives",
        "by the\nbootstrap", "power,\n5 % better", "", title=f"{settings[0].data_sets} simulated test splits each",
    )  # fmt: skip
    for s in settings:
        shares = (s.coverage, s.by_utterance, s.difference, s.false_positives, s.by_bootstrap, s.power)
        table.add_row(str(s.speakers), *(f"{100 * share:.1f} %" for share in shares), "met" if s.met else "MISSED")
    console = Console(width=110)
    console.print(table)
    for name, value in seconds.items():
        console.print(f"20 × 5 table, 10 000 replications, {name}: {value:.2f} s of one core (target {SECONDS:g} s)")
    met = all(s.met for s in settings) and all(value <= SECONDS for value in seconds.values())
    found = {"seconds": seconds, "settings": [asdict(s) for s in settings]}
    print(json.dumps({"benchmark": "significance", "met": met, **found}))
    return met


def main(arguments: Sequence[str]) -> int:
    """Measure. Returns the exit code: 1 when a target was missed."""
    data_sets = int(arguments[0]) if arguments else DATA_SETS
    clips = arguments[1] if len(arguments) > 1 else "geometric"
    seconds = {
        "2 000 blocks": timed(20, 5, None),
        "200 speakers": timed(20, 5, 200),
    }
    return 0 if report([simulate(count, data_sets, clips) for count in SPEAKERS], seconds) else 1


if __name__ == "__main__":
    escape_output()
    sys.exit(main(sys.argv[1:]))
