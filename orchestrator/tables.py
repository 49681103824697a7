"""A paper's table from a study's results, with the published numbers beside ours: one source, several forms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from orchestrator.ledger import Result
from orchestrator.storage import Storage
from orchestrator.sweep import Trial

INFO = ("language", "group", "hours", "text_gb")


@dataclass(frozen=True)
class Column:
    """A column: the trials whose fields, by dotted path, have these values."""

    name: str
    heading: str
    where: Mapping[str, Any]

    def holds(self, trial: Trial) -> bool:
        """Whether a trial belongs in it."""
        return all(trial.fields.get(path) == value for path, value in self.where.items())


@dataclass(frozen=True)
class Layout:
    """How a table is laid out; `rows` is the field that tells rows apart."""

    title: str
    rows: str
    columns: Sequence[Column]
    published: Path
    """CSV with a row for each value of `rows`, under `locale`; the columns `INFO`, and those of the table."""
    data: str
    """What the results are on; it stands in the title and in the CSV."""
    metric: str = "cer"
    """Of the test split, in percent."""
    baseline: str | None = None
    """Name of the column that the others of a row are compared with."""
    repetition: str = "seed"
    """The field that tells apart the trials of a cell, those of equal value being run under like conditions."""

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if self.baseline is not None and self.baseline not in names:
            raise ValueError(f"`baseline` must be a column, one of {', '.join(names)}, but is {self.baseline!r}.")


@dataclass(frozen=True)
class Table:
    """A filled table: `values` has a row per row and a column per column, missing cells not a number."""

    layout: Layout
    values: pd.DataFrame
    marks: pd.DataFrame
    """What stands in a cell without a value: `…`, `stopped` or `failed`."""
    published: pd.DataFrame
    notes: Sequence[str] = ()

    @classmethod
    def of(
        cls,
        layout: Layout,
        trials: Sequence[Trial],
        results: Mapping[str, Result],
        notes: Sequence[str],
    ) -> "Table":
        """From the results of trials by signature; a cell is the mean over the finished trials that belong in it."""
        published = pd.read_csv(layout.published).set_index("locale")
        # A λ that the paper does not have leaves its column empty.
        published = published.reindex(columns=[*INFO, *(c.name for c in layout.columns)])
        there = {trial.fields[layout.rows] for trial in trials}
        rows = [row for row in published.index if row in there] + sorted(there - set(published.index))
        names = [c.name for c in layout.columns]
        cells: dict[tuple[str, str], list[Result]] = {}
        for trial in trials:
            for column in layout.columns:
                if trial.signature in results and column.holds(trial):
                    cells.setdefault((trial.fields[layout.rows], column.name), []).append(results[trial.signature])
        values = {name: [_mean(cells.get((row, name), []), f"test_{layout.metric}") for row in rows] for name in names}
        marks = {name: [_mark(cells.get((row, name), [])) for row in rows] for name in names}
        return cls(
            layout,
            pd.DataFrame(values, index=rows, dtype=float),
            pd.DataFrame(marks, index=rows, dtype=object),
            published.reindex(rows),
            notes,
        )

    def write(self, storage: Storage, name: str) -> list[str]:
        """`name`.md and `name`.csv; rendering the same results again gives the same bytes."""
        storage.write(f"{name}.md", self.markdown())
        storage.write(f"{name}.csv", self.csv())
        return [f"{name}.md", f"{name}.csv"]

    def csv(self) -> str:
        """A row per row of the table, ours first, then the paper's under `paper_` names."""
        info = self.published[list(INFO)]
        paper = self.published[list(self.values)].add_prefix("paper_")
        table = pd.concat([info, self.values.round(2), paper], axis=1).assign(data=self.layout.data)
        return table.to_csv(index_label="locale", lineterminator="\n")

    @property
    def title(self) -> str:
        """The table's name and what it is on."""
        return f"{self.layout.title}, {self.layout.data}"

    def markdown(self) -> str:
        """A heading, a pipe table with the best of each row in bold, and the notes."""
        headings = ["Speech", "Language", "", *[c.heading for c in self.layout.columns]]
        lines = [
            "| " + " | ".join(headings) + " |",
            "| --- | --- | --- |" + " ---: |" * len(self.layout.columns),
        ]
        lines += ["| " + " | ".join(cells) + " |" for cells in self._lines("**{}**")]
        notes = "".join(f"- {note}\n" for note in self.notes)
        return f"# {self.title}\n\n" + "\n".join(lines) + f"\n\n{notes}"

    def show(self, console: Console) -> None:
        """On the terminal, in 80 columns."""
        table = RichTable(
            title=self.title, box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, title_justify="left"
        )
        for heading in ("Speech", "Language", ""):
            table.add_column(heading, no_wrap=True)
        for column in self.layout.columns:
            table.add_column(column.heading.replace(" λ", "\nλ"), justify="right", min_width=7)
        for *cells, last in self._lines("[bold]{}[/bold]"):
            table.add_row(*cells, last, style="dim" if cells[2] == "paper" else None)
        console.print(table)
        for note in self.notes:
            console.print(f"  {note}", highlight=False, style="dim")

    def _lines(self, bold: str) -> list[list[str]]:
        """Two lines of text per row: ours, and the paper's with its hours of speech and gigabytes of text."""
        lines, group = [], None
        for row in self.values.index:
            info = self.published.loc[row]
            known = isinstance(info["language"], str)
            begins = known and info["group"] != group
            group = info["group"] if known else group
            language = info["language"] if known else row
            lines.append(
                [
                    info["group"] if begins else "",
                    language,
                    "ours",
                    *_marked(self.values.loc[row], bold, self.marks.loc[row]),
                ]
            )
            if known:
                size = f"{info['hours']:g} h, {info['text_gb']:g} GB"
                lines.append(["", size, "paper", *_marked(info[list(self.values)], bold, None)])
        return lines


def _mean(results: Sequence[Result], metric: str) -> float:
    finished = [result.metrics[metric] for result in results if result.status == "finished"]
    return sum(finished) / len(finished) if finished else float("nan")


def _mark(results: Sequence[Result]) -> str:
    statuses = {result.status for result in results}
    return next((status for status in ("failed", "stopped") if status in statuses), "…")


def _marked(values: pd.Series, bold: str, missing: pd.Series | None) -> list[str]:
    """Percent to two digits, all that equal the smallest in bold; the mark in `missing` where there is none."""
    texts = ["" if pd.isna(value) else f"{value:.2f}" for value in values]
    best = min((value for value in values if not pd.isna(value)), default=None)
    marked = [bold.format(t) if best is not None and t == f"{best:.2f}" else t for t in texts]
    return [t or m for t, m in zip(marked, missing, strict=True)] if missing is not None else marked
