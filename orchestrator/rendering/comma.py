"""A table as CSV: figures for whoever goes on with them."""

import csv
import io

from orchestrator.layout import INFO
from orchestrator.tables import Entry, Row, Table

DETAILS = ("low", "high", "difference", "p", "finished")


def comma(table: Table) -> str:
    """A row per row of the table: ours under the columns' names, the paper's under `paper_` names, then details.

    `_low` and `_high` are the ends of the 95 % interval; `_difference` is against the baseline in points, `_p` its
    Holm-adjusted p-value; `_finished` is the number of trials in the cell.
    """
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    columns = table.columns
    details = [f"{name}_{detail}" for name in columns for detail in DETAILS]
    writer.writerow(["locale", *INFO, *columns, *(f"paper_{name}" for name in columns), *details, "comparable", "data"])
    for row in table.rows:
        writer.writerow(_row(row, table))
    return sink.getvalue()


def _row(row: Row, table: Table) -> list[str | float | None]:
    ours = row.lines[0].entries
    paper = row.lines[1].entries if len(row.lines) > 1 else (Entry(),) * len(ours)
    reasons = "; ".join(table.reasons)
    comparable = next((line.comparable for line in row.lines if line.comparable), "")
    return [
        row.name,
        *row.info,
        *(_rounded(entry.value) for entry in ours),
        *(_rounded(entry.value) for entry in paper),
        *(value for entry in ours for value in _details(entry)),
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
