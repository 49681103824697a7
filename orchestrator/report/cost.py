"""What a study has cost."""

from dataclasses import dataclass
from statistics import median

from orchestrator.study import Study

SPEED = "audio_seconds_per_second"
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


def costs(study: Study) -> list[Cost]:
    """Of each column, and of all together."""
    found = []
    for heading, holds in [(c.heading, c.holds) for c in study.layout.columns] + [("all", lambda _: True)]:
        trials = [trial.signature for trial in study.trials if holds(trial)]
        results = [study.results[signature] for signature in trials if signature in study.results]
        reports = [report for s in trials if s in study.histories for report in study.histories[s].reports]
        speeds = [report[SPEED] for report in reports if SPEED in report]
        found.append(
            Cost(
                heading,
                len(trials),
                sum(result.status == "finished" for result in results),
                sum(result.attempts for result in results),
                sum(result.seconds for result in results) / 3600,
                sum(result.gpu_hours for result in results),
                median(speeds) if speeds else None,
            )
        )
    return found
