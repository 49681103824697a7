"""Events of a study, told to whoever listens: the terminal and MLflow."""

import time
from collections.abc import Mapping, Sequence

from rich.console import Console
from typing_extensions import override

from orchestrator.redaction import public
from orchestrator.study.layout import Layout
from orchestrator.study.ledger import Result
from orchestrator.study.sweep import Sweep, Trial


class Listener:
    """Someone who is told of a study's events, in the driver; a subclass overrides those that it cares for."""

    def noted(self, text: str) -> None:
        """Something that a person should know."""

    def preparing(self, trial: Trial) -> None:
        """The preparations that a trial needs are being made."""

    def started(self, trial: Trial) -> None:
        """A trial's processes are being started."""

    def reported(self, trial: Trial, metrics: Mapping[str, float]) -> None:
        """A running trial has metrics; `step` is one of them."""

    def ended(self, trial: Trial, result: Result) -> None:
        """A trial is finished, stopped by the scheduler or failed for good, now or in an earlier submission."""

    def paused(self, trial: Trial, reason: str) -> None:
        """A trial cannot go on now, through no fault of its own; the next submission resumes it."""


class Narrator(Listener):
    """Prints a line for each event, with the value that trials are judged by, and at the end one that a table shows."""

    def __init__(self, console: Console, sweep: Sweep, layout: Layout, trials: int, ended: int) -> None:
        """`trials` are all that count, needs among them, of which so many have `ended` before."""
        self.console, self.layout, self.trials, self.done = console, layout, trials, ended
        self.judged, self.told = sweep.metric, dict[str, float]()
        self.begun = time.monotonic()

    @override
    def noted(self, text: str, style: str | None = None) -> None:
        """Prints a line with the time since the start, in minutes and seconds, without credentials."""
        minutes, seconds = divmod(int(time.monotonic() - self.begun), 60)
        line = f"{minutes:3d}:{seconds:02d}  {public(text)}"
        self.console.print(line, style=style, markup=False, emoji=False, highlight=False, soft_wrap=True)

    @override
    def started(self, trial: Trial) -> None:
        self.noted(f"{trial.label}: started")

    @override
    def reported(self, trial: Trial, metrics: Mapping[str, float]) -> None:
        value, step = self.judged, metrics["step"]
        # Once a step: the last report, with the result, repeats the value.
        if value and value.name in metrics and self.told.get(trial.signature) != step:
            self.told[trial.signature] = step
            found = f"{value.spoken} {value.brief(metrics[value.name])}"
            self.noted(f"{trial.label}: step {step:g} of {trial.recipe.steps}, {found}")

    @override
    def ended(self, trial: Trial, result: Result) -> None:
        self.done += 1
        far, value = f"({self.done} of {self.trials})", self.layout.value(trial)
        if result.status == "finished":
            # A need may report nothing that is shown.
            known = value and value.name in result.metrics
            found = f", {value.spoken} {value.brief(result.metrics[value.name])}" if value and known else ""
            self.noted(f"{trial.label}: finished{found} {far}")
        else:
            style = "red" if result.status == "failed" else None
            self.noted(f"{trial.label}: {result.status}: {result.reason} {far}", style=style)

    @override
    def paused(self, trial: Trial, reason: str) -> None:
        self.noted(f"{trial.label}: paused: {reason}", style="yellow")


class Listeners(Listener):
    """Several listeners as one."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self.listeners = listeners

    @override
    def noted(self, text: str) -> None:
        for listener in self.listeners:
            listener.noted(text)

    @override
    def preparing(self, trial: Trial) -> None:
        for listener in self.listeners:
            listener.preparing(trial)

    @override
    def started(self, trial: Trial) -> None:
        for listener in self.listeners:
            listener.started(trial)

    @override
    def reported(self, trial: Trial, metrics: Mapping[str, float]) -> None:
        for listener in self.listeners:
            listener.reported(trial, metrics)

    @override
    def ended(self, trial: Trial, result: Result) -> None:
        for listener in self.listeners:
            listener.ended(trial, result)

    @override
    def paused(self, trial: Trial, reason: str) -> None:
        for listener in self.listeners:
            listener.paused(trial, reason)
