"""A number that a trial reports, or that its result has, and how a reader sees it."""

from dataclasses import dataclass
from typing import Literal

ABBREVIATION = 3
"""Letters up to which the name of a metric is an abbreviation, which stands in capitals."""


@dataclass(frozen=True)
class Value:
    """A named number of a trial."""

    name: str
    """`<set>/<metric>`, as it stands in reports and results; a number that belongs to no set has no `/` in its name."""
    label: str = ""
    """The metric's name for a reader; by default the metric itself, an abbreviation in capitals."""
    unit: str = "%"
    """Stands after the number; the difference of two numbers in percent is in points."""
    digits: int = 2
    """Decimals that are shown."""
    better: Literal["smaller", "larger"] | None = "smaller"
    """None for a plain number, such as a size, of which none is the best."""
    counts: str = ""
    """The unit of the lengths that errors are divided by, such as characters."""

    def __post_init__(self) -> None:
        if not self.name or self.name.startswith("/") or self.name.endswith("/"):
            raise ValueError(f"A value must have a name such as <set>/<metric>, but has {self.name!r}.")
        if self.digits < 0:
            raise ValueError(f"`digits` must be at least 0, but is {self.digits} instead.")

    @property
    def set(self) -> str:
        """The split that the number was measured on; empty where it belongs to none."""
        return self.name.rpartition("/")[0]

    @property
    def metric(self) -> str:
        """The name of the metric."""
        return self.name.rpartition("/")[2]

    @property
    def title(self) -> str:
        """The metric's name for a reader."""
        return self.label or _words(self)

    @property
    def spoken(self) -> str:
        """The set and the metric's name, for a sentence."""
        return " ".join(filter(None, (self.set, self.title)))

    @property
    def difference(self) -> str:
        """The unit of a difference between two of these numbers."""
        return "points" if self.unit == "%" else self.unit

    def brief(self, number: float) -> str:
        """A number with its unit, for a line that will soon be replaced by the next: percent have one decimal."""
        digits = min(self.digits, 1) if self.unit == "%" else self.digits
        return f"{number:.{digits}f} {self.unit}".rstrip()

    def best(self, one: float, other: float) -> float:
        """The better of two numbers."""
        return max(one, other) if self.better == "larger" else min(one, other)


def _words(value: Value) -> str:
    words = value.metric.replace("_", " ")
    return words.upper() if value.set and len(words) <= ABBREVIATION else words
