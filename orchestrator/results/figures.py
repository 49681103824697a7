"""A study's figures, as wide as a paper's column, legible in grey and on a phone; equal data give equal bytes."""

import io
import itertools
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from orchestrator.results.evidence import Cell, Evidence, utterances
from orchestrator.study.layout import Column, Layout
from orchestrator.study.ledger import History, Ledger
from orchestrator.study.sweep import AnyTrial

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
CLOUDS = (("#009E73", "-", "o", "#009E73"), ("#D55E00", "--", "^", "none"))
"""The paper's green and red, of which the second is hollow."""
PANELS = 3
"""Side by side, at most."""
FAR_APART = 3.0
"""Times that a curve's highest rate is its lowest, from which on the axis is logarithmic; below it has few labels."""
IMPROVED, UNIMPROVED = 10.0, 1.0
"""Percent of relative improvement, of the languages that Figure 2 of Distill-L2S compares."""
POINTS = 400
"""That a group has in Figure 2, at most; its margins count all utterances."""


@dataclass(frozen=True)
class Cloud:
    """Utterances of some languages."""

    label: str
    lengths: NDArray[np.int64]
    """Characters of the references, (utterances,)."""
    densities: NDArray[np.float64]
    """Share of frames whose prediction is not blank, (utterances,)."""


def draw(
    layout: Layout, trials: Sequence[AnyTrial], ledger: Ledger, evidence: Evidence, *, axis: str = "weight"
) -> dict[str, bytes]:
    """All figures that the results so far suffice for, as PNG and SVG by file name.

    `axis` is the field, by dotted path, that λ is.
    """
    histories = ledger.histories([trial.signature for trial in trials])
    figures = {
        f"{layout.metric}_by_{axis.rpartition('.')[2]}": by_weight(layout, evidence, axis),
        "density": density(clouds(layout, evidence, ledger)),
        **{f"curves_{row}": curves(layout, row, evidence, histories) for row in _rows(layout, evidence)},
    }
    return {
        f"{name}.{suffix}": rendered(figure, suffix)
        for name, figure in figures.items()
        if figure is not None
        for suffix in ("png", "svg")
    }


def rendered(figure: Figure, suffix: str) -> bytes:
    """A figure as `png` or `svg`, without a date or a version in it."""
    buffer = io.BytesIO()
    with _style():
        figure.savefig(buffer, format=suffix, metadata={"Date": None} if suffix == "svg" else {"Software": None})
    return buffer.getvalue()


def by_weight(layout: Layout, evidence: Evidence, axis: str) -> Figure | None:
    """The error of each row by λ, with 95 % intervals: a line for each kind of column that has several λ.

    None where nothing is finished. The baseline belongs to each line that has no such λ itself.
    """
    lines = _lines(layout, axis)
    drawn = {
        row: {label: _points(evidence, layout, row, columns, axis) for label, columns in lines.items()}
        for row in _rows(layout, evidence)
    }
    drawn = {row: found for row, found in drawn.items() if any(found.values())}
    if not drawn:
        return None
    names, weights = _names(layout), sorted({c.where[axis] for columns in lines.values() for c in columns})
    with _style():
        figure, panels = _panels(len(drawn), 2 if len(lines) > 1 else PANELS)
        for panel, (row, found) in zip(panels, drawn.items(), strict=True):
            for i, (label, points) in enumerate(found.items()):
                colour, dashes, marker = LINES[i % len(LINES)]
                beside = 0.12 * (i - (len(found) - 1) / 2)  # so that intervals do not hide each other
                panel.errorbar(
                    [weights.index(weight) + beside for weight, *_ in points], [rate for _, rate, *_ in points],
                    yerr=np.array([ends for *_, ends in points]).reshape(-1, 2).T, color=colour, linestyle=dashes,
                    marker=marker, label=label, capsize=1.5, elinewidth=0.6,
                )  # fmt: skip
            panel.set_title(names.get(row, str(row)), loc="left")
            panel.set_xticks(range(len(weights)), [f"{weight:g}" for weight in weights])
            panel.margins(x=0.12)
            panel.grid(axis="y")
        figure.supxlabel("λ")
        figure.supylabel(f"{layout.metric.upper()} (%), with 95 % intervals")
        if len(lines) > 1:
            _legend(figure, panels[0], "outside upper center")
        return _settled(figure)


def curves(layout: Layout, row: Any, evidence: Evidence, histories: Mapping[str, History]) -> Figure | None:
    """The validation error by step of each trial of a row, seeds of a column alike; None where nothing is reported."""
    metric = f"valid_{layout.metric}"
    with _style():
        figure = Figure(figsize=(WIDTH, 2.4), layout="constrained")
        panel = figure.subplots()
        for column, (colour, dashes, marker) in zip(layout.columns, itertools.cycle(LINES), strict=False):
            label: str | None = column.heading
            for trial in evidence.cells[row, column.name].trials:
                reports = histories.get(trial.signature, History()).reports
                points = sorted((report["step"], report[metric]) for report in reports if metric in report)
                if points:
                    panel.plot(
                        *zip(*points, strict=True), color=colour, linestyle=dashes, marker=marker, label=label,
                        markevery=max(1, len(points) // 10),
                    )  # fmt: skip
                    label = None
        if not panel.lines:
            return None
        panel.set_title(_names(layout).get(row, str(row)), loc="left")
        panel.set_xlabel("step")
        panel.set_ylabel(f"validation {layout.metric.upper()} (%)")
        panel.set_xlim(left=0)
        rates = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in panel.lines])
        if rates.max() > FAR_APART * rates.min() > 0:  # from scratch and fine-tuned
            panel.set_yscale("log")
            panel.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
            panel.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            panel.yaxis.set_minor_formatter(NullFormatter())
        panel.grid(axis="y")
        _legend(figure, panel)
        return _settled(figure)


def clouds(layout: Layout, evidence: Evidence, ledger: Ledger) -> list[Cloud]:
    """The utterances of the languages that Figure 2 compares, as the best of a row's other columns recognised them."""
    groups: dict[str, list[Any]] = {f"improved by > {IMPROVED:g} %": [], f"improved by < {UNIMPROVED:g} %": []}
    for row in _rows(layout, evidence):
        cells = {c.name: _rate(evidence.cells[row, c.name], layout) for c in layout.columns}
        rates = {name: rate for name, rate in cells.items() if rate is not None}
        baseline = rates.pop(layout.baseline or "", None)
        if not baseline or not rates:
            continue
        best = min(rates, key=lambda name: rates[name])
        improvement = 100 * (baseline - rates[best]) / baseline
        for label, belongs in zip(groups, (improvement > IMPROVED, improvement < UNIMPROVED), strict=True):
            if belongs:
                groups[label].append((row, evidence.cells[row, best].finished))
    found = []
    for label, members in groups.items():
        columns = ["id", "reference", "frames", "nonblank_frames"]
        tables = [utterances(ledger, trial.signature, columns) for _, trials in members for trial in trials]
        if kept := [table.to_pandas() for table in tables if table is not None]:
            all_of_them = pd.concat(kept)
            title = f"{label}: {', '.join(str(row) for row, _ in members)}"
            shares = all_of_them["nonblank_frames"] / all_of_them["frames"].clip(lower=1)
            found.append(Cloud(title, all_of_them["reference"].str.len().to_numpy(), shares.to_numpy()))
    return found


def density(groups: Sequence[Cloud]) -> Figure | None:
    """Figure 2 of Distill-L2S: length of the ground truth against prediction density; None where there is no group."""
    if not groups:
        return None
    lengths = min(int(g.lengths.min()) for g in groups), max(int(g.lengths.max()) for g in groups)
    highest = max(float(group.densities.max()) for group in groups) or 1.0  # every hypothesis may be blank
    with _style():
        figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
        grid = figure.add_gridspec(2, 2, width_ratios=(4, 1), height_ratios=(1, 4))
        panel = figure.add_subplot(grid[1, 0])
        above, beside = figure.add_subplot(grid[0, 0], sharex=panel), figure.add_subplot(grid[1, 1], sharey=panel)
        for group, (colour, dashes, marker, fill) in zip(groups, CLOUDS, strict=False):
            some = np.random.default_rng(0).permutation(len(group.lengths))[:POINTS]
            panel.scatter(
                group.lengths[some], group.densities[some], s=8, marker=marker, facecolors=fill, edgecolors=colour,
                linewidths=0.5, alpha=0.7, label=group.label, clip_on=False,
            )  # fmt: skip
            line = {"density": True, "histtype": "step", "color": colour, "linestyle": dashes, "linewidth": 1}
            above.hist(group.lengths, bins=30, range=lengths, **line)
            beside.hist(group.densities, bins=30, range=(0, highest), orientation="horizontal", **line)
        above.axis("off")
        beside.axis("off")
        panel.set_ylim(0, highest)
        panel.set_xlabel("length of the ground truth (characters)")
        panel.set_ylabel("prediction density (share of non-blank frames)")
        _legend(figure, panel)
        return _settled(figure)


@contextmanager
def _style() -> Iterator[None]:
    with matplotlib.rc_context(STYLE):
        yield


def _rows(layout: Layout, evidence: Evidence) -> list[Any]:
    """In the order of the published table, then those that are not in it."""
    return layout.published.order({row for row, _ in evidence.cells})


def _names(layout: Layout) -> dict[Any, str]:
    """Languages by locale."""
    return {row: str(info.get("language") or row) for row, info in layout.published.rows.items()}


def _lines(layout: Layout, axis: str) -> dict[str, list[Column]]:
    """Columns that differ in λ alone, by what their headings say before λ; each with the baseline, if it lacks one."""
    found: dict[str, list[Column]] = {}
    for column in layout.columns:
        if axis in column.where:
            found.setdefault(repr(sorted((k, v) for k, v in column.where.items() if k != axis)), []).append(column)
    baseline = next((c for c in layout.columns if c.name == layout.baseline and axis in c.where), None)
    lines: dict[str, list[Column]] = {}
    for columns in found.values():
        weights = {c.where[axis] for c in columns}
        if baseline and baseline.where[axis] not in weights:
            columns = [baseline, *columns]
        if len(columns) > 1:  # λ = 0 from scratch alone is no line
            heading = columns[-1].heading
            lines[heading.partition("λ")[0].strip() or "distilled"] = sorted(columns, key=lambda c: c.where[axis])
    return lines


def _points(
    evidence: Evidence, layout: Layout, row: Any, columns: Sequence[Column], axis: str
) -> list[tuple[float, float, tuple[float, float]]]:
    """λ, the rate, and how far its interval reaches below and above it, of a line's finished cells."""
    found = []
    for column in columns:
        cell = evidence.cells[row, column.name]
        rate = _rate(cell, layout)
        if rate is not None:
            low, high = cell.interval or (rate, rate)
            found.append((column.where[axis], rate, (max(0.0, rate - low), max(0.0, high - rate))))
    return found


def _rate(cell: Cell, layout: Layout) -> float | None:
    """Percent, the mean of its finished trials."""
    rates = [result.metrics[f"test_{layout.metric}"] for result in cell.results if result.status == "finished"]
    return sum(rates) / len(rates) if rates else None


def _panels(count: int, most: int) -> tuple[Figure, list[Axes]]:
    across = count if count < 3 else 2 if count <= 4 else most
    down = -(-count // across)
    height = 3.3 / (across + 0.3)
    figure = Figure(figsize=(WIDTH, max(2.2, height * down + 0.4)), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).ravel().tolist()
    for panel in panels[count:]:
        panel.remove()
    return figure, panels[:count]


def _legend(figure: Figure, panel: Axes, where: Any = "outside lower center") -> None:
    handles, labels = panel.get_legend_handles_labels()
    # About 66 characters go into a line, of which a handle takes ten.
    columns = min(3, max(1, 66 // (max(map(len, labels)) + 10)))
    labels = [textwrap.fill(label, 56) for label in labels]
    figure.legend(handles, labels, loc=where, ncols=columns)


def _settled(figure: Figure) -> Figure:
    """With everything in its place: the layout is found once, not for each file."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure
