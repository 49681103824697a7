import itertools
import random

import pytest

from orchestrator.study.estimates import Estimates, duration, following, makespan
from orchestrator.study.ledger import Result
from orchestrator.study.sweep import Sweep, Trial, grid
from tests.toy.recipe import Toy


def slowly(seconds: list[float], slots: int, after: dict[int, list[int]] | None = None) -> float:
    """Second by second: who is free takes the next that may begin."""
    waiting, ends, now = list(range(len(seconds))), {}, 0.0
    while waiting or any(end > now for end in ends.values()):
        over = {place for place, end in ends.items() if end <= now}
        ready = [place for place in waiting if over >= set((after or {}).get(place, []))]
        for place in ready[: slots - (len(ends) - len(over))]:
            waiting.remove(place)
            ends[place] = now + seconds[place]
        now += 1
    return max(ends.values(), default=0.0)


@pytest.mark.parametrize("slots", [1, 2, 3, 7])
def test_a_makespan_is_that_of_list_scheduling(slots: int) -> None:
    draw = random.Random(slots)
    for count in range(9):
        seconds = [float(draw.randint(1, 9)) for _ in range(count)]
        assert makespan(seconds, slots) == slowly(seconds, slots)


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_a_makespan_waits_for_what_must_be_done_before(slots: int) -> None:
    draw = random.Random(slots)
    for count in range(1, 9):
        seconds = [float(draw.randint(1, 9)) for _ in range(count)]
        after = {place: draw.sample(range(place), draw.randint(0, min(2, place))) for place in range(count)}
        assert makespan(seconds, slots, after) == slowly(seconds, slots, after)


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
    assert estimates.rates == {("tests.toy.recipe:Toy", "cs"): 2, ("tests.toy.recipe:Toy", "ro"): 8}
    assert [estimates.seconds(trials[i]) for i in (2, 5, 8)] == [16, 64, 40]
    long = Trial(toy.model_copy(update={"language": "cs", "length": 100}))
    assert [t.label for t in estimates.longest_first([*trials[:6:3], trials[8], long])] == [
        "cs 0", "ro 0", "fi 1", "cs 0",
    ]  # fmt: skip


class Other(Toy):
    """Another type of recipe."""


def test_a_type_of_which_none_is_finished_is_probed(toy: Toy) -> None:
    known, probed = Trial(toy), Trial(Other(language="cs", length=4))
    estimates = Estimates.of("language", [known, probed], {known.signature: Result("finished", seconds=8)})
    assert (estimates.seconds(known), estimates.seconds(probed)) == (8, None)
    estimates = estimates.and_probe(known, 100.0).and_probe(probed, 3.0)
    assert (estimates.seconds(known), estimates.seconds(probed)) == (8, 12)
    assert estimates.sources == ("the ledger", "a probe of cs 0")


def test_what_others_wait_for_comes_first(toy: Toy) -> None:
    """A short need of many short trials, before a trial that is longer than any of them, and a need of that need."""
    first = Toy(language="fi", length=1)
    shared = Toy(language="fi", length=2, start=first)
    many = [Toy(language="cs", length=3, weight=weight, start=shared) for weight in (0.0, 0.5, 1.0)]
    alone = [Toy(language="ro", length=length) for length in (11, 8)]
    sweep = Sweep("toys", [*alone, *many], axes=("language", "weight", "length", "start"))
    ordered = Estimates("language", {}).longest_first(sweep.everything)
    assert [trial.recipe.steps for trial in ordered] == [1, 11, 2, 8, 3, 3, 3]
    assert following(ordered) == {0: [], 1: [], 2: [0], 3: [], 4: [2], 5: [2], 6: [2]}
    # Until 11, one slot has the trial of 11 and the other those of 1, 2 and 8; then three of 3 are left.
    assert makespan([trial.recipe.steps for trial in ordered], 2, following(ordered)) == 17


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
