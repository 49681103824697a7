"""Expected durations: of trials, by those that are finished, and of a whole study on so many slots."""

import heapq
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import fsum
from statistics import mean

from orchestrator.study.ledger import Result
from orchestrator.study.sweep import Trial

Kind = tuple[str, object]
"""A type of recipes and a row of the study: trials of one kind are the most alike."""


@dataclass(frozen=True)
class Estimates:
    """Expected durations, by seconds per step."""

    row: str
    """The field that tells rows of the study apart."""
    rates: Mapping[Kind, float]
    """Seconds per step, by kind."""
    sources: tuple[str, ...] = ("the ledger",)
    """Where the rates come from, for a person."""

    @classmethod
    def of(cls, row: str, trials: Sequence[Trial], results: Mapping[str, Result]) -> "Estimates":
        """Estimate by the finished among `trials`."""
        seconds: dict[Kind, list[float]] = {}
        for trial in trials:
            result = results.get(trial.signature)
            if result is not None and result.status == "finished" and result.seconds:
                seconds.setdefault(_kind(trial, row), []).append(result.seconds / trial.recipe.steps)
        rates = {kind: mean(found) for kind, found in seconds.items()}
        return cls(row, rates, ("the ledger",) if rates else ())

    def and_probe(self, trial: Trial, seconds: float) -> "Estimates":
        """The same, where trials of this one's type are known; else with the measured `seconds` of one of its steps."""
        if self.seconds(trial) is not None:
            return self
        probe = f"a probe of {trial.label}"
        return Estimates(self.row, {**self.rates, _kind(trial, self.row): seconds}, (*self.sources, probe))

    def seconds(self, trial: Trial) -> float | None:
        """Expected seconds of a whole trial, by its own kind or else by all of its type; None where none is known."""
        kind = _kind(trial, self.row)
        alike = [rate for (type_name, _), rate in self.rates.items() if type_name == kind[0]]
        return self.rates.get(kind, mean(alike)) * trial.recipe.steps if alike else None

    def longest_first(self, trials: Sequence[Trial]) -> list[Trial]:
        """The order of list scheduling that leaves the fewest slots idle at the end; of equals, as they come.

        A trial counts with all that waits for it, directly or not: a need comes before what starts from it, and the
        earlier the more there is of that. In `trials`, needs come before what starts from them.
        """
        usual = mean(self.rates.values()) if self.rates else 1.0
        length = {trial.signature: self.seconds(trial) or usual * trial.recipe.steps for trial in trials}
        behind = {signature: {signature} for signature in length}
        for trial in reversed(trials):
            for need in trial.needs:
                behind.get(need.signature, set()).update(behind[trial.signature])
        return sorted(trials, key=lambda trial: -fsum(length[signature] for signature in behind[trial.signature]))


def _kind(trial: Trial, row: str) -> Kind:
    return trial.recipe.type_name(), trial.fields.get(row)


def makespan(seconds: Sequence[float], slots: int, after: Mapping[int, Collection[int]] | None = None) -> float:
    """Seconds until all are done: a slot that is free takes the first, in this order, of those that may begin.

    `after` has the places of those that must be done before another may begin, by its place.
    """
    waiting, running, done, now = list(range(len(seconds))), [], set(), 0.0
    before = after or {}
    while waiting or running:
        ready = (place for place in waiting if done.issuperset(before.get(place, ())))
        for place in list(islice(ready, max(1, slots) - len(running))):
            waiting.remove(place)
            heapq.heappush(running, (now + seconds[place], place))
        now, place = heapq.heappop(running)
        done.add(place)
    return now


def following(trials: Sequence[Trial]) -> dict[int, list[int]]:
    """The places among `trials` of the needs of each that has some there, by its own place: `after` of `makespan`."""
    places = {trial.signature: place for place, trial in enumerate(trials)}
    needs = {place: [places.get(need.signature) for need in trial.needs] for place, trial in enumerate(trials)}
    return {place: [found for found in before if found is not None] for place, before in needs.items()}


def duration(seconds: float) -> str:
    """Seconds for a person: `47 s`, `12 min`, `3 h 20 min`, `41 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 10 and minutes else f"{hours} h"
