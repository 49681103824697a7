"""What happens in a study, told to whoever listens: the terminal and MLflow."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rich.console import Console

from orchestrator.sweep import Trial


class StudyFailed(RuntimeError):
    """A study cannot go on, or could not be recorded; the message is for the person who started it."""


class Listener(Protocol):
    """Hears of a study's events, in the driver."""

    def started(self, trial: Trial) -> None:
        """A trial's processes are being started."""
        ...

    def reported(self, trial: Trial, metrics: Mapping[str, float]) -> None:
        """A running trial has metrics; `step` is one of them."""
        ...

    def finished(self, trial: Trial, result: Mapping[str, Any]) -> None:
        """A trial is finished, now or in an earlier submission."""
        ...

    def failed(self, trial: Trial, reason: str) -> None:
        """A trial has failed for good."""
        ...


class Narrator:
    """One line per event; `metric` is what a person wants to know of a trial, such as cer."""

    def __init__(self, console: Console, metric: str, trials: int, finished: int) -> None:
        self.console, self.metric, self.trials, self.done = console, metric, trials, finished
        self.begun = time.monotonic()

    def say(self, text: str, style: str | None = None) -> None:
        """A line with the minutes since the start."""
        minutes, seconds = divmod(int(time.monotonic() - self.begun), 60)
        line = f"{minutes:3d}:{seconds:02d}  {text}"
        self.console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)

    def started(self, trial: Trial) -> None:
        """That it has begun."""
        self.say(f"{trial.label}: started")

    def reported(self, trial: Trial, metrics: Mapping[str, float]) -> None:
        """The validation error, where there is one."""
        if f"valid_{self.metric}" in metrics:
            value = metrics[f"valid_{self.metric}"]
            self.say(f"{trial.label}: step {metrics['step']:g}, validation {self.metric.upper()} {value:.1f} %")

    def finished(self, trial: Trial, result: Mapping[str, Any]) -> None:
        """The test error, and how far the study is."""
        self.done += 1
        value = result["metrics"][f"test_{self.metric}"]
        self.say(f"{trial.label}: finished, test {self.metric.upper()} {value:.1f} % ({self.done} of {self.trials})")

    def failed(self, trial: Trial, reason: str) -> None:
        """Why."""
        self.say(f"{trial.label}: failed: {reason}", style="red")


class Chorus:
    """Several listeners as one."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self.listeners = listeners

    def started(self, trial: Trial) -> None:
        """See `Listener`."""
        for listener in self.listeners:
            listener.started(trial)

    def reported(self, trial: Trial, metrics: Mapping[str, float]) -> None:
        """See `Listener`."""
        for listener in self.listeners:
            listener.reported(trial, metrics)

    def finished(self, trial: Trial, result: Mapping[str, Any]) -> None:
        """See `Listener`."""
        for listener in self.listeners:
            listener.finished(trial, result)

    def failed(self, trial: Trial, reason: str) -> None:
        """See `Listener`."""
        for listener in self.listeners:
            listener.failed(trial, reason)
