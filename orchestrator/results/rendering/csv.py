"""A table as CSV: figures for whoever goes on with them."""

import csv
import io
from collections.abc import Sequence

from orchestrator.results.tables import Entry, Row, Table
from orchestrator.study.layout import INFO

DETAILS = ("low", "high", "difference", "p", "finished")


def comma(table: Table) -> str:
    """A row per row of the table: ours under the columns' names, the paper's under `paper_` names, then details.

    `hours` are those of the speech that we trained on.
    Where the columns are systems, ours is one of them, and it alone has details.
    `_low` and `_high` are the ends of the 95 % interval; `_difference` is against the baseline in points, `_p` its
    Holm-adjusted p-value; `_finished` is the number of trials in the cell.
    """
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    columns = table.columns
    ours = [
        i for i in range(len(columns)) if _two_lines(table) or any(row.lines[0].entries[i].cell for row in table.rows)
    ]
    paper = [f"paper_{name}" for name in columns] if _two_lines(table) else []
    details = [f"{columns[i]}_{detail}" for i in ours for detail in DETAILS]
    language, *facts = INFO
    heads = ["locale", language, "hours", *(f"paper_{name}" for name in facts)]
    writer.writerow([*heads, *columns, *paper, *details, "comparable", "data"])
    for row in table.rows:
        writer.writerow(_row(row, table, ours))
    return sink.getvalue()


def _two_lines(table: Table) -> bool:
    """Whether a row has a line of ours and one of the paper's."""
    return table.labelled[2]


def _row(row: Row, table: Table, ours: Sequence[int]) -> list[str | float | None]:
    entries = row.lines[0].entries
    paper = row.lines[1].entries if len(row.lines) > 1 else (Entry(),) * len(entries)
    reasons = "; ".join(table.reasons)
    language, *facts = row.info
    comparable = next((line.comparable for line in row.lines if line.comparable), "")
    return [
        row.name,
        language,
        _rounded(row.hours),
        *facts,
        *(_rounded(entry.value) for entry in entries),
        *(_rounded(entry.value) for entry in paper if _two_lines(table)),
        *(value for i in ours for value in _details(entries[i])),
        {"": "", "yes": "yes"}.get(comparable, f"no: {reasons}"),
        table.data,
    ]


def _details(entry: Entry) -> list[float | None]:
    cell = entry.cell
    if cell is None:
        return [None] * len(DETAILS)
    finished = sum(result.status == "finished" for result in cell.results)
    interval = cell.interval or (None, None)
    difference = cell.comparison.difference if cell.comparison else None
    p = None if cell.adjusted is None else float(f"{cell.adjusted:.4g}")
    return [*map(_rounded, interval), _rounded(difference), p, finished]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
