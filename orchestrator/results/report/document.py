"""The report of a study: one file of HTML that needs nothing but itself."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.results.evidence import Evidence
from orchestrator.results.rendering.page import templates
from orchestrator.results.report.audit import audits, legible
from orchestrator.results.report.cells import Detail, details
from orchestrator.results.report.cost import costs
from orchestrator.results.sheet import Sheet, SheetRow
from orchestrator.study.layout import Curves
from orchestrator.study.stored_study import Study

CATEGORIES = {
    "M": "marks", "N": "numbers", "P": "punctuation", "S": "symbols", "L": "letters", "Z": "separators",
    "C": "controls",
}  # fmt: skip
"""Names of Unicode's categories, by their first letter."""

LEARNING = "learning curves of its trials."


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
    """The report's section on a row of a table."""

    anchor: str
    row: SheetRow
    curves: list[Picture]
    details: list[Detail]


def report(
    study: Study, evidences: Mapping[str, Evidence], sheets: Sequence[Sheet], figures: Mapping[str, bytes]
) -> str:
    """The tables, the figures, each cell, the audit of the data, the cost, and how to make it again.

    `evidences` are by the names of tables, `figures` by those of files. Raises ValueError when a file of the study is
    damaged.
    """
    first = study.layout.tables[0]
    finished = sum(result.status == "finished" for result in study.results.values())
    return (
        templates()
        .get_template("report.html")
        .render(
            name=study.submission.name,
            title=first.title,
            data=first.data,
            command=study.submission.command,
            sheets=sheets,
            pictures=_pictures(study, figures),
            sections=[
                section for sheet in sheets for section in _sections(study, evidences[sheet.name], sheet, figures)
            ],
            audits=audits(study, first),
            categories=CATEGORIES,
            legible=legible,
            costs=costs(study),
            speeds=[value.title for value in study.layout.costs],
            finished=finished,
            trials=len(study.trials),
        )
    )


def _sections(study: Study, evidence: Evidence, sheet: Sheet, figures: Mapping[str, bytes]) -> list[Section]:
    """A section for each row that has trials of its own."""
    table = study.layout.table(sheet.name)
    cells = [(row, details(study, table, evidence, sheet, row.name)) for row in sheet.rows]
    return [
        Section(f"{sheet.name}-{row.name}", row, _curves(study, sheet, row, figures), found)
        for row, found in cells
        if found
    ]


def _pictures(study: Study, figures: Mapping[str, bytes]) -> list[Picture]:
    """The figures that are not of one row."""
    found = {}
    for figure in study.layout.figures:
        if not isinstance(figure, Curves):
            found[f"{figure.name}.png"] = figure.caption
        elif (table := study.layout.table(figure.table)).compared == "rows":
            names = {f"{figure.name}_{column.name}.png": column.title for column in table.columns}
            found |= {name: f"{title}: {LEARNING}" for name, title in names.items()}
    return [Picture(caption, figures[name]) for name, caption in found.items() if name in figures]


def _curves(study: Study, sheet: Sheet, row: SheetRow, figures: Mapping[str, bytes]) -> list[Picture]:
    """The curves of a row's trials."""
    names = [f.name for f in study.layout.figures if isinstance(f, Curves) and f.table == sheet.name]
    pngs = [figures[f"{name}_{row.name}.png"] for name in names if f"{name}_{row.name}.png" in figures]
    return [Picture(f"{row.label}: {LEARNING}", png) for png in pngs]
