"""A table as a reader sees it, from which every form is made: Markdown, LaTeX, CSV, HTML and the terminal's."""

from dataclasses import dataclass
from itertools import groupby

from orchestrator.results.evidence import Cell
from orchestrator.study.table import DIVERGED, Number
from orchestrator.study.value import Value


@dataclass(frozen=True)
class Entry:
    """One place of a table: a number, or why there is none."""

    value: float | None = None
    state: str = ""
    """Instead of a number: `…`, `stopped`, `failed` or `×`, or that the result has no such value."""
    best: bool = False
    """None of those that it is compared with is better, as they are printed."""
    significant: bool = False
    """Different from the baseline."""
    beside: float | None = None
    """Ours minus this."""
    cell: Cell | None = None
    """The cell that our number comes from."""
    shows: Value | None = None
    """The value that is shown."""
    digits: int = 2
    """The decimals that are shown: as many as it was published with."""

    @property
    def number(self) -> str:
        """The number as it is printed, or the state."""
        return self.state if self.value is None else f"{self.value:.{self.digits}f}"

    @property
    def spread(self) -> str:
        """Half the width of the 95 % interval."""
        interval = self.cell.interval if self.cell and self.value is not None else None
        return "" if interval is None else f"± {(interval.high - interval.low) / 2:.{self.digits}f}"

    @property
    def range(self) -> str:
        """The 95 % interval."""
        interval = self.cell.interval if self.cell and self.value is not None else None
        return "" if interval is None else f"[{interval.low:.{self.digits}f}, {interval.high:.{self.digits}f}]"

    @property
    def part(self) -> str:
        """How many of the cell's trials its number is of, where some are missing or have not converged."""
        if self.cell is None or (self.value is None and self.state != DIVERGED):
            return ""
        trials, finished = len(self.cell.trials), sum(result.status == "finished" for result in self.cell.results)
        wrong = self.cell.diverged
        missing = [] if finished == trials else [f"{finished} of {trials}"]
        return ", ".join(missing + ([f"{DIVERGED} {wrong} of {finished}"] if wrong and finished > 1 else []))

    @property
    def distance(self) -> str:
        """Ours minus this, with its sign."""
        return "" if self.beside is None else f"{self.beside:+.{self.digits}f}".replace("-", "−")


@dataclass(frozen=True)
class Line:
    """One line of entries."""

    whose: str
    """`ours` or `paper`; empty where a line has numbers of both."""
    entries: tuple[Entry, ...]
    comparable: str = ""
    size: str = ""
    """The data behind these numbers, such as `1 h, 14.9 GB`; empty where that is not known."""


@dataclass(frozen=True)
class SheetRow:
    """A row of a table as a reader sees it: its lines under one label."""

    name: str
    label: str
    group: str
    facts: tuple[Number, ...]
    """Facts beside its numbers, as the CSV has them."""
    lines: tuple[Line, ...]

    @property
    def labels(self) -> list[str]:
        """The text before each line: the label before the first, and the size of each."""
        first, *others = self.lines
        return [", ".join(filter(None, (self.label, first.size))), *(line.size for line in others)]


@dataclass(frozen=True)
class Sheet:
    """A table as a reader sees it; every form is made of nothing else."""

    name: str
    title: str
    columns: tuple[str, ...]
    """Names, as the CSV has them."""
    headings: tuple[str, ...]
    rows: tuple[SheetRow, ...]
    notes: tuple[str, ...]
    reasons: tuple[str, ...]
    """Why ours and the paper's are not comparable."""
    data: str
    facts: tuple[str, ...] = ()
    """Names of the facts beside the rows."""
    key: str = "row"
    """The kind of the rows' names, such as a locale."""
    heading: str = ""
    """Heading of the rows' labels."""
    group_heading: str = ""
    source: str = ""
    """Text behind the groups' names and their heading that says whose they are."""

    @property
    def groups(self) -> list[tuple[str, list[SheetRow]]]:
        """Rows that follow each other in one group; where some have one, the rest are `other`."""
        rest = "other" if any(row.group for row in self.rows) else ""
        return [(group or rest, list(rows)) for group, rows in groupby(self.rows, lambda row: row.group)]

    @property
    def compared(self) -> bool:
        """Whether any number of the paper stands beside ours."""
        return any(line.comparable for row in self.rows for line in row.lines)

    @property
    def subtracted(self) -> bool:
        """Whether any number has a difference beside it."""
        return any(entry.distance for row in self.rows for line in row.lines for entry in line.entries)

    @property
    def labelled(self) -> tuple[bool, bool, bool]:
        """Whether rows have a group, a label, and lines that say whose they are."""
        return (
            any(row.group for row in self.rows),
            True,
            any(line.whose for row in self.rows for line in row.lines),
        )

    @property
    def stub(self) -> tuple[str, str, str]:
        """The headings of these three."""
        return f"{self.group_heading}{self.source}", self.heading, ""


def letter(index: int) -> str:
    """The letter that a reason is called by."""
    return chr(ord("a") + index)
