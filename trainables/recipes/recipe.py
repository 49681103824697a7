"""What every paper's recipe is."""

from abc import ABC, abstractmethod

from trainables.config import Config, Preparation
from trainables.run import Run


class Recipe(Config, ABC):
    """A frozen description of one trial that knows how to run itself."""

    @property
    @abstractmethod
    def steps(self) -> int:
        """Steps of training, for whoever shows progress."""

    @abstractmethod
    def preparations(self) -> tuple[Preparation, ...]:
        """What must be built before `run`, in this order; equal ones are shared between recipes."""

    def reports(self) -> tuple[str, ...]:
        """Names of the values that its reports and its result have, of which tables are made.

        None where they are not known before it is run: then what a table asks for is not checked before.
        """
        return ()

    @abstractmethod
    def run(self, run: Run) -> dict[str, float]:
        """Train and test; the same in this process, under torchrun and in a Ray worker. Returns the result."""

    @abstractmethod
    def probe(self) -> dict[str, float]:
        """`seconds` of one training step by one worker, measured here on made-up batches, and the `parameters`."""
