"""A study's figures, as wide as a paper's column, legible in grey and on a phone; equal data give equal bytes."""

import csv
import io
import itertools
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from orchestrator.results.evidence import Cell, Evidence
from orchestrator.study.layout import ByAxis, Curves, Drawn, Profile
from orchestrator.study.ledger import History
from orchestrator.study.stored_study import Study
from orchestrator.study.table import Column, Table
from orchestrator.study.value import Value

WIDTH = 3.4
"""Inches: a column of a two-column paper. A phone shows it whole."""
STYLE: dict[Any, Any] = {
    "font.size": 7, "axes.titlesize": 7, "figure.labelsize": 7, "axes.linewidth": 0.6, "lines.linewidth": 1.0,
    "lines.markersize": 3.2, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    "legend.handlelength": 3.2, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "grid.linewidth": 0.4,
    "grid.color": "0.85", "axes.axisbelow": True, "svg.hashsalt": "distill-l2s", "figure.dpi": 200, "savefig.dpi": 200,
    "text.parse_math": False,
}  # fmt: skip
LINES = (
    # Okabe and Ito's colours; in grey, the dashes and the markers tell the lines apart.
    ("#000000", "-", "o"), ("#0072B2", "--", "s"), ("#D55E00", "-.", "^"), ("#009E73", ":", "D"),
    ("#CC79A7", (0, (5, 1, 1, 1, 1, 1)), "v"), ("#56B4E9", (0, (7, 2)), "P"), ("#E69F00", (0, (1, 2)), "X"),
)  # fmt: skip
PANELS = 3
"""Side by side, at most."""
FAR_APART = 3.0
"""Times that a curve's highest rate is its lowest, from which on the axis is logarithmic; below it has few labels."""


def draw(study: Study, evidences: Mapping[str, Evidence]) -> tuple[dict[str, bytes], list[str]]:
    """All figures that the results so far suffice for, as PNG and SVG by file name; and why others are not drawn.

    The numbers of a profile, which no table shows, come as CSV too. `evidences` are by the names of the study's tables.
    """
    figures, numbers, undrawn = {}, {}, []
    for data in study.layout.figures:
        table, evidence = study.layout.table(data.table), evidences[data.table]
        match data:
            case ByAxis():
                figures[data.name] = by_axis(data, table, evidence)
            case Curves():
                shown: dict[frozenset[str], str] = {}  # columns that are test sets have the same trials
                for other in others(table, evidence):
                    trials = [t.signature for cell in family(table, evidence, other).values() for t in cell.trials]
                    shown.setdefault(frozenset(trials), other)
                for other in shown.values():
                    figures[f"{data.name}_{other}"] = curves(data, table, other, evidence, study.histories)
            case Profile():
                if (figure := profile(data, table, evidence)) is not None:
                    figures[data.name] = figure
                    numbers[f"{data.name}.csv"] = profile_as_csv(data, table, evidence)
            case Drawn():
                try:
                    function = data.load()
                except ValueError as error:  # the tables are there all the same
                    undrawn.append(str(error))
                else:
                    figures[data.name] = function(table, evidence, study.ledger)
    drawn = {
        f"{name}.{suffix}": rendered(figure, suffix)
        for name, figure in figures.items()
        if figure is not None
        for suffix in ("png", "svg")
    }
    return drawn | numbers, undrawn


def rendered(figure: Figure, suffix: str) -> bytes:
    """A figure as `png` or `svg`, without a date or a version in it."""
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format=suffix, metadata={"Date": None} if suffix == "svg" else {"Software": None})
    return buffer.getvalue()


def by_axis(data: ByAxis, table: Table, evidence: Evidence) -> Figure | None:
    """A panel for each row, with a line for each kind of column that differs in the axis; None where nothing is there.

    The baseline belongs to each line that has none of its own at the baseline's place.
    """
    lines = _lines(data, table)
    drawn = {
        other: {label: _points(data, family(table, evidence, other), columns) for label, columns in lines.items()}
        for other in others(table, evidence)
    }
    drawn = {other: found for other, found in drawn.items() if any(found.values())}
    if not drawn:
        return None
    ticks = sorted({_at(data, column) for columns in lines.values() for column in columns})
    with style():
        figure, panels = _panels(len(drawn), 2 if len(lines) > 1 else PANELS)
        for panel, (other, found) in zip(panels, drawn.items(), strict=True):
            for i, (label, points) in enumerate(found.items()):
                colour, dashes, marker = LINES[i % len(LINES)]
                beside = 0.12 * (i - (len(found) - 1) / 2)  # so that intervals do not hide each other
                panel.errorbar(
                    [ticks.index(tick) + beside for tick, *_ in points], [number for _, number, *_ in points],
                    yerr=np.array([ends for *_, ends in points]).reshape(-1, 2).T, color=colour, linestyle=dashes,
                    marker=marker, label=label, capsize=1.5, elinewidth=0.6,
                )  # fmt: skip
            panel.set_title(table.other(other), loc="left")
            panel.set_xticks(range(len(ticks)), [f"{tick:g}" for tick in ticks])
            panel.margins(x=0.12)
            panel.grid(axis="y")
        figure.supxlabel(data.label)
        figure.supylabel(f"{_axis(table.value)}, with 95 % intervals")
        if len(lines) > 1:
            legend(figure, panels[0], "outside upper center")
        return settled(figure)


def curves(
    data: Curves, table: Table, other: str, evidence: Evidence, histories: Mapping[str, History]
) -> Figure | None:
    """A reported value by step of each trial of a row, seeds of a column alike; None where nothing is reported."""
    cells = family(table, evidence, other)
    with style():
        figure = Figure(figsize=(WIDTH, 2.4), layout="constrained")
        panel = figure.subplots()
        for part, (colour, dashes, marker) in zip(table.parts, itertools.cycle(LINES), strict=False):
            label: str | None = table.title_of(part.name)
            for trial in cells[part.name].trials if part.name in cells else ():
                points = _curve(histories.get(trial.signature, History()), data.value)
                if points:
                    panel.plot(
                        *zip(*points, strict=True), color=colour, linestyle=dashes, marker=marker, label=label,
                        markevery=max(1, len(points) // 10),
                    )  # fmt: skip
                    label = None
        if not panel.lines:
            return None
        panel.set_title(table.other(other), loc="left")
        panel.set_xlabel("step")
        panel.set_ylabel(data.label or _axis(data.value))
        panel.set_xlim(left=0)
        rates = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in panel.lines])
        if rates.max() > FAR_APART * rates.min() > 0:  # from scratch and fine-tuned
            panel.set_yscale("log")
            panel.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
            panel.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            panel.yaxis.set_minor_formatter(NullFormatter())
        panel.grid(axis="y")
        legend(figure, panel)
        return settled(figure)


def profile(data: Profile, table: Table, evidence: Evidence) -> Figure | None:
    """A panel for each row, with a line for each column, over the axis; None where nothing is there."""
    drawn = _profiles(data, table, evidence)
    if not drawn:
        return None
    names = [part.name for part in table.parts if any(part.name in lines for lines in drawn.values())]
    with style():
        figure, panels = _panels(len(drawn), 2)
        for panel, (other, lines) in zip(panels, drawn.items(), strict=True):
            for (colour, dashes, marker), name in zip(itertools.cycle(LINES), names, strict=False):
                places, numbers = zip(*lines.get(name, [(np.nan, np.nan)]), strict=True)
                panel.plot(
                    places, numbers, color=colour, linestyle=dashes, marker=marker, label=table.title_of(name)
                )  # fmt: skip
            panel.set_title(table.other(other), loc="left")
            panel.xaxis.set_major_locator(MaxNLocator(7, integer=all(float(at).is_integer() for at, _ in data.points)))
            panel.grid(axis="y")
            panel.sharey(panels[0])
        figure.supxlabel(data.axis)
        figure.supylabel(data.label or _axis(data.points[0][1]))
        legend(figure, panels[0], "outside upper center")
        return settled(figure)


def profile_as_csv(data: Profile, table: Table, evidence: Evidence) -> bytes:
    """The numbers of a profile, one a line, with the row and the column of the table and the place on the axis."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(["row", "column", data.axis, data.label or data.points[0][1].title])
    for other, lines in _profiles(data, table, evidence).items():
        for name, points in lines.items():
            writer.writerows((*table.turned(name, other), f"{at:g}", number) for at, number in points)
    return sink.getvalue().encode()


def others(table: Table, evidence: Evidence) -> list[str]:
    """The names of the rows that have trials, in their order; of the columns, where rows are compared."""
    return list(dict.fromkeys(table.turned(*place)[1] for place in evidence.cells))


def family(table: Table, evidence: Evidence, other: str) -> dict[str, Cell]:
    """The cells of such a row by the names of the columns; of such a column by the rows'."""
    places = {part.name: table.turned(part.name, other) for part in table.parts}
    return {name: evidence.cells[place] for name, place in places.items() if place in evidence.cells}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the style of all figures within this block."""
    with matplotlib.rc_context(STYLE):
        yield


def _axis(value: Value) -> str:
    return f"{value.title} ({value.unit})" if value.unit else value.title


def _curve(history: History, value: Value) -> list[tuple[float, float]]:
    """Steps and numbers. The first report of a step is the curve's: the last repeats what was kept, maybe another's."""
    points: dict[float, float] = {}
    for report in history.reports:
        if value.name in report:
            points.setdefault(report["step"], report[value.name])
    return sorted(points.items())


def _at(data: ByAxis, column: Column) -> float:
    return (column.where or {})[data.axis]


def _lines(data: ByAxis, table: Table) -> dict[str, list[Column]]:
    """Columns that differ in the axis alone, by what their headings say before it; each with the baseline, if it lacks
    one at its place."""
    found: dict[str, list[Column]] = {}
    for column in table.parts:
        if data.axis in (where := column.where or {}):
            others = sorted((path, value) for path, value in where.items() if path != data.axis)
            found.setdefault(repr(others), []).append(column)
    baseline = next((c for c in table.parts if c.name == table.baseline and data.axis in (c.where or {})), None)
    lines: dict[str, list[Column]] = {}
    for columns in found.values():
        if baseline and _at(data, baseline) not in {_at(data, column) for column in columns}:
            columns = [baseline, *columns]
        if len(columns) > 1:  # one place of the axis alone is no line
            label = columns[-1].title.partition(data.label)[0].strip() or data.rest
            lines[label] = sorted(columns, key=lambda column: _at(data, column))
    return lines


def _points(
    data: ByAxis, cells: Mapping[str, Cell], columns: Sequence[Column]
) -> list[tuple[float, float, tuple[float, float]]]:
    """Places on the axis, numbers, and how far their intervals reach below and above, of a line's finished cells."""
    found = []
    for column in columns:
        cell = cells.get(column.name)
        if cell and (number := cell.mean()) is not None:
            low, high = cell.interval or (number, number)
            found.append((_at(data, column), number, (max(0.0, number - low), max(0.0, high - number))))
    return found


def _profiles(data: Profile, table: Table, evidence: Evidence) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Places and numbers of each line, by the panel's name and the line's; none without numbers."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for other in others(table, evidence):
        for name, cell in family(table, evidence, other).items():
            numbers = [(at, cell.mean(value)) for at, value in data.points]
            if known := [(at, number) for at, number in numbers if number is not None]:
                found.setdefault(other, {})[name] = known
    return found


def _panels(count: int, most: int) -> tuple[Figure, list[Axes]]:
    across = count if count < 3 else 2 if count <= 4 else most
    down = -(-count // across)
    height = 3.3 / (across + 0.3)
    figure = Figure(figsize=(WIDTH, max(2.2, height * down + 0.4)), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).ravel().tolist()
    for panel in panels[count:]:
        panel.remove()
    return figure, panels[:count]


def legend(figure: Figure, panel: Axes, where: Any = "outside lower center") -> None:
    """Say what the lines of a panel are, outside of it."""
    handles, labels = panel.get_legend_handles_labels()
    # About 66 characters go into a line, of which a handle takes ten.
    columns = min(3, max(1, 66 // (max(map(len, labels)) + 10)))
    labels = [textwrap.fill(label, 56) for label in labels]
    figure.legend(handles, labels, loc=where, ncols=columns)


def settled(figure: Figure) -> Figure:
    """With everything in its place: the layout is found once, not for each file."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure
