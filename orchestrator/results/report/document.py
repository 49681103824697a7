"""The report of a study: one file of HTML that needs nothing but itself."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.results.evidence import Evidence
from orchestrator.results.rendering.page import templates
from orchestrator.results.report.audit import audits, legible
from orchestrator.results.report.cells import Detail, details
from orchestrator.results.report.cost import costs
from orchestrator.results.tables import Row, Table
from orchestrator.study.stored_study import Study

CATEGORIES = {
    "M": "marks", "N": "numbers", "P": "punctuation", "S": "symbols", "L": "letters", "Z": "separators",
    "C": "controls",
}  # fmt: skip
"""Of Unicode, by their first letter."""


@dataclass(frozen=True)
class Picture:
    """A figure as the report shows it."""

    caption: str
    png: bytes

    @property
    def source(self) -> str:
        """As a URL that holds it."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


@dataclass(frozen=True)
class Section:
    """What the report says of a row of the table."""

    row: Row
    curves: Picture | None
    details: list[Detail]


def report(
    study: Study,
    evidence: Evidence,
    tables: Sequence[Table],
    figures: Mapping[str, bytes],
) -> str:
    """The tables, the figures, each cell, the audit of the data, the cost, and how to make it again.

    Raises ValueError when a file of the study is damaged.
    """
    sections = [
        Section(row, _curves(row, figures), details(study, evidence, tables[0], row.name)) for row in tables[0].rows
    ]
    finished = sum(result.status == "finished" for result in study.results.values())
    return (
        templates()
        .get_template("report.html")
        .render(
            name=study.submission.name,
            layout=study.layout,
            command=study.submission.command,
            tables=tables,
            pictures=_pictures(figures, study.layout.metric),
            sections=sections,
            audits=audits(study),
            categories=CATEGORIES,
            legible=legible,
            costs=costs(study),
            finished=finished,
            trials=len(study.trials),
        )
    )


def _pictures(figures: Mapping[str, bytes], metric: str) -> list[Picture]:
    captions = {
        f"{metric}_by_weight": f"{metric.upper()} by λ, with 95 % intervals.",
        "density": "Length of the ground truth against prediction density, the share of frames that are not blank: "
        "languages that improve much over the baseline against those that do not (Figure 2 of Distill-L2S).",
    }
    return [Picture(text, figures[f"{name}.png"]) for name, text in captions.items() if f"{name}.png" in figures]


def _curves(row: Row, figures: Mapping[str, bytes]) -> Picture | None:
    png = figures.get(f"curves_{row.name}.png")
    return None if png is None else Picture(f"{row.language}: learning curves of its trials.", png)
