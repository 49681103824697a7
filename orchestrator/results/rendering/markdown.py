"""A table as Markdown: what MLflow and a README show."""

import re
from itertools import compress

from orchestrator.results.sheet import Entry, Line, Sheet, SheetRow, letter


def markdown(table: Sheet, *, spread: bool = True) -> str:
    """A heading, a pipe table with the best of each line in bold, and the notes."""
    labels = list(compress(map(escaped, table.stub), table.labelled))
    headings = [*labels, *map(escaped, table.headings), *(["comparable?"] if table.compared else [])]
    rule = ["---"] * len(labels) + ["---:"] * len(table.headings) + ["---"] * table.compared
    lines = [headings, rule]
    for group, rows in table.groups:
        for i, row in enumerate(rows):
            lines += _lines(row, group if i == 0 else "", table, spread)
    text = "".join("| " + " | ".join(line) + " |\n" for line in lines)
    return f"# {escaped(table.title)}\n\n{text}\n{_notes(table)}"


def _lines(row: SheetRow, group: str, table: Sheet, spread: bool) -> list[list[str]]:
    labels = row.labels
    return [
        [
            *compress([escaped(group) if i == 0 else "", escaped(labels[i]), line.whose], table.labelled),
            *(_entry(entry, line, spread) for entry in line.entries),
            *([line.comparable] if table.compared else []),
        ]
        for i, line in enumerate(row.lines)
    ]


def _entry(entry: Entry, line: Line, spread: bool) -> str:
    number = f"**{entry.number}**" if entry.best else escaped(entry.number)
    parts = [number + ("†" if entry.significant else "")]
    if spread and entry.spread:
        parts.append(entry.spread)
    if entry.part:
        parts.append(f"({entry.part})")
    if entry.distance:
        parts.append(f"({entry.distance})")
    return " ".join(parts)


def _notes(table: Sheet) -> str:
    notes = [f"- {escaped(note)}\n" for note in table.notes]
    if table.subtracted:
        notes.append("- In parentheses: ours minus the paper's.\n")
    if table.reasons and table.compared:
        notes.append("- Not comparable with the paper's numbers:\n")
        notes += [f"  - {letter(i)}: {escaped(reason)}\n" for i, reason in enumerate(table.reasons)]
    return "".join(notes)


def escaped(text: str) -> str:
    """Text that Markdown takes literally, in a table too; `<` so that a browser does as well."""
    return re.sub(r"([\\`*_\[\]|~$#])", r"\\\1", text).replace("&", "&amp;").replace("<", "&lt;").replace("\n", " ")
