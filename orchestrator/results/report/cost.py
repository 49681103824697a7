"""The cost of a study: hours, GPU hours, and how fast it went."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from orchestrator.study.stored_study import Study
from orchestrator.study.value import Value


@dataclass(frozen=True)
class Cost:
    """The cost of a column's trials."""

    heading: str
    trials: int
    finished: int
    attempts: int
    hours: float
    gpu_hours: float
    medians: list[str]
    """Medians of what was reported, for each of the layout's `costs`; empty where nothing was."""


def costs(study: Study) -> list[Cost]:
    """The cost of each column of the first table, and of all trials together."""
    columns = [column for column in study.layout.tables[0].columns if column.where is not None]
    found = []
    for heading, holds in [(c.title, c.holds) for c in columns] + [("all", lambda _: True)]:
        trials = [trial.signature for trial in study.trials if holds(trial)]
        results = [study.results[signature] for signature in trials if signature in study.results]
        reports = [report for s in trials if s in study.histories for report in study.histories[s].reports]
        found.append(
            Cost(
                heading,
                len(trials),
                sum(result.status == "finished" for result in results),
                sum(result.attempts for result in results),
                sum(result.seconds for result in results) / 3600,
                sum(result.gpu_hours for result in results),
                [_median(value, reports) for value in study.layout.costs],
            )
        )
    return found


def _median(value: Value, reports: Sequence[Mapping[str, float]]) -> str:
    values = [report[value.name] for report in reports if value.name in report]
    return f"{median(values):.{value.digits}f}" if values else ""
