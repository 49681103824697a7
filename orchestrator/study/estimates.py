"""How long trials will take, from those that are finished; and how long a study takes with so many slots."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from orchestrator.study.ledger import Result
from orchestrator.study.sweep import Trial


@dataclass(frozen=True)
class Estimates:
    """Expected durations, by seconds per step."""

    row: str
    """The field that tells rows of the study apart: trials of one row are the most alike."""
    rates: Mapping[object, float]
    """Seconds per step of finished trials, by row."""
    source: str = "the ledger"

    @classmethod
    def of(cls, row: str, trials: Sequence[Trial], results: Mapping[str, Result]) -> "Estimates":
        """From the finished among `trials`."""
        by_row: dict[object, list[float]] = {}
        for trial in trials:
            result = results.get(trial.signature)
            if result is not None and result.status == "finished" and result.seconds:
                by_row.setdefault(trial.fields.get(row), []).append(result.seconds / trial.recipe.steps)
        return cls(row, {row: mean(rates) for row, rates in by_row.items()})

    def seconds(self, trial: Trial) -> float | None:
        """Of a whole trial, by its own row or else by all; None where nothing is finished."""
        if not self.rates:
            return None
        rate = self.rates.get(trial.fields.get(self.row), mean(self.rates.values()))
        return rate * trial.recipe.steps

    def longest_first(self, trials: Sequence[Trial]) -> list[Trial]:
        """The order of list scheduling that leaves the fewest slots idle at the end; of equals, as they come."""
        return sorted(trials, key=lambda trial: -(self.seconds(trial) or trial.recipe.steps))


def makespan(seconds: Sequence[float], slots: int) -> float:
    """Seconds until all are done, each taken by the slot that is free first, in this order."""
    free = [0.0] * max(1, slots)
    for duration in seconds:
        heapq.heapreplace(free, free[0] + duration)
    return max(free)


def duration(seconds: float) -> str:
    """For a person: `47 s`, `12 min`, `3 h 20 min`, `41 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 10 and minutes else f"{hours} h"
