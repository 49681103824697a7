"""A study's tables from its evidence, with the published numbers beside ours: one source for every form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.results.evidence import Cell, Evidence
from orchestrator.results.notes import legend
from orchestrator.results.report.audit import Audit, audits
from orchestrator.results.sheet import Entry, Line, Sheet, SheetRow, letter
from orchestrator.study.stored_study import Study
from orchestrator.study.table import DIVERGED, Choice, Column, Fact, Number, Row, Table

SIGNIFICANT = 0.05
"""Family-wise, two-sided."""


def sheets(study: Study, evidences: Mapping[str, Evidence]) -> tuple[Sheet, ...]:
    """The tables that there is something to say in, in their order, and the first in any case.

    `evidences` are by the names of the tables.
    """
    first, *others = study.layout.tables
    measured = [t for t in others if any(row.where is not None for row in t.shown(study.trials))]
    return tuple(sheet(study, table, evidences) for table in (first, *measured))


def sheet(study: Study, table: Table, evidences: Mapping[str, Evidence]) -> Sheet:
    """One table, filled."""
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
        (*table.notes, *legend(table, evidences[table.name], cells), *_told(table, choices)),
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
    """The result of a choice in one cell."""

    entry: Entry
    what: str
    """The name of what was chosen, for a reader."""


def _choices(
    study: Study, table: Table, shown: Sequence[Row], evidences: Mapping[str, Evidence]
) -> dict[tuple[str, str], Chosen]:
    return {
        (row.name, column.name): _chosen(study, table, choice, row.name if column.choice else column.name, evidences)
        for row in shown
        for column in table.columns
        if (choice := column.choice or row.choice)
    }


def _chosen(study: Study, table: Table, choice: Choice, other: str, evidences: Mapping[str, Evidence]) -> Chosen:
    source = study.layout.table(choice.table or table.name)
    cells = {name: evidences[source.name].cells.get(source.turned(name, other)) for name in choice.among}
    means = {
        name: mean
        for name, cell in cells.items()
        if cell and _entry(cell).value is not None and (mean := cell.mean(choice.by)) is not None
    }
    if not means:
        return Chosen(_entry(None), "not finished")
    best = (max if choice.by.better == "larger" else min)(means, key=lambda name: means[name])
    return Chosen(replace(_entry(cells[best]), significant=False), source.title_of(best))


def _told(table: Table, choices: Mapping[tuple[str, str], Chosen]) -> list[str]:
    """Notes on what was chosen in each row, and how."""
    lines = []
    for row in dict.fromkeys(row for row, _ in choices):
        found = {
            column.title: choices[row, column.name].what for column in table.columns if (row, column.name) in choices
        }
        label, same = table.label(row), len(found) > 1 and len(set(found.values())) == 1
        lines += (
            [f"{label}: {next(iter(found.values()))}."] if same else [f"{label}, {c}: {w}." for c, w in found.items()]
        )
    made = [part.choice for part in (*table.columns, *table.listed) if part.choice]
    return [*lines, *dict.fromkeys(choice.note or f"The best is chosen by {choice.by.spoken}." for choice in made)]


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
