"""Figures of Distill-L2S itself, drawn from a study's ledger."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from orchestrator.results.evidence import Evidence
from orchestrator.results.figures import WIDTH, family, legend, others, settled, style
from orchestrator.results.utterances import utterances
from orchestrator.study.ledger import Ledger
from orchestrator.study.table import Table

CLOUDS = (("#009E73", "-", "o", "#009E73"), ("#D55E00", "--", "^", "none"))
"""The paper's green and red, of which the second is hollow."""
IMPROVED, UNIMPROVED = 10.0, 1.0
"""Percent of relative improvement, of the languages that Figure 2 compares."""
POINTS = 400
"""The most points that a group has; its margins count all utterances."""


@dataclass(frozen=True)
class Cloud:
    """The utterances of some languages."""

    label: str
    lengths: NDArray[np.int64]
    """Characters of the references, (utterances,)."""
    densities: NDArray[np.float64]
    """Share of frames whose prediction is not blank, (utterances,)."""


def density(table: Table, evidence: Evidence, ledger: Ledger) -> Figure | None:
    """Figure 2: length of the ground truth against prediction density; None where there is no group."""
    return scatter(clouds(table, evidence, ledger))


def clouds(table: Table, evidence: Evidence, ledger: Ledger) -> list[Cloud]:
    """The utterances of the languages that Figure 2 compares, as the best of a row's other columns recognised them."""
    groups: dict[str, list] = {f"improved by > {IMPROVED:g} %": [], f"improved by < {UNIMPROVED:g} %": []}
    for row in others(table, evidence):
        cells = family(table, evidence, row)
        rates = {name: rate for name, cell in cells.items() if (rate := cell.mean()) is not None}
        baseline = rates.pop(table.baseline or "", None)
        if not baseline or not rates:
            continue
        best = min(rates, key=lambda name: rates[name])
        improvement = 100 * (baseline - rates[best]) / baseline
        for label, belongs in zip(groups, (improvement > IMPROVED, improvement < UNIMPROVED), strict=True):
            if belongs:
                groups[label].append((row, cells[best].finished))
    found = []
    for label, members in groups.items():
        columns, of = ["id", "reference", "frames", "nonblank_frames"], table.value.set
        tables = [utterances(ledger, trial.signature, of, columns) for _, trials in members for trial in trials]
        if kept := [one.to_pandas() for one in tables if one is not None]:
            all_of_them = pd.concat(kept)
            title = f"{label}: {', '.join(row for row, _ in members)}"
            shares = all_of_them["nonblank_frames"] / all_of_them["frames"].clip(lower=1)
            found.append(Cloud(title, all_of_them["reference"].str.len().to_numpy(), shares.to_numpy()))
    return found


def scatter(groups: Sequence[Cloud]) -> Figure | None:
    """Clouds, with the densities of their lengths and of their prediction densities at the margins."""
    if not groups:
        return None
    lengths = min(int(g.lengths.min()) for g in groups), max(int(g.lengths.max()) for g in groups)
    highest = max(float(group.densities.max()) for group in groups) or 1.0  # every hypothesis may be blank
    with style():
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
        legend(figure, panel)
        return settled(figure)
