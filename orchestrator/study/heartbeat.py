"""A study as lines of a log, at least one a minute while anything is prepared or trained."""

import threading
import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from typing_extensions import override

from orchestrator.study.estimates import duration
from orchestrator.study.events import Narrator
from orchestrator.study.layout import Layout
from orchestrator.study.ledger import Result
from orchestrator.study.sweep import Sweep, Trial

QUIET = 50.0
"""Seconds without a line after which one says what is being done; a little less than the minute that is promised."""
NAMED = 3
"""Trials that such a line names at most."""


class SteadyNarrator(Narrator):
    """A narrator that also speaks up when nothing has happened for a while: it trains between two evaluations.

    A context manager: a thread watches while it is open, since a study in this process has no loop that could.
    """

    def __init__(self, console: Console, sweep: Sweep, layout: Layout, trials: int, ended: int) -> None:
        super().__init__(console, sweep, layout, trials, ended)
        self.busy: dict[str, str] = {}
        """Labels of the trials that are prepared for or trained, with how far they are."""
        self.since: dict[str, float] = {}
        """When each of them was begun, by label."""
        self.said = time.monotonic()
        """When the last line was printed."""
        self.closed = threading.Event()
        self.thread = threading.Thread(target=self._watch, name="heartbeat", daemon=True)

    def __enter__(self) -> "SteadyNarrator":
        self.thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.closed.set()
        self.thread.join()

    @override
    def noted(self, text: str, style: str | None = None) -> None:
        self.said = time.monotonic()
        super().noted(text, style)

    @override
    def preparing(self, trial: Trial) -> None:
        self._at(trial, "prepares its data")

    @override
    def started(self, trial: Trial) -> None:
        self.since[trial.label] = time.monotonic()  # not since its data was first waited for
        self._at(trial, "starts")
        super().started(trial)

    @override
    def reported(self, trial: Trial, metrics: Mapping[str, float]) -> None:
        self._at(trial, f"trains, past step {metrics['step']:g} of {trial.recipe.steps}")
        super().reported(trial, metrics)

    @override
    def ended(self, trial: Trial, result: Result) -> None:
        self.busy.pop(trial.label, None)
        super().ended(trial, result)

    @override
    def paused(self, trial: Trial, reason: str) -> None:
        self.busy.pop(trial.label, None)
        super().paused(trial, reason)

    def _at(self, trial: Trial, state: str) -> None:
        if trial.label not in self.busy:
            self.since.setdefault(trial.label, time.monotonic())
        self.busy[trial.label] = state

    def _watch(self) -> None:
        while not self.closed.wait(max(0.05, QUIET - (time.monotonic() - self.said))):
            if time.monotonic() - self.said >= QUIET and (line := self._line()):
                self.noted(line)

    def _line(self) -> str:
        now, busy = time.monotonic(), list(self.busy.items())
        told = [f"{label} {state}, for {duration(now - self.since[label])}" for label, state in busy]
        # Those that train are what a person waits for; a study may have hundreds that wait for their data.
        told.sort(key=lambda line: "prepares" in line)
        more = [f"and {len(told) - NAMED} more"] if len(told) > NAMED else []
        return "; ".join([*told[:NAMED], *more])
