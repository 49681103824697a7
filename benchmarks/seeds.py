"""The worth of a table's two tests where training with another seed would move the rates.

`python -m benchmarks.seeds [data sets]`. Two systems that are equally good are trained with three seeds each for two
languages, as `sweeps/controls.py` does it, and tested on 100 speakers a language. The dagger's test resamples speakers
and takes the models as they are; the test over seeds takes the test splits as they are. Each leaves out one source of
chance, and both together, a difference that both find, should leave out none.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.random import Generator
from rich.console import Console
from rich.table import Table

from benchmarks.significance import RATE, common, errors, own, speakers
from orchestrator.printing import escape_output
from orchestrator.results.statistics import Counts, compare, over_seeds

DATA_SETS = 2000
LANGUAGES, SEEDS, SPEAKERS = 2, 3, 100
DEVIATIONS = (0.0, 0.25, 0.5, 1.0)
"""Standard deviations of the rate from seed to seed, in points; the rate itself is 10 %."""
LEVEL, TARGET = 0.05, 0.06
REPLICATIONS = 1000


@dataclass(frozen=True)
class Found:
    """Shares of data sets in which a difference was found, where there is none."""

    deviation: float
    by_speakers: float
    """Share in which the dagger's test finds one in the first language."""
    over_seeds: float
    both: float


def trained(random: Generator, deviation: float) -> tuple[list[Counts], list[Counts]]:
    """The errors of two systems on one test split, each with every seed."""
    of, lengths = speakers(random, SPEAKERS, "geometric")
    hard = common(random, of)

    def system() -> list[Counts]:
        mine, times = hard * own(random, of), random.normal(1, deviation / (100 * RATE), SEEDS)
        return [Counts(errors(random, max(t, 0.0) * mine, lengths), lengths, of, "speaker") for t in times]

    return system(), system()


def simulate(deviation: float, data_sets: int) -> Found:
    """Simulate many studies with so much chance in their training."""
    random, found = np.random.default_rng(1), []
    for _ in range(data_sets):
        languages = [trained(random, deviation) for _ in range(LANGUAGES)]
        first, second = map(Counts.pooled, languages[0])
        speaking = compare(first, second, replications=REPLICATIONS).p < LEVEL
        differences = [a.rate - b.rate for one, other in languages for a, b in zip(one, other, strict=True)]
        seeding = over_seeds(differences).p < LEVEL
        found.append((speaking, seeding, speaking and seeding))
    return Found(deviation, *(round(float(share), 4) for share in np.mean(found, axis=0)))


def main(arguments: Sequence[str]) -> int:
    """Simulate and print. Returns the exit code: 1 where both tests together find more than they may."""
    data_sets = int(arguments[0]) if arguments else DATA_SETS
    found = [simulate(deviation, data_sets) for deviation in DEVIATIONS]
    table = Table(
        "deviation over seeds",
        "† finds one",
        "the test over seeds",
        "both",
        title=f"{data_sets} studies each, no effect",
    )
    for f in found:
        shares = (f.by_speakers, f.over_seeds, f.both)
        table.add_row(f"{f.deviation:g} points", *(f"{100 * share:.1f} %" for share in shares))
    Console(width=80).print(table)
    met = all(f.both <= TARGET for f in found)
    print(json.dumps({"benchmark": "seeds", "met": met, "settings": [asdict(f) for f in found]}))
    return 0 if met else 1


if __name__ == "__main__":
    escape_output()
    sys.exit(main(sys.argv[1:]))
