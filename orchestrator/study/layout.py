"""How a study's tables are laid out: plain data, kept beside the ledger, so that they can be rendered from it alone."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.study.sweep import AnyTrial

INFO = ("language", "group", "hours", "text_gb")
"""What a paper says of a row, beside its results."""
Value = int | float | str | None


@dataclass(frozen=True)
class Published:
    """A paper's numbers: for each row of its table the columns `INFO`, and the results under the columns' names."""

    rows: Mapping[str, Mapping[str, Value]]

    @classmethod
    def read(cls, path: Path) -> "Published":
        """From a CSV whose first column names the rows."""
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file))
        (_, *names), rows = lines[0], lines[1:]
        return cls({row: dict(zip(names, map(_value, values), strict=True)) for row, *values in rows})

    def info(self, row: str) -> list[Value]:
        """What it says of a row, in the order of `INFO`; nothing of a row that it does not have."""
        return [self.rows.get(row, {}).get(name) for name in INFO]

    def rate(self, row: str, column: str) -> float | None:
        """One of its results, in percent, if it has it."""
        value = self.rows.get(row, {}).get(column)
        return None if value is None else float(value)

    def digits(self, column: str) -> int:
        """Decimals that its results have in a column."""
        return max((len(str(row.get(column)).partition(".")[2]) for row in self.rows.values()), default=2)

    def order(self, rows: set[str]) -> list[str]:
        """Rows as the paper orders them, then those that it does not have."""
        return [row for row in self.rows if row in rows] + sorted(rows - self.rows.keys())


@dataclass(frozen=True)
class Column:
    """A column: the trials whose fields, by dotted path, have these values."""

    name: str
    heading: str
    where: Mapping[str, Any]

    def holds(self, trial: AnyTrial) -> bool:
        """Whether a trial belongs in it."""
        return all(trial.fields.get(path) == value for path, value in self.where.items())


@dataclass(frozen=True)
class Survey:
    """A table that sets the best of a study's columns beside what other systems have been published with."""

    title: str
    systems: Mapping[str, str]
    """Headings by column of `published`."""
    borrowed: Sequence[str]
    """Those systems whose numbers the paper took from elsewhere."""
    source: str
    """Where from."""
    published: Published
    best_of: Sequence[str]
    """Names of the study's columns that ours is the best of."""


@dataclass(frozen=True)
class Layout:
    """How a study's table is laid out; `rows` is the field that tells rows apart."""

    title: str
    rows: str
    columns: Sequence[Column]
    published: Published
    data: str
    """What the results are on; it stands in the title and in the CSV."""
    metric: str = "cer"
    """Of the test split, in percent."""
    baseline: str | None = None
    """Name of the column that the others of a row are compared with."""
    contrasts: Sequence[tuple[str, str]] = ()
    """Further pairs of columns, the first compared with the second over rows and seeds."""
    repetition: str = "seed"
    """The field that tells apart the trials of a cell, those of equal value being run under like conditions."""
    reasons: Sequence[str] = ()
    """Why our numbers are not comparable with the published ones: none means that they are."""
    survey: Survey | None = None

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if self.baseline is not None and self.baseline not in names:
            raise ValueError(f"`baseline` must be a column, one of {', '.join(names)}, but is {self.baseline!r}.")
        if unknown := [name for pair in self.contrasts for name in pair if name not in names]:
            raise ValueError(f"`contrasts` must be of columns, {', '.join(names)}, but has {unknown[0]!r}.")


def _value(text: str) -> Value:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text or None
