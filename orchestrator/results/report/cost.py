"""What a study has cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from orchestrator.study.stored_study import Study

SPEED, WAITING = "audio_seconds_per_second", "waiting_for_data_percent"
"""What a recipe reports of its speed."""


@dataclass(frozen=True)
class Cost:
    """Of a column's trials."""

    heading: str
    trials: int
    finished: int
    attempts: int
    hours: float
    gpu_hours: float
    speed: float | None
    """Median of the reports, seconds of audio in a second."""
    waiting: float | None
    """Median of the reports, percent of the time of training."""


def costs(study: Study) -> list[Cost]:
    """Of each column, and of all together."""
    found = []
    for heading, holds in [(c.heading, c.holds) for c in study.layout.columns] + [("all", lambda _: True)]:
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
                _median(SPEED, reports),
                _median(WAITING, reports),
            )
        )
    return found


def _median(name: str, reports: Sequence[Mapping[str, float]]) -> float | None:
    values = [report[name] for report in reports if name in report]
    return median(values) if values else None
