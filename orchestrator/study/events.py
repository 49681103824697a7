"""What happens in a study, told to whoever listens: the terminal and MLflow."""

import time
from collections.abc import Mapping, Sequence

from rich.console import Console

from orchestrator.redaction import public
from orchestrator.study.ledger import Result
from orchestrator.study.sweep import Trial


class Listener:
    """Hears of a study's events, in the driver; overrides those that it cares for."""

    def noted(self, text: str) -> None:
        """Something that a person should know."""

    def preparing(self, trial: Trial) -> None:
        """What the trial needs is being made."""

    def started(self, trial: Trial) -> None:
        """A trial's processes are being started."""

    def reported(self, trial: Trial, metrics: Mapping[str, float]) -> None:
        """A running trial has metrics; `step` is one of them."""

    def ended(self, trial: Trial, result: Result) -> None:
        """A trial is finished, stopped by the scheduler or failed for good, now or in an earlier submission."""

    def paused(self, trial: Trial, reason: str) -> None:
        """A trial cannot go on now, through no fault of its own; the next submission resumes it."""


class Narrator(Listener):
    """One line per event; `metric` is what a person wants to know of a trial, such as cer."""

    def __init__(self, console: Console, metric: str, trials: int, ended: int) -> None:
        self.console, self.metric, self.trials, self.done = console, metric, trials, ended
        self.begun = time.monotonic()

    def noted(self, text: str, style: str | None = None) -> None:
        """A line with the minutes since the start, without credentials."""
        minutes, seconds = divmod(int(time.monotonic() - self.begun), 60)
        line = f"{minutes:3d}:{seconds:02d}  {public(text)}"
        self.console.print(line, style=style, markup=False, emoji=False, highlight=False, soft_wrap=True)

    def started(self, trial: Trial) -> None:
        """That it has begun."""
        self.noted(f"{trial.label}: started")

    def reported(self, trial: Trial, metrics: Mapping[str, float]) -> None:
        """The validation error, where there is one."""
        if f"valid_{self.metric}" in metrics:
            value = metrics[f"valid_{self.metric}"]
            step = f"step {metrics['step']:g} of {trial.recipe.steps}"
            self.noted(f"{trial.label}: {step}, validation {self.metric.upper()} {value:.1f} %")

    def ended(self, trial: Trial, result: Result) -> None:
        """The test error, or why there is none, and how far the study is."""
        self.done += 1
        far = f"({self.done} of {self.trials})"
        if result.status == "finished":
            value = result.metrics.get(f"test_{self.metric}")  # a need may have been tested by nothing
            tested = "" if value is None else f", test {self.metric.upper()} {value:.1f} %"
            self.noted(f"{trial.label}: finished{tested} {far}")
        else:
            style = "red" if result.status == "failed" else None
            self.noted(f"{trial.label}: {result.status}: {result.reason} {far}", style=style)

    def paused(self, trial: Trial, reason: str) -> None:
        """Why."""
        self.noted(f"{trial.label}: paused: {reason}", style="yellow")


class Listeners(Listener):
    """Several listeners as one."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self.listeners = listeners

    def noted(self, text: str) -> None:
        """See `Listener`."""
        for listener in self.listeners:
            listener.noted(text)

    def preparing(self, trial: Trial) -> None:
        """See `Listener`."""
        for listener in self.listeners:
            listener.preparing(trial)

    def started(self, trial: Trial) -> None:
        """See `Listener`."""
        for listener in self.listeners:
            listener.started(trial)

    def reported(self, trial: Trial, metrics: Mapping[str, float]) -> None:
        """See `Listener`."""
        for listener in self.listeners:
            listener.reported(trial, metrics)

    def ended(self, trial: Trial, result: Result) -> None:
        """See `Listener`."""
        for listener in self.listeners:
            listener.ended(trial, result)

    def paused(self, trial: Trial, reason: str) -> None:
        """See `Listener`."""
        for listener in self.listeners:
            listener.paused(trial, reason)
