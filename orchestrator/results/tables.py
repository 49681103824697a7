"""A study's tables from its evidence, with the published numbers beside ours: one source for every form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from orchestrator.results.evidence import Cell, Evidence
from orchestrator.results.notes import legend
from orchestrator.results.report.audit import Audit, audits
from orchestrator.study.stored_study import Study
from orchestrator.study.table import DIVERGED, Column, Fact, Number, Row, Table
from orchestrator.study.value import Value

SIGNIFICANT = 0.05
"""Family-wise, two-sided."""


@dataclass(frozen=True)
class Entry:
    """One place of a table: a number, or why there is none."""

    value: float | None = None
    state: str = ""
    """Instead of a number: `…`, `stopped`, `failed` or `×`, or that the result has no such value."""
    best: bool = False
    """None of those that it is compared with is better, as they are printed."""
    significant: bool = False
    """Different from the baseline."""
    beside: float | None = None
    """Ours minus this."""
    cell: Cell | None = None
    """What ours is made of."""
    shows: Value | None = None
    """What is shown here."""
    digits: int = 2
    """The decimals that are shown: as many as it was published with."""

    @property
    def number(self) -> str:
        """The number as it is printed, or the state."""
        return self.state if self.value is None else f"{self.value:.{self.digits}f}"

    @property
    def spread(self) -> str:
        """Half the width of the 95 % interval."""
        interval = self.cell.interval if self.cell and self.value is not None else None
        return "" if interval is None else f"± {(interval.high - interval.low) / 2:.{self.digits}f}"

    @property
    def range(self) -> str:
        """The 95 % interval."""
        interval = self.cell.interval if self.cell and self.value is not None else None
        return "" if interval is None else f"[{interval.low:.{self.digits}f}, {interval.high:.{self.digits}f}]"

    @property
    def part(self) -> str:
        """How many of the cell's trials its number is of, where some are missing or have not converged."""
        if self.cell is None or (self.value is None and self.state != DIVERGED):
            return ""
        trials, finished = len(self.cell.trials), sum(result.status == "finished" for result in self.cell.results)
        wrong = self.cell.diverged
        missing = [] if finished == trials else [f"{finished} of {trials}"]
        return ", ".join(missing + ([f"{DIVERGED} {wrong} of {finished}"] if wrong and finished > 1 else []))

    @property
    def distance(self) -> str:
        """Ours minus this, with its sign."""
        return "" if self.beside is None else f"{self.beside:+.{self.digits}f}".replace("-", "−")


@dataclass(frozen=True)
class Line:
    """One line of entries."""

    whose: str
    """`ours` or `paper`; empty where a line has numbers of both."""
    entries: tuple[Entry, ...]
    comparable: str = ""
    size: str = ""
    """What these numbers come from, such as `1 h, 14.9 GB`; empty where that is not known."""


@dataclass(frozen=True)
class SheetRow:
    """A row of a table as a reader sees it: its lines under one label."""

    name: str
    label: str
    group: str
    facts: tuple[Number, ...]
    """What is said beside it, as the CSV has it."""
    lines: tuple[Line, ...]

    @property
    def labels(self) -> list[str]:
        """What stands before each line: the label before the first, and the size of each."""
        first, *others = self.lines
        return [", ".join(filter(None, (self.label, first.size))), *(line.size for line in others)]


@dataclass(frozen=True)
class Sheet:
    """A table as a reader sees it; every form is made of nothing else."""

    name: str
    title: str
    columns: tuple[str, ...]
    """Names, as the CSV has them."""
    headings: tuple[str, ...]
    rows: tuple[SheetRow, ...]
    notes: tuple[str, ...]
    reasons: tuple[str, ...]
    """Why ours and the paper's are not comparable."""
    data: str
    facts: tuple[str, ...] = ()
    """Names of what is said beside the rows."""
    key: str = "row"
    """What the rows' names are."""
    heading: str = ""
    """What the rows' labels are."""
    group_heading: str = ""
    source: str = ""
    """Stands behind what the groups are called, where they are the paper's."""

    @property
    def groups(self) -> list[tuple[str, list[SheetRow]]]:
        """Rows that follow each other in one group; where some have one, the rest are `other`."""
        rest = "other" if any(row.group for row in self.rows) else ""
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
        """Whether rows have a group, a label, and lines that say whose they are."""
        return (
            any(row.group for row in self.rows),
            True,
            any(line.whose for row in self.rows for line in row.lines),
        )

    @property
    def stub(self) -> tuple[str, str, str]:
        """The headings of these three."""
        return f"{self.group_heading}{self.source}", self.heading, ""


def sheets(study: Study, evidences: Mapping[str, Evidence]) -> tuple[Sheet, ...]:
    """The tables that there is something to say in, in their order, and the first in any case.

    `evidences` are by the names of the tables.
    """
    first, *others = study.layout.tables
    measured = [t for t in others if any(row.where is not None for row in t.shown(study.trials))]
    return tuple(sheet(study, table, evidences) for table in (first, *measured))


def sheet(study: Study, table: Table, evidences: Mapping[str, Evidence]) -> Sheet:
    """One of them."""
    shown, head = table.shown(study.trials), table.head
    kept, choices = {audit.row: audit for audit in audits(study, table)}, _choices(study, table, shown, evidences)
    rows = _marked(table, [_row(study, table, row, kept.get(row.name), evidences, choices) for row in shown])
    cells = [entry.cell for row in rows for line in row.lines for entry in line.entries if entry.cell]
    told = f"{table.title}, {'ours: ' if table.mixed else ''}{table.data}" if table.data else table.title
    return Sheet(
        table.name,
        told,
        tuple(column.name for column in table.columns),
        tuple(column.heading for column in table.columns),
        rows,
        (
            *table.notes,
            *legend(table, evidences[table.name], cells),
            *(c.told for c in choices.values()),
            *_made(table),
        ),
        tuple(table.reasons),
        table.data,
        tuple(fact.name for fact in head.facts),
        table.published.key,
        head.heading or (table.rows.rpartition(".")[2] if isinstance(table.rows, str) else ""),
        head.group_heading,
        " (paper)" if head.group else "",
    )


@dataclass(frozen=True)
class Chosen:
    """What a choice came to in one cell."""

    entry: Entry
    told: str


def _choices(
    study: Study, table: Table, shown: Sequence[Row], evidences: Mapping[str, Evidence]
) -> dict[tuple[str, str], Chosen]:
    found = {}
    for row in shown:
        for column in table.columns:
            if choice := column.choice or row.choice:
                source = study.layout.table(choice.table or table.name)
                other = row.name if column.choice else column.name
                cells = {name: evidences[source.name].cells.get(source.turned(name, other)) for name in choice.among}
                means = {
                    name: mean for name, cell in cells.items() if cell and (mean := cell.mean(choice.by)) is not None
                }
                best = (max if choice.by.better == "larger" else min)(means, key=lambda name: means[name], default=None)
                entry = _entry(None if best is None else cells[best])
                what = source.title_of(best) if best is not None else "not finished"
                place = f"{table.label(row.name)}, {column.title}: {what}."
                found[row.name, column.name] = Chosen(replace(entry, significant=False), place)
    return found


def _made(table: Table) -> list[str]:
    """How choices were made."""
    choices = [part.choice for part in (*table.columns, *table.listed) if part.choice]
    return list(dict.fromkeys(c.note or f"The best is chosen by {c.by.spoken}." for c in choices))


def _row(
    study: Study,
    table: Table,
    row: Row,
    audit: Audit | None,
    evidences: Mapping[str, Evidence],
    choices: Mapping[tuple[str, str], Chosen],
) -> SheetRow:
    facts = {fact.name: _fact(table, row, fact, audit) for fact in table.head.facts}
    comparable, published = (
        _comparable(table.reasons),
        any(table.published.has(row.name, c.name) for c in table.columns),
    )
    cells = evidences[table.name].cells
    paper = [_published(table, row, column) for column in table.columns]
    ours = [
        (theirs if table.mixed else Entry())
        if column.where is None or row.where is None
        else choices[row.name, column.name].entry
        if (row.name, column.name) in choices
        else _entry(cells.get((row.name, column.name)))
        for column, theirs in zip(table.columns, paper, strict=True)
    ]
    lines = []
    if table.mixed:
        lines = [Line("", tuple(ours), comparable, _size(table.head.ours, facts))]
    elif row.where is not None:
        lines = [Line("ours", tuple(ours), size=_size(table.head.ours, facts))]
    if not table.mixed and (published or not lines):
        beside = [replace(p, beside=_minus(o.value, p.value)) for o, p in zip(ours, paper, strict=True)]
        lines.append(Line("paper", tuple(beside), comparable, _size(table.head.paper, facts)))
    group = row.group or str(facts.get(table.head.group) or "")
    return SheetRow(row.name, table.label(row.name), group, tuple(facts.values()), tuple(lines))


def _fact(table: Table, row: Row, fact: Fact, audit: Audit | None) -> Number:
    if fact.published:
        return table.published.fact(row.name, fact.published)
    number = audit.number(fact.audit) if audit and fact.audit else None
    return None if number is None else round(number / fact.per, 2)


def _size(text: str, facts: Mapping[str, Number]) -> str:
    try:
        return text.format(**{name: value for name, value in facts.items() if value is not None})
    except (KeyError, ValueError):  # something is not known, or no number
        return ""


def _published(table: Table, row: Row, column: Column) -> Entry:
    number, shows = table.published.number(row.name, column.name), table.value_at(row.name, column.name)
    state = DIVERGED if table.published.has(row.name, column.name) and number is None else ""
    digits = table.published.digits(column.name) if column.where is None else shows.digits
    return Entry(number, state, shows=shows, digits=digits)


def _entry(cell: Cell | None) -> Entry:
    if cell is None:
        return Entry(state="…")
    value, statuses = cell.value, [result.status for result in cell.results]
    entry = Entry(cell=cell, shows=value, digits=value.digits)
    if "finished" not in statuses:
        return replace(entry, state=next((s for s in ("failed", "stopped") if s in statuses), "…"))
    if 2 * cell.diverged > statuses.count("finished"):
        return replace(entry, state=DIVERGED)
    if (mean := cell.mean()) is None:
        return replace(entry, state=f"no {value.name}")
    return replace(entry, value=mean, significant=cell.adjusted is not None and cell.adjusted < SIGNIFICANT)


def _marked(table: Table, rows: Sequence[SheetRow]) -> tuple[SheetRow, ...]:
    """With those entries marked that are the best as they are printed, of those that they are compared with."""
    found: dict[tuple[object, ...], list[Entry]] = {}

    def family(row: SheetRow, line: Line, column: int) -> tuple[object, ...]:
        shows = line.entries[column].shows
        beside = (row.name,) if table.compared == "columns" else (row.group, column)
        return (*beside, line.whose, shows and shows.name)

    for row in rows:
        for line in row.lines:
            for i, entry in enumerate(line.entries):
                if entry.value is not None and entry.shows and entry.shows.better:
                    found.setdefault(family(row, line, i), []).append(entry)
    best = {
        key: (max if entries[0].shows and entries[0].shows.better == "larger" else min)(
            float(e.number) for e in entries
        )
        for key, entries in found.items()
    }

    def marked(row: SheetRow, line: Line) -> Line:
        entries = [
            replace(entry, best=entry.value is not None and best.get(family(row, line, i)) == float(entry.number))
            for i, entry in enumerate(line.entries)
        ]
        return replace(line, entries=tuple(entries))

    return tuple(replace(row, lines=tuple(marked(row, line) for line in row.lines)) for row in rows)


def _minus(ours: float | None, theirs: float | None) -> float | None:
    return None if ours is None or theirs is None else ours - theirs


def _comparable(reasons: Sequence[str]) -> str:
    if not reasons:
        return "yes"
    return "no: a" if len(reasons) == 1 else f"no: a–{letter(len(reasons) - 1)}"


def letter(index: int) -> str:
    """The letter that a reason is called by."""
    return chr(ord("a") + index)
