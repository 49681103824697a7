"""A paper's tables from a study's evidence, with the published numbers beside ours: one source for every form."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby
from typing import Any

from orchestrator.results.evidence import Cell, Evidence, in_order
from orchestrator.results.report.audit import audits
from orchestrator.results.statistics import REPLICATIONS, OverSeeds
from orchestrator.study.layout import INFO, Layout, Survey, Value
from orchestrator.study.stored_study import Study

SIGNIFICANT = 0.05
"""Family-wise, two-sided."""
SHOWN = 4
"""Cells that a note names."""


@dataclass(frozen=True)
class Entry:
    """One place of a table: a rate in percent, or why there is none."""

    value: float | None = None
    state: str = ""
    """Instead of a value: `…`, `stopped` or `failed`."""
    best: bool = False
    """No other of its line is smaller, as they are printed."""
    significant: bool = False
    """Different from the baseline."""
    beside: float | None = None
    """Ours minus this, in points."""
    cell: Cell | None = None
    """What ours is made of."""
    digits: int = 2
    """As many as it was published with."""

    @property
    def number(self) -> str:
        """The value, or the state."""
        return self.state if self.value is None else f"{self.value:.{self.digits}f}"

    @property
    def spread(self) -> str:
        """Half the width of the 95 % interval."""
        interval = self.cell.interval if self.cell and self.value is not None else None
        return "" if interval is None else f"± {(interval.high - interval.low) / 2:.2f}"

    @property
    def range(self) -> str:
        """The 95 % interval."""
        interval = self.cell.interval if self.cell and self.value is not None else None
        return "" if interval is None else f"[{interval.low:.2f}, {interval.high:.2f}]"

    @property
    def part(self) -> str:
        """How many of the cell's trials its value is of, where some are missing."""
        if self.cell is None or self.value is None:
            return ""
        finished = sum(result.status == "finished" for result in self.cell.results)
        return "" if finished == len(self.cell.trials) else f"{finished} of {len(self.cell.trials)}"

    @property
    def distance(self) -> str:
        """Ours minus this, with its sign."""
        return "" if self.beside is None else f"{self.beside:+.2f}".replace("-", "−")


@dataclass(frozen=True)
class Line:
    """One line of entries."""

    whose: str
    """`ours` or `paper`."""
    entries: tuple[Entry, ...]
    comparable: str = ""
    size: str = ""
    """Speech and text that these numbers come from, such as `1 h, 14.9 GB`; empty where that is not known."""


@dataclass(frozen=True)
class Row:
    """A row of the paper's table: its lines under one name."""

    name: str
    group: str
    language: str
    hours: float | None
    """Of the speech that we trained on, where a trial has kept an audit."""
    info: tuple[Value, ...]
    """What the paper says of the row: the values of `INFO`."""
    lines: tuple[Line, ...]

    @property
    def labels(self) -> list[str]:
        """What stands before each line: the language before the first, and the size of each."""
        first, *others = self.lines
        return [", ".join(filter(None, (self.language, first.size))), *(line.size for line in others)]


@dataclass(frozen=True)
class Table:
    """A table as a reader sees it; every form is made of nothing else."""

    name: str
    title: str
    columns: tuple[str, ...]
    """Names, as the CSV has them."""
    headings: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    reasons: tuple[str, ...]
    """Why ours and the paper's are not comparable."""
    data: str

    @property
    def groups(self) -> list[tuple[str, list[Row]]]:
        """Rows that follow each other in one group; where some have one, the rest are `other`."""
        rest = "other" if self.labelled[0] else ""
        return [(group or rest, list(rows)) for group, rows in groupby(self.rows, lambda row: row.group)]

    @property
    def compared(self) -> bool:
        """Whether any number of the paper stands beside ours."""
        return any(line.comparable for row in self.rows for line in row.lines)

    @property
    def subtracted(self) -> bool:
        """Whether any number has a difference beside it."""
        return any(entry.distance for row in self.rows for line in row.lines for entry in line.entries)

    @property
    def labelled(self) -> tuple[bool, bool, bool]:
        """Whether rows have a group, a name, and lines that say whose they are."""
        return (
            any(row.group for row in self.rows),
            True,
            any(line.whose for row in self.rows for line in row.lines),
        )


def table1(study: Study, evidence: Evidence) -> Table:
    """The study's own table: a row per language, ours above the paper's."""
    layout = study.layout
    hours = {audit.row: audit.hours for audit in audits(study)}
    rows = [_row(study, evidence, row, hours.get(row)) for row in study.rows]
    notes = [*study.submission.notes, *_legend(layout, evidence)]
    return Table(
        "table1",
        f"{layout.title}, {layout.data}",
        tuple(column.name for column in layout.columns),
        tuple(column.heading for column in layout.columns),
        tuple(rows),
        tuple(notes),
        tuple(layout.reasons),
        layout.data,
    )


def _row(study: Study, evidence: Evidence, row: str, spoken: float | None) -> Row:
    layout, published = study.layout, study.layout.published
    cells = [evidence.cells.get((row, column.name)) for column in layout.columns]
    ours = _best([_entry(cell, layout.metric) for cell in cells])
    language, group, hours, text = published.info(row)
    lines = [Line("ours", ours, size="" if spoken is None else f"{spoken:.2f} h")]
    rates = [published.rate(row, column.name) for column in layout.columns]
    if any(rate is not None for rate in rates):
        entries = [Entry(rate, beside=_minus(entry.value, rate)) for entry, rate in zip(ours, rates, strict=True)]
        size = f"{hours:g} h, {text:g} GB" if isinstance(hours, int | float) and isinstance(text, int | float) else ""
        lines.append(Line("paper", _best(entries), _comparable(layout.reasons), size))
    return Row(row, str(group or ""), str(language or row), spoken, (language, group, hours, text), tuple(lines))


def table2(study: Study, evidence: Evidence) -> Table | None:
    """Other systems beside the best of the study's columns; None where the study has none of their rows."""
    layout, survey = study.layout, study.layout.survey
    rows = [row for row in survey.published.rows if row in study.rows] if survey else []
    if survey is None or not rows:
        return None
    headings = [f"{text} ‡" if name in survey.borrowed else text for name, text in survey.systems.items()]
    return Table(
        "table2",
        f"{survey.title}, ours: {layout.data}",
        (*survey.systems, "ours"),
        (*headings, "ours"),
        tuple(_survey_row(survey, layout, evidence, row) for row in rows),
        (
            f"‡: borrowed by the paper from {survey.source}.",
            *_intervals(evidence),
            *(_chosen(survey, layout, evidence, row) for row in rows),
            "The best is chosen by the test error, as in the paper: that is optimistic.",
        ),
        tuple(layout.reasons),
        layout.data,
    )


def _survey_row(survey: Survey, layout: Layout, evidence: Evidence, row: str) -> Row:
    best = _winner(survey, evidence, row, layout.metric)
    ours = replace(_entry(evidence.cells.get((row, best)) if best else None, layout.metric), significant=False)
    entries = [Entry(survey.published.rate(row, name), digits=survey.published.digits(name)) for name in survey.systems]
    language = str(survey.published.rows[row].get("language") or row)
    info = (language, *(None for _ in INFO[1:]))
    line = Line("", _best([*entries, ours]), _comparable(layout.reasons))
    return Row(row, "", language, None, info, (line,))


def _winner(survey: Survey, evidence: Evidence, row: str, metric: str) -> str | None:
    values = {name: _entry(evidence.cells.get((row, name)), metric).value for name in survey.best_of}
    return min((name for name in values if values[name] is not None), key=lambda n: values[n] or 0.0, default=None)


def _chosen(survey: Survey, layout: Layout, evidence: Evidence, row: str) -> str:
    best = _winner(survey, evidence, row, layout.metric)
    heading = next((column.heading for column in layout.columns if column.name == best), "not finished")
    return f"{survey.published.rows[row].get('language') or row}, ours: {heading}."


def _entry(cell: Cell | None, metric: str) -> Entry:
    if cell is None:
        return Entry(state="…")
    finished = [result.metrics[f"test_{metric}"] for result in cell.results if result.status == "finished"]
    if not finished:
        statuses = {result.status for result in cell.results}
        return Entry(state=next((s for s in ("failed", "stopped") if s in statuses), "…"), cell=cell)
    significant = cell.adjusted is not None and cell.adjusted < SIGNIFICANT
    return Entry(sum(finished) / len(finished), significant=significant, cell=cell)


def _best(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """With those marked that are the smallest as they are printed."""
    values = [float(entry.number) for entry in entries if entry.value is not None]
    return tuple(replace(e, best=e.value is not None and float(e.number) == min(values)) for e in entries)


def _minus(ours: float | None, theirs: float | None) -> float | None:
    return None if ours is None or theirs is None else ours - theirs


def _comparable(reasons: Sequence[str]) -> str:
    if not reasons:
        return "yes"
    return "no: a" if len(reasons) == 1 else f"no: a–{letter(len(reasons) - 1)}"


def letter(index: int) -> str:
    """What a reason is called."""
    return chr(ord("a") + index)


def _legend(layout: Layout, evidence: Evidence) -> list[str]:
    """What the marks mean that stand in the table, and what the seeds say together."""
    lines = [*_repetitions(layout, evidence), *_intervals(evidence), *_without_interval(evidence)]
    family = sum(cell.adjusted is not None for cell in evidence.cells.values())
    if family:
        heading = next(column.heading for column in layout.columns if column.name == layout.baseline)
        lines.append(
            f"†: differs from {heading}, by a paired permutation test at 5 %, Holm-adjusted over {family} comparisons. "
            "Like the intervals it is of these trained models, not of others with other seeds."
        )
    return lines + _over_seeds(layout, evidence.over_seeds)


def _repetitions(layout: Layout, evidence: Evidence) -> list[str]:
    """Which seeds the numbers are of, and which of the numbers lack some."""
    finished = {place: cell.repetitions for place, cell in evidence.cells.items() if cell.repetitions}
    everything = sorted(set(chain(*finished.values())) - {None}, key=in_order)
    if not everything:
        return []
    headings = {column.name: column.heading for column in layout.columns}
    names = {row: layout.published.rows.get(row, {}).get("language") or row for row, _ in finished}
    lacking = [
        f"{names[row]}, {headings[column]} ({_listed(found)})"
        for (row, column), found in finished.items()
        if len(found) < len(everything)
    ]
    doubled = [
        f"{names[row]}, {headings[column]}"
        for (row, column), cell in evidence.cells.items()
        if len(cell.finished) > len(cell.repetitions)
    ]
    text = f"{layout.repetition.capitalize()}{'s' if len(everything) > 1 else ''}: {_listed(everything)}."
    if doubled:
        more = f" and {len(doubled) - SHOWN} more" if len(doubled) > SHOWN else ""
        text += f" Means of unlike trials of one {layout.repetition}: {'; '.join(doubled[:SHOWN])}{more}."
    if lacking:
        more = f" and {len(lacking) - SHOWN} more" if len(lacking) > SHOWN else ""
        text += f" Not all of them: {'; '.join(lacking[:SHOWN])}{more}. Two cells are compared over those of both."
    return [text]


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(map(str, values))


def _without_interval(evidence: Evidence) -> list[str]:
    """Where transcripts are missing, which other cells have."""
    finished = [cell for cell in evidence.cells.values() if cell.repetitions]
    lacking = sum(cell.interval is None for cell in finished)
    if lacking in (0, len(finished)):
        return []
    return [f"No interval: {lacking} of {len(finished)} cells, whose trials kept no transcripts, or unlike ones."]


def _intervals(evidence: Evidence) -> list[str]:
    cells = [cell for cell in evidence.cells.values() if cell.interval]
    units = sorted({f"{cell.counts.unit}s" for cell in cells if cell.counts})
    text = (
        "±: half of the 95 % interval, [ ]: its ends; "
        f"expanded percentiles of a bootstrap over {' or '.join(units)}, {REPLICATIONS} times."
    )
    return [text] if units else []


def _over_seeds(layout: Layout, found: Mapping[tuple[str, str], OverSeeds]) -> list[str]:
    headings = {column.name: column.heading for column in layout.columns}
    lines = [
        f"{headings[name]} against {headings[other]}, over {over.pairs} pairs of rows and seeds: "
        f"{over.mean:+.2f} points (deviation {over.deviation:.2f}), {_p(over.p)}.".replace("-", "−")
        for (name, other), over in found.items()
    ]
    several = f"; the {len(lines)} p-values are not adjusted for their number" if len(lines) > 1 else ""
    # benchmarks/seeds.py: how often each of them finds what is not there, and both.
    told = f"Over seeds the test split is taken as it is, for † the models are: believe what both find{several}."
    return [*lines, told] if lines else []


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
