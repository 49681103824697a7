"""A table as CSV: figures for whoever goes on with them."""

import csv
import io
from collections.abc import Sequence

from orchestrator.results.sheet import Entry, Sheet, SheetRow
from orchestrator.study.table import DIVERGED, Number

DETAILS = ("low", "high", "difference", "p", "finished")


def comma_separated(table: Sheet) -> str:
    """A row per row of the table: ours under the columns' names, the paper's under `paper_` names, then details.

    Before them stands what is said beside the row. Where ours and the paper's share a line, ours alone have details.
    `_low` and `_high` are the ends of the 95 % interval; `_difference` is against the baseline, `_p` its Holm-adjusted
    p-value; `_finished` is the number of trials in the cell.
    """
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    columns, apart = table.columns, table.labelled[2]
    measured = [i for i in range(len(columns)) if apart or any(_of(row)[i].cell for row in table.rows)]
    paper = [f"paper_{name}" for name in columns] if apart else []
    details = [f"{columns[i]}_{detail}" for i in measured for detail in DETAILS]
    writer.writerow([table.key, *table.facts, *columns, *paper, *details, "comparable", "data"])
    for row in table.rows:
        writer.writerow(_row(row, table, measured))
    return sink.getvalue()


def _of(row: SheetRow, whose: Sequence[str] = ("ours", "")) -> Sequence[Entry]:
    blank = (Entry(),) * len(row.lines[0].entries)
    return next((line.entries for line in row.lines if line.whose in whose), blank)


def _row(row: SheetRow, table: Sheet, measured: Sequence[int]) -> list[Number]:
    entries = _of(row)
    paper = _of(row, ("paper",)) if table.labelled[2] else ()
    reasons = "; ".join(table.reasons)
    comparable = next((line.comparable for line in row.lines if line.comparable), "")
    return [
        row.name,
        *row.facts,
        *map(_number, entries),
        *map(_number, paper),
        *(value for i in measured for value in _details(entries[i])),
        {"": "", "yes": "yes"}.get(comparable, f"no: {reasons}"),
        table.data,
    ]


def _number(entry: Entry) -> Number:
    return DIVERGED if entry.state == DIVERGED else _rounded(entry.value, entry)


def _details(entry: Entry) -> list[Number]:
    cell = entry.cell
    if cell is None:
        return [None] * len(DETAILS)
    finished = sum(result.status == "finished" for result in cell.results)
    low, high = cell.interval or (None, None)
    difference = cell.comparison.difference if cell.comparison else None
    p = None if cell.adjusted is None else float(f"{cell.adjusted:.4g}")
    return [_rounded(low, entry), _rounded(high, entry), _rounded(difference, entry), p, finished]


def _rounded(value: float | None, entry: Entry) -> float | None:
    return None if value is None else round(value, entry.digits)
