import itertools
import random

import pytest

from orchestrator.study.estimates import Estimates, duration, makespan
from orchestrator.study.ledger import Result
from orchestrator.study.sweep import Sweep, Trial, grid
from tests.toy.recipe import Toy


def slowly(seconds: list[float], slots: int) -> float:
    """Second by second: who is free takes the next."""
    waiting, busy, now = list(seconds), [], 0.0
    while waiting or busy:
        busy = [end for end in busy if end > now]
        while waiting and len(busy) < slots:
            busy.append(now + waiting.pop(0))
        now += bool(busy)
    return now


@pytest.mark.parametrize("slots", [1, 2, 3, 7])
def test_a_makespan_is_that_of_list_scheduling(slots: int) -> None:
    draw = random.Random(slots)
    for count in range(9):
        seconds = [float(draw.randint(1, 9)) for _ in range(count)]
        assert makespan(seconds, slots) == slowly(seconds, slots)


def test_the_longest_first_is_near_the_best() -> None:
    seconds = [7.0, 6.0, 5.0, 4.0, 4.0, 3.0]
    best = min(max(sum(s for s, slot in zip(seconds, way, strict=True) if slot == i) for i in (0, 1, 2))
               for way in itertools.product((0, 1, 2), repeat=6))  # fmt: skip
    assert best == 10
    assert makespan(sorted(seconds, reverse=True), 3) == 10
    assert makespan(sorted(seconds), 3) == 11


def test_trials_take_what_others_of_their_row_took(toy: Toy) -> None:
    cells = grid(toy, {"language": ["cs", "ro", "fi"], "weight": [0.0, 0.5, 1.0]})
    trials = Sweep("toys", cells, axes=("language", "weight")).trials
    results = {
        trials[0].signature: Result("finished", seconds=8),  # cs: 1 s a step
        trials[1].signature: Result("finished", seconds=24),  # cs: 3 s a step
        trials[2].signature: Result("failed", seconds=8000),
        trials[3].signature: Result("finished", seconds=64),  # ro: 8 s a step
        trials[4].signature: Result("finished"),  # of an earlier time, not known
    }
    estimates = Estimates.of("language", trials, results)
    assert estimates.rates == {"cs": 2, "ro": 8}
    assert [estimates.seconds(trials[i]) for i in (2, 5, 8)] == [16, 64, 40]
    long = Trial(toy.model_copy(update={"language": "cs", "length": 100}))
    assert [t.label for t in estimates.longest_first([*trials[:6:3], trials[8], long])] == [
        "cs 0", "ro 0", "fi 1", "cs 0",
    ]  # fmt: skip


def test_nothing_is_known_before_the_first_is_finished(toy: Toy) -> None:
    trials = [Trial(cell) for cell in grid(toy, {"length": [4, 8, 2]})]
    estimates = Estimates.of("language", trials, {})
    assert estimates.seconds(trials[0]) is None
    assert [trial.recipe.steps for trial in estimates.longest_first(trials)] == [8, 4, 2]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"), (47.4, "47 s"), (89, "89 s"), (90, "2 min"), (720, "12 min"), (5399, "1 h 30 min"),
        (12_000, "3 h 20 min"), (10_800, "3 h"), (147_600, "41 h"),
    ],
)  # fmt: skip
def test_durations_for_a_person(seconds: float, text: str) -> None:
    assert duration(seconds) == text
