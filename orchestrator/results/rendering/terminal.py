"""A table on the terminal, in 80 columns and in several parts where it has too many."""

from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from orchestrator.results.sheet import Entry, Sheet, SheetRow

LABELS = 2
"""Columns that are no results: the rows' labels, and whose the numbers are."""
GAP = 3
"""Spaces between two columns."""


def show(table: Sheet, console: Console) -> None:
    """Print it, its notes, why it is not comparable with the paper's, and an empty line."""
    lines = [line for group, rows in table.groups for line in _group(table, group, rows)]
    _align(lines)
    headings = ["", "", *table.headings]
    widths = [
        max(len(part) for text in (heading, *(line[i].plain for line, _ in lines)) for part in text.split("\n"))
        for i, heading in enumerate(headings)
    ]
    for number, part in enumerate(_parts(widths, console.width)):
        # Not as the grid's own title, which is no wider than a narrow grid.
        console.print(Text(table.title if number == 0 else "the same, further columns", "italic"))
        grid = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for i in part:
            grid.add_column(headings[i], justify="left" if i < LABELS else "right", no_wrap=True)
        for line, style in lines:
            grid.add_row(*(line[i] for i in part), style=style)
        console.print(grid)
        console.print()
    notes = list(table.notes)
    if table.reasons and table.compared:
        notes.append("Not comparable with the paper's numbers:")
        notes += [f"- {reason}" for reason in table.reasons]
    for note in notes:
        console.print(Padding(Text(note, "dim"), (0, 0, 0, 2)))
    console.print()


def _parts(widths: list[int], width: int) -> list[list[int]]:
    """Indices of the columns of each part: the labels, and as many results as fit."""
    labels, parts = list(range(LABELS)), []
    room = width - sum(widths[i] + GAP for i in labels)
    here: list[int] = []
    for i in range(LABELS, len(widths)):
        if here and sum(widths[j] + GAP for j in [*here, i]) - GAP > room:
            parts.append(labels + here)
            here = []
        here.append(i)
    return [*parts, labels + here]


def _group(table: Sheet, group: str, rows: list[SheetRow]) -> list[tuple[list[Text], str]]:
    """Lines of cells, each with its style."""
    blank = ["" for _ in rows[0].lines[0].entries]
    label = f"{group}{table.source}" if rows[0].group else group
    lines = [(_texts(label, "", map(Text, blank)), "italic")] if group else []
    return lines + [line for row in rows for line in _row(row)]


def _row(row: SheetRow) -> list[tuple[list[Text], str]]:
    lines = []
    for label, line in zip(row.labels, row.lines, strict=True):
        style = "dim" if line.whose == "paper" else ""
        lines.append((_texts(label, line.whose, map(_number, line.entries)), style))
        for whose, texts in (
            ("±", [entry.spread.removeprefix("± ") for entry in line.entries]),
            ("done", [entry.part for entry in line.entries]),
            ("diff.", [entry.distance for entry in line.entries]),
        ):
            if any(texts):
                lines.append((_texts("", whose, map(Text, texts)), "dim"))
    return lines


def _align(lines: list[tuple[list[Text], str]]) -> None:
    """Make room for a dagger after all numbers of a column that has one."""
    for column in zip(*(texts for texts, _ in lines), strict=True):
        if any(text.plain.endswith("†") for text in column):
            for text in column:
                text.append("" if text.plain.endswith("†") else " ")


def _texts(name: str, whose: str, results: Iterable[Text]) -> list[Text]:
    return [Text(name), Text(whose), *results]


def _number(entry: Entry) -> Text:
    return Text(entry.number + ("†" if entry.significant else ""), "bold" if entry.best else "")
