"""The base of every paper's recipe."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from trainables.config import Config, Preparation
from trainables.export.card import Card
from trainables.run import Run


class Recipe(Config, ABC):
    """A frozen description of one trial that knows how to run itself."""

    @property
    @abstractmethod
    def steps(self) -> int:
        """Steps of training, for whoever shows progress."""

    @abstractmethod
    def preparations(self) -> tuple[Preparation, ...]:
        """All that must be built before `run`, in this order; equal ones are shared between recipes."""

    def needs(self) -> Sequence["Recipe"]:
        """The recipes whose results this one starts from: a student that was distilled, a teacher that was fine-tuned.

        Each is a trial of its own, finished before this one begins, and trained once however many recipes need it.
        `run` finds the files that it kept by `Run.needed`. The need must be part of what decides this recipe's result,
        its signature: a field that holds the other recipe makes it so.
        """
        return ()

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
        """`seconds` of one training step by one worker, measured here on made-up batches, and the `parameters`.

        It is asked before anything is prepared, and before any need is trained.
        """

    def export(self, kept: Path, result: Mapping[str, float], folder: Path) -> Card:
        """Write what was trained into `folder`, which is empty, in a form that others can load; its card.

        `kept` has the files that the finished trial kept, and `result` is what `run` returned.
        Raises ValueError when a file is missing or damaged, or when the recipe has no form for others.
        """
        raise ValueError(f"A recipe must say how it is exported, but {type(self).__name__} does not.")


def with_needs(recipe: Recipe, above: tuple[str, ...] = ()) -> dict[str, Recipe]:
    """All that a recipe needs, directly or not, and itself, by signature; each comes before what starts from it.

    `above` are the signatures of recipes that need this one. Raises ValueError for a recipe that needs itself.
    """
    signature = recipe.signature()
    if signature in above:
        raise ValueError(f"A recipe must not need itself, but {recipe} does.")
    found: dict[str, Recipe] = {}
    for need in recipe.needs():
        found |= with_needs(need, (*above, signature))
    return found | {signature: recipe}
