"""The notes under a table: what its marks mean, which seeds its numbers are of, and what the seeds say together."""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from orchestrator.results.evidence import Cell, Evidence, in_order
from orchestrator.results.statistics import REPLICATIONS
from orchestrator.study.table import Table

SHOWN = 4
"""Cells that a note names."""


def legend(table: Table, evidence: Evidence, shown: Sequence[Cell]) -> list[str]:
    """The notes in their order. `shown` are the cells that stand in the table, those chosen from others too."""
    lines = [*_repetitions(table, evidence), *_intervals(shown), *_without_interval(evidence)]
    family = sum(cell.adjusted is not None for cell in evidence.cells.values())
    if family:
        lines.append(
            f"†: differs from {table.title_of(table.baseline)}, by a paired permutation test at 5 %, Holm-adjusted "
            f"over {family} comparisons. Like the intervals it is of these trained models, not of others with other "
            f"{_repetition(table)}s."
        )
    return lines + _over_seeds(table, evidence)


def _repetition(table: Table) -> str:
    return table.repetition.rpartition(".")[2]


def _repetitions(table: Table, evidence: Evidence) -> list[str]:
    """The seeds that the numbers are means over, and which of the numbers lack some."""
    finished = {place: cell.repetitions for place, cell in evidence.cells.items() if cell.repetitions}
    everything = sorted(set(chain(*finished.values())) - {None}, key=in_order)
    if not everything:
        return []
    headings = {column.name: column.title for column in table.columns}
    names = {(row, column): f"{table.label(row)}, {headings[column]}" for row, column in evidence.cells}
    lacking = [
        f"{names[place]} ({_listed(found)})" for place, found in finished.items() if len(found) < len(everything)
    ]
    doubled = [names[place] for place, cell in evidence.cells.items() if len(cell.finished) > len(cell.repetitions)]
    repetition = _repetition(table)
    text = f"{repetition.capitalize()}{'s' if len(everything) > 1 else ''}: {_listed(everything)}."
    if doubled:
        text += f" Means of unlike trials of one {repetition}: {_some(doubled)}."
    if lacking:
        text += f" Not all of them: {_some(lacking)}. Two cells are compared over those of both."
    return [text]


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(map(str, values))


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{'; '.join(names[:SHOWN])}{more}"


def _without_interval(evidence: Evidence) -> list[str]:
    """Where transcripts are missing, which other cells of the same value have."""
    counted = {cell.value.name for cell in evidence.cells.values() if cell.interval}
    finished = [cell for cell in evidence.cells.values() if cell.repetitions and cell.value.name in counted]
    lacking = sum(cell.interval is None for cell in finished)
    if lacking in (0, len(finished)):
        return []
    return [f"No interval: {lacking} of {len(finished)} cells, whose trials kept no transcripts, or unlike ones."]


def _intervals(cells: Sequence[Cell]) -> list[str]:
    units = sorted({f"{cell.counts.unit}s" for cell in cells if cell.counts and cell.interval})
    text = (
        "±: half of the 95 % interval, [ ]: its ends; "
        f"expanded percentiles of a bootstrap over {' or '.join(units)}, {REPLICATIONS} times."
    )
    return [text] if units else []


def _over_seeds(table: Table, evidence: Evidence) -> list[str]:
    others, repetition = ("rows" if table.compared == "columns" else "columns"), _repetition(table)
    lines = []
    for (name, other), over in evidence.over_seeds.items():
        pairs = f"over {over.pairs} pairs of {others} and {repetition}s"
        found = f"{over.mean:+.2f} {table.value.difference} (deviation {over.deviation:.2f})".replace("-", "−")
        lines.append(f"{table.title_of(name)} against {table.title_of(other)}, {pairs}: {found}, {_p(over.p)}.")
    several = f"; the {len(lines)} p-values are not adjusted for their number" if len(lines) > 1 else ""
    # benchmarks/seeds.py: how often each of them finds what is not there, and both.
    told = (
        f"Over {repetition}s the test split is taken as it is, for † the models are: believe what both find{several}."
    )
    return [*lines, told] if lines else []


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
