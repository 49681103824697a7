"""What every paper's recipe is."""

from pathlib import Path
from typing import Protocol, runtime_checkable

from trainables.config import Config
from trainables.run import Run


@runtime_checkable
class Preparation(Protocol):
    """Something that several trials need, made once: addressed by what made it, safe to ask for at any time."""

    def build(self) -> Path:
        """Make it, unless it is there."""
        ...

    def summary(self) -> str:
        """One line on what was made."""
        ...


class Recipe(Config):
    """A frozen description of one trial that knows how to run itself."""

    def preparations(self) -> tuple[Preparation, ...]:
        """What must be built before `run`, in this order; equal ones are shared between recipes."""
        raise NotImplementedError

    def run(self, run: Run) -> dict[str, float]:
        """Train and test; the same in this process, under torchrun and in a Ray worker. Returns the result."""
        raise NotImplementedError
