"""How a study is laid out: its tables and its figures as plain data.

The layout is kept beside the ledger (see stored_study.py), so that everything that a study shows can be rendered from
the ledger alone, at any time and without its recipes.
"""

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from orchestrator.study.sweep import AnyTrial, Sweep
from orchestrator.study.table import Choice, Table, check_names
from orchestrator.study.value import Value


@dataclass(frozen=True)
class ByAxis:
    """A table's value by a numeric field, with 95 % intervals: a line for each kind of column that differs in it."""

    name: str
    caption: str
    table: str
    axis: str
    """The field, by dotted path."""
    label: str
    """Name of the axis; in the columns' headings, the text before it names the line."""
    rest: str = ""
    """The name of the line whose columns have nothing before it."""
    kind: Literal["by_axis"] = "by_axis"


@dataclass(frozen=True)
class Curves:
    """A reported value by step, of every trial of a row: one picture a row."""

    name: str
    table: str
    value: Value
    label: str = ""
    """Label of the vertical axis; by default the value's name and unit."""
    kind: Literal["curves"] = "curves"


@dataclass(frozen=True)
class Profile:
    """Several values of one trial along an axis, such as one for each layer of a model, as means over its repetitions.

    A panel for each row of the table, with a line for each column; or the other way round, where rows are compared.
    """

    name: str
    caption: str
    table: str
    points: Sequence[tuple[float, Value]]
    """Places on the axis, and the value of each; what a trial does not have is left out of its line."""
    axis: str
    """Name of the axis."""
    label: str = ""
    """Label of the vertical axis; by default the first value's name and unit."""
    kind: Literal["profile"] = "profile"


@dataclass(frozen=True)
class Drawn:
    """A figure of one paper's own, drawn by a function of its sweep's package."""

    name: str
    caption: str
    table: str
    function: str
    """`module:function`; it is given the table, its evidence and the ledger, and returns a figure of Matplotlib, or
    None where there is nothing to draw yet. It is imported wherever the study is rendered, and must need no recipe."""
    kind: Literal["drawn"] = "drawn"

    def load(self) -> Callable[..., Any]:
        """The function. Raises ValueError where it is not there to be imported."""
        module, _, name = self.function.partition(":")
        try:
            if module == "__main__":
                raise ImportError("a report cannot import the script itself")
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(
                f"The function of figure {self.name} must be one that can be imported, such as package.module:name, "
                f"but {self.function!r} is not: {error}."
            ) from error


Figure = Annotated[ByAxis | Curves | Profile | Drawn, Field(discriminator="kind")]


@dataclass(frozen=True)
class Layout:
    """The tables and figures of a study."""

    tables: Sequence[Table]
    """The first is the study's own: it is the one that a terminal shows while trials run."""
    figures: Sequence[Figure] = ()
    costs: Sequence[Value] = ()
    """Reported values whose medians stand in the report's table of costs."""

    def __post_init__(self) -> None:
        if not self.tables:
            raise ValueError("A layout must have at least one table, but has none.")
        check_names("table", [table.name for table in self.tables])
        check_names("figure", [figure.name for figure in self.figures])

    def table(self, name: str) -> Table:
        """A table by its name."""
        return next(table for table in self.tables if table.name == name)

    def place(self, trial: AnyTrial) -> tuple[int, str, str] | None:
        """The first cell that shows a trial: the table's number, the row and the column."""
        found = ((i, *place) for i, table in enumerate(self.tables) for place in table.places(trial)[:1])
        return next(found, None)

    def value(self, trial: AnyTrial) -> Value | None:
        """The value that the first cell with this trial shows; None where no table has it."""
        place = self.place(trial)
        return self.tables[place[0]].value_at(*place[1:]) if place else None

    def check(self, sweep: Sweep) -> None:
        """Raises ValueError, in a sentence, for what is known to be wrong before anything of the sweep is trained."""
        for table in self.tables:
            if isinstance(table.rows, str) and not any(table.rows in trial.fields for trial in sweep.trials):
                raise ValueError(f"`rows` of {table.name} must be a field of the recipes, but {table.rows!r} is none.")
            for part in (*table.columns, *table.listed):
                if part.choice:
                    self._check_choice(table, part.name, part.choice, sweep.metric)
        for figure in self.figures:
            self._check_figure(figure)
        reported = [set(trial.recipe.reports()) for trial in sweep.trials]
        known = set().union(*reported)
        if not all(reported):  # of some it is not known before they are run
            return
        for where, value in self._values(sweep):
            if value.name not in known:
                raise ValueError(
                    f"A value must be one that the recipes report, {', '.join(sorted(known))}, "
                    f"but {where} has {value.name!r}."
                )

    def _check_choice(self, table: Table, name: str, choice: Choice, judged: Value | None) -> None:
        if choice.table and choice.table not in [one.name for one in self.tables]:
            raise ValueError(f"A choice must be among parts of a table of the study, but {choice.table!r} is none.")
        source = self.table(choice.table or table.name)
        names = [part.name for part in source.parts if part.where is not None and not part.choice]
        if unknown := [one for one in choice.among if one not in names]:
            raise ValueError(
                f"The choice for {name!r} must be among the {source.compared} of {source.name}, {', '.join(names)}, "
                f"but has {unknown[0]!r}."
            )
        if not choice.note and (judged is None or choice.by.set != judged.set):
            raise ValueError(
                f"The choice for {name!r} must be made by a validation value"
                f"{f', such as {judged.name}' if judged else ''}, or have a `note` that says that the paper did not, "
                f"but is made by {choice.by.name!r} without one."
            )

    def _check_figure(self, figure: "ByAxis | Curves | Profile | Drawn") -> None:
        if figure.table not in (names := [table.name for table in self.tables]):
            raise ValueError(
                f"A figure must be of a table, {', '.join(names)}, but {figure.name} is of {figure.table!r}."
            )
        if isinstance(figure, ByAxis) and not any(
            figure.axis in (p.where or ()) for p in self.table(figure.table).parts
        ):
            raise ValueError(
                f"The axis of {figure.name} must be a field in which columns differ, but is {figure.axis!r}."
            )
        if isinstance(figure, Profile) and not figure.points:
            raise ValueError(f"A profile must have at least one point, but {figure.name} has none.")
        if isinstance(figure, Drawn):
            figure.load()

    def _values(self, sweep: Sweep) -> Iterator[tuple[str, Value]]:
        """All values that results or reports must have, and where they are asked for."""
        if sweep.metric:
            yield "the sweep's `metric`", sweep.metric
        for table in self.tables:
            yield from ((table.name, value) for value in table.values)
            choices = [part.choice for part in (*table.columns, *table.listed) if part.choice]
            yield from ((table.name, choice.by) for choice in choices)
        for figure in self.figures:
            if isinstance(figure, Curves):
                yield figure.name, figure.value
            elif isinstance(figure, Profile):
                yield from ((figure.name, value) for _, value in figure.points)
