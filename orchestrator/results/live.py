"""The study as a live table of cells in a terminal."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table as RichTable
from rich.text import Text
from typing_extensions import override

from orchestrator.study.estimates import Estimates, duration, following, makespan
from orchestrator.study.events import Narrator
from orchestrator.study.layout import Layout
from orchestrator.study.ledger import Result
from orchestrator.study.sweep import Sweep, Trial

OTHER = "other"
"""The row or column of trials that are in none of the table's."""
STYLES = {"running": "bold", "starting": "yellow", "preparing": "yellow", "failed": "red", "finished": "green"}


@dataclass
class Cell:
    """Where a trial stands."""

    state: str = "queued"
    step: int = 0
    steps: int = 0
    value: float | None = None
    begun: float = 0.0
    """When it was started, by this process's clock."""
    resumed: int | None = None
    """Its first step that was heard of."""
    reported: float = 0.0

    def text(self) -> Text:
        """In at most 11 characters."""
        value = "" if self.value is None else f"{self.value:.1f}" if self.value < 10 else f"{self.value:.0f}"
        if self.state == "running":
            return Text(f"{_short(self.step)}/{_short(self.steps)} {value}".rstrip(), STYLES["running"])
        if self.state == "finished" and self.value is not None:
            return Text(f"{self.value:.2f}", STYLES["finished"])
        return Text(self.state, STYLES.get(self.state, "dim"))


class LiveTable(Narrator):
    """A table of what is queued, preparing, running, finished and failed, by row and column of the study's first table.

    A context manager: the table is on the screen while it is open. Lines of what ended scroll above it.
    """

    def __init__(
        self,
        console: Console,
        layout: Layout,
        sweep: Sweep,
        results: Mapping[str, Result],
        missing: Sequence[Trial],
    ) -> None:
        """`results` are those of earlier submissions that stay as they are, `missing` are the trials to run."""
        super().__init__(console, sweep, layout, len(results) + len(missing), len(results))
        self.table, self.estimates = layout.tables[0], Estimates.of(sweep.axes[0], sweep.everything, results)
        self.cells: dict[str, Cell] = {}
        self.trial_of = {trial.signature: trial for trial in sweep.everything}
        self.places: dict[tuple[str, str], list[str]] = {}
        for signature in [s for s in self.trial_of if s in results] + [trial.signature for trial in missing]:
            self.cells[signature] = Cell(steps=self.trial_of[signature].recipe.steps)
            if signature in results:
                self._end(self.trial_of[signature], results[signature])
        headings = {column.name: column.heading for column in self.table.columns}
        for trial in sweep.trials:
            row, column = next(iter(self.table.places(trial)), (self._row(trial), ""))
            row = self.table.label(row) if self.table.listed else row
            self.places.setdefault((row, headings.get(column, OTHER)), []).append(trial.signature)
        shown = {signature for signatures in self.places.values() for signature in signatures}
        self.needs = [trial.signature for trial in missing if trial.signature not in shown]
        """Trials that are in no cell of the table, since they are run for others alone."""
        self.live = Live(get_renderable=self.render, console=console, refresh_per_second=2, transient=True)

    def __enter__(self) -> "LiveTable":
        self.live.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.live.stop()

    @override
    def preparing(self, trial: Trial) -> None:
        self.cells[trial.signature].state = "preparing"

    @override
    def started(self, trial: Trial) -> None:
        cell = self.cells[trial.signature]
        cell.state, cell.begun, cell.resumed = "starting", time.monotonic(), None

    @override
    def reported(self, trial: Trial, metrics: Mapping[str, float]) -> None:
        cell = self.cells[trial.signature]
        cell.state, cell.step, cell.reported = "running", int(metrics["step"]), time.monotonic()
        if cell.resumed is None:
            cell.resumed, cell.begun = cell.step, time.monotonic()
        cell.value = metrics.get(self.judged.name, cell.value) if self.judged else None

    @override
    def ended(self, trial: Trial, result: Result) -> None:
        self._end(trial, result)
        super().ended(trial, result)

    @override
    def paused(self, trial: Trial, reason: str) -> None:
        self.cells[trial.signature].state = "paused"
        super().paused(trial, reason)

    def render(self) -> RenderableType:
        """The table, with a line of counts and the time left."""
        columns = list(dict.fromkeys([*(c.heading for c in self.table.columns), *(c for _, c in self.places)]))
        columns = [column for column in columns if any(c == column for _, c in self.places)]
        if 10 + 13 * len(columns) > self.console.width:
            return Group(*self._lines(self.cells), self._summary())
        table = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1))
        table.add_column("")
        for column in columns:
            table.add_column(column, justify="right", min_width=8, max_width=11)
        rows = list(dict.fromkeys(row for row, _ in self.places))
        needs = self._lines(self.needs)
        room = self.console.height - 4 - len(needs)  # two lines of headings, a rule, and the summary
        fitting = len(rows) if len(rows) <= room else max(1, room - 1)
        # A study that is higher than the screen shows the rows in which something happens.
        shown = sorted(rows, key=lambda row: not self._active(row))[:fitting]
        for row in [row for row in rows if row in shown]:
            table.add_row(row, *(self._cell(self.places.get((row, column), [])) for column in columns))
        hidden = [Text(f"and {len(rows) - len(shown)} more", "dim")] if len(shown) < len(rows) else []
        return Group(table, *hidden, *needs, self._summary())

    def _row(self, trial: Trial) -> str:
        """The row of a trial that is in no column."""
        return str(trial.fields.get(self.table.rows, OTHER)) if isinstance(self.table.rows, str) else OTHER

    def _cell(self, signatures: Sequence[str]) -> Text:
        if len(signatures) > 1:  # seeds
            done = sum(self.cells[s].state == "finished" for s in signatures)
            busy = any(self.cells[s].state in ("running", "starting") for s in signatures)
            return Text(
                f"{done} of {len(signatures)}", STYLES["running" if busy else "finished"] if done or busy else "dim"
            )
        return self.cells[signatures[0]].text() if signatures else Text("")

    def _active(self, row: str) -> bool:
        states = {self.cells[s].state for (r, _), signatures in self.places.items() if r == row for s in signatures}
        return bool(states & {"running", "starting", "preparing"})

    def _lines(self, signatures: Iterable[str]) -> list[Text]:
        """A line on each of these trials that is busy."""
        busy = [s for s in signatures if self.cells[s].state in ("running", "starting")]
        lines = [Text(f"{self.trial_of[s].label}: ") + self.cells[s].text() for s in busy]
        return lines[: max(1, self.console.height - 4)]

    def _summary(self) -> Text:
        states = [cell.state for cell in self.cells.values()]
        counts = [
            f"{states.count(state)} {state}"
            for state in ("queued", "preparing", "starting", "running", "finished", "stopped", "failed", "paused")
            if state in states
        ]
        left = self._left()
        text = ", ".join(counts) + (f"; about {duration(left)} left" if left else "")
        return Text(text, no_wrap=True, overflow="ellipsis")

    def _left(self) -> float | None:
        """Seconds until all is done, by what was finished and how fast the running trials are."""
        now = time.monotonic()
        rates = [
            (cell.reported - cell.begun) / (cell.step - cell.resumed)
            for cell in self.cells.values()
            if cell.resumed is not None and cell.step > cell.resumed
        ]
        rate = sum(rates) / len(rates) if rates else None
        running: list[tuple[Trial, float]] = []
        waiting: list[tuple[Trial, float]] = []
        for signature, cell in self.cells.items():
            if cell.state in ("finished", "stopped", "failed", "paused"):
                continue
            trial = self.trial_of[signature]
            whole = self.estimates.seconds(trial) or (rate and rate * cell.steps)
            if whole is None:
                return None
            done = whole * cell.step / max(1, cell.steps)
            if cell.state == "running":
                done += now - cell.reported
            (running if cell.state in ("running", "starting") else waiting).append((trial, max(0.0, whole - done)))
        left = [*running, *sorted(waiting, key=lambda each: each[1], reverse=True)]
        after = following([trial for trial, _ in left])
        # How many run at once is seen, not known.
        return makespan([seconds for _, seconds in left], len(running), after) if running else None

    def _end(self, trial: Trial, result: Result) -> None:
        cell = self.cells[trial.signature]
        value = self.layout.value(trial)
        cell.state, cell.value = result.status, result.metrics.get(value.name) if value else None


def _short(steps: int) -> str:
    return str(steps) if steps < 1000 else f"{steps / 1000:.2g}k" if steps < 10_000 else f"{steps / 1000:.0f}k"
