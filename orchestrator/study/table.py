"""A table of a study as plain data, with a paper's numbers to stand beside ours.

Its rows and its columns are filters on the fields of recipes, or values. A cell is a row, a column and a value: it has
the trials that both filters hold, and shows the mean of their values.
"""

import csv
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from orchestrator.study.sweep import AnyTrial
from orchestrator.study.value import Value

DIVERGED = "×"
"""Stands in a table where training did not converge."""
Number = int | float | str | None


@dataclass(frozen=True)
class Published:
    """A paper's table: for each row its numbers under the columns' names, and further columns that are facts."""

    rows: Mapping[str, Mapping[str, Number]] = field(default_factory=dict)
    key: str = "row"
    """The kind of the rows' names, such as the code of a locale; heads their column in the CSV."""

    @classmethod
    def read(cls, path: Path) -> "Published":
        """From a CSV whose first column names the rows."""
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file))
        (key, *names), rows = lines[0], lines[1:]
        return cls({row: dict(zip(names, map(_number, values), strict=True)) for row, *values in rows}, key)

    def fact(self, row: str, name: str) -> Number:
        """The entry of a row in a column; None of a row or in a column that it does not have."""
        return self.rows.get(row, {}).get(name)

    def number(self, row: str, column: str) -> float | None:
        """One of its results; None where it has none, and where training did not converge."""
        found = self.fact(row, column)
        return float(found) if isinstance(found, int | float) else None

    def has(self, row: str, column: str) -> bool:
        """Whether it says of a cell what came of it, be it that training did not converge."""
        return self.number(row, column) is not None or self.fact(row, column) == DIVERGED

    def digits(self, column: str) -> int:
        """Decimals that its results have in a column."""
        numbers = [str(n) for row in self.rows if (n := self.number(row, column)) is not None]
        return max((len(number.partition(".")[2]) for number in numbers), default=0)

    def order(self, rows: Iterable[str]) -> list[str]:
        """Rows as the paper orders them, then those that it does not have."""
        found = set(rows)
        return [row for row in self.rows if row in found] + sorted(found - self.rows.keys())


@dataclass(frozen=True)
class Choice:
    """The best of several columns of one table, chosen anew in each row; or of several rows, in each column."""

    among: Sequence[str]
    """Names of the columns, or of the rows where those are compared with each other."""
    by: Value
    """The value that the choice is made by, as a mean over the finished trials of each."""
    note: str = ""
    """A sentence on the choice under the table. It must be there where the choice is made by a value of another set
    than that of the one that trials are judged by: such a choice is optimistic, and the paper must have made it."""
    table: str = ""
    """Name of the table that has them; by default the choice's own."""


@dataclass(frozen=True)
class Column:
    """A column of a table: the trials whose fields, by dotted path, have these values."""

    name: str
    """Names it in files, and among the published numbers."""
    heading: str
    """The column's name for a reader; a line end in it is a space where there is room."""
    where: Mapping[str, Any] | None = field(default_factory=dict)
    """A list stands for any of its values. None for a column that has been published and is not measured here."""
    value: Value | None = None
    """The value of its cells, where that is not the table's: a test set of its own, or a number of its own."""
    choice: Choice | None = None
    """Instead of trials: the best of others."""

    def holds(self, trial: AnyTrial) -> bool:
        """Whether a trial belongs in it."""
        if self.where is None or self.choice:
            return False
        return all(_is(trial.fields.get(path), wanted) for path, wanted in self.where.items())

    @property
    def title(self) -> str:
        """The heading in one line."""
        return self.heading.replace("\n", " ")


@dataclass(frozen=True)
class Row(Column):
    """A row of a table: all that a column is, turned by a right angle."""

    group: str = ""
    """Rows that follow each other in one group stand together under its name."""


@dataclass(frozen=True)
class Fact:
    """Something that is said beside a row's numbers: a column of the CSV, empty where nobody says it."""

    name: str
    published: str = ""
    """Column of the published table that says it."""
    audit: str = ""
    """Dotted path of a number in the `audit.json` that one of the row's trials has kept."""
    per: float = 1.0
    """The audit's number is divided by this."""


@dataclass(frozen=True)
class Head:
    """The text before a row's numbers; facts are meant by their names."""

    facts: Sequence[Fact] = ()
    label: str = ""
    """The published fact that a row is called by."""
    heading: str = ""
    """Heading of the labels; by default the field that rows come from."""
    group: str = ""
    """The published fact that rows are grouped by."""
    group_heading: str = ""
    ours: str = ""
    """Text beside our numbers, with facts in braces, such as `{gigabytes:.2f} GB`; none where a fact is missing."""
    paper: str = ""
    """The same beside the paper's."""

    def __post_init__(self) -> None:
        names = [fact.name for fact in self.facts]
        meant = [self.label, self.group, *(name for text in (self.ours, self.paper) for name in _braced(text))]
        if unknown := [name for name in meant if name and name not in names]:
            raise ValueError(
                f"What stands before a row must be of its facts, {', '.join(names) or 'none'}, but has {unknown[0]!r}."
            )


@dataclass(frozen=True)
class Table:
    """A table of a study, with a paper's numbers beside ours."""

    name: str
    """Names its files."""
    title: str
    rows: str | Sequence[Row]
    """A field, by dotted path, for a row for each of its values; or the rows themselves."""
    columns: Sequence[Column]
    value: Value
    """The value that its cells show."""
    published: Published = field(default_factory=Published)
    data: str = ""
    """The data that the results are on; it stands in the title and in the CSV."""
    compared: Literal["columns", "rows"] = "columns"
    """Whether the columns of each row are compared with each other, or the rows of each column, each in its group."""
    baseline: str | None = None
    """Name of the column that the others of a row are compared with; or of the row, where rows are compared."""
    contrasts: Sequence[tuple[str, str]] = ()
    """Further pairs of columns, or rows, the first compared with the second over all rows, or columns, and seeds."""
    repetition: str = "seed"
    """The field that tells apart the trials of a cell, those of equal value being run under like conditions."""
    reasons: Sequence[str] = ()
    """Why our numbers are not comparable with the published ones: none means that they are."""
    notes: Sequence[str] = ()
    """Sentences that a reader must know to read the numbers."""
    head: Head = field(default_factory=Head)

    def __post_init__(self) -> None:
        check_names(f"column of {self.name}", self.named("columns"))
        check_names(f"row of {self.name}", self.named("rows"))
        if isinstance(self.rows, str) and self.compared == "rows":
            raise ValueError(f"`rows` of {self.name} must be listed where they are compared, but is a field.")
        if any(row.value for row in self.listed) and any(column.value for column in self.columns):
            raise ValueError(f"A cell of {self.name} must have one value, but rows and columns have one each.")
        names, kind = self.named(self.compared), self.compared.removesuffix("s")
        if self.baseline is not None and self.baseline not in names:
            raise ValueError(f"`baseline` must be a {kind}, one of {', '.join(names)}, but is {self.baseline!r}.")
        if unknown := [name for pair in self.contrasts for name in pair if name not in names]:
            raise ValueError(f"`contrasts` must be of {self.compared}, {', '.join(names)}, but has {unknown[0]!r}.")

    @property
    def listed(self) -> Sequence[Row]:
        """The rows, where they do not come from a field."""
        return () if isinstance(self.rows, str) else self.rows

    def named(self, which: Literal["columns", "rows"]) -> list[str]:
        """Names of the columns, or of the listed rows."""
        return [part.name for part in (self.columns if which == "columns" else self.listed)]

    def places(self, trial: AnyTrial) -> list[tuple[str, str]]:
        """The cells that a trial belongs in, by the names of their rows and columns."""
        if isinstance(self.rows, str):
            rows = [str(trial.fields[self.rows])] if self.rows in trial.fields else []
        else:
            rows = [row.name for row in self.rows if row.holds(trial)]
        columns = [column.name for column in self.columns if column.holds(trial)] if rows else []
        return [(row, column) for row in rows for column in columns]

    def shown(self, trials: Iterable[AnyTrial]) -> list[Row]:
        """The rows that there is something to say of, in order: what was published, and what has trials."""
        if isinstance(self.rows, str):
            names = {row for trial in trials for row, _ in self.places(trial)}
            return [Row(name, "") for name in self.published.order(names)]
        chosen, trials = any(column.choice for column in self.columns), list(trials)
        found = {row for trial in trials for row, _ in self.places(trial)}
        if chosen:  # its trials are in the columns of another table
            found |= {row.name for row in self.rows if any(row.holds(trial) for trial in trials)}
        return [row for row in self.rows if row.where is None or row.choice or row.name in found]

    def label(self, row: str) -> str:
        """A row's name for a reader: its heading, the published fact that rows are called by, or its name."""
        headings = [listed.title for listed in self.listed if listed.name == row]
        facts = [fact.published for fact in self.head.facts if fact.name == self.head.label]
        found = [*headings, *(self.published.fact(row, fact) for fact in facts), row]
        return str(next(filter(None, found)))

    def value_at(self, row: str, column: str) -> Value:
        """The value that a cell shows."""
        own = [part.value for part in self.columns if part.name == column]
        own += [part.value for part in self.listed if part.name == row]
        return next((value for value in own if value), self.value)

    @property
    def parts(self) -> Sequence[Column]:
        """The parts that are compared: the columns, or the rows."""
        return self.columns if self.compared == "columns" else self.listed

    def title_of(self, name: str | None) -> str:
        """The name of one of the compared parts for a reader."""
        return next((self.label(p.name) if isinstance(p, Row) else p.title for p in self.parts if p.name == name), "")

    def other(self, name: str) -> str:
        """The name of a part that is not compared, for a reader."""
        titles = [column.title for column in self.columns if column.name == name and self.compared == "rows"]
        return titles[0] if titles else self.label(name)

    def turned(self, one: str, other: str) -> tuple[str, str]:
        """A cell's row and column, from the compared part and the part of the other kind; and these from a cell's."""
        return (other, one) if self.compared == "columns" else (one, other)

    @property
    def mixed(self) -> bool:
        """Whether what others published stands in one line with ours: the paper has no numbers for ours then."""
        ours = [column.name for column in self.columns if column.where is not None]
        beside = any(self.published.has(row, column) for row in self.published.rows for column in ours)
        return len(ours) < len(self.columns) and not beside

    @property
    def values(self) -> list[Value]:
        """All values that its cells show."""
        own = [
            [p.value for p in parts if p.where is not None and not p.choice] for parts in (self.columns, self.listed)
        ]
        common = [] if any(found and all(found) for found in own) else [self.value]
        return [*common, *(value for found in own for value in found if value)]

    @property
    def paths(self) -> set[str]:
        """The fields, by dotted path, that it asks trials for."""
        found = {path for part in (*self.columns, *self.listed) for path in part.where or ()} | {self.repetition}
        return found | ({self.rows} if isinstance(self.rows, str) else set())


def check_names(what: str, names: Sequence[str]) -> None:
    """Raises ValueError where two have one name."""
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise ValueError(f"A {what} must have a name of its own, but two are called {twice[0]!r}.")


def _is(value: Any, wanted: Any) -> bool:
    return value == wanted or (isinstance(wanted, list | tuple) and value in wanted)


def _braced(text: str) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(text) if name]


def _number(text: str) -> Number:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text or None
