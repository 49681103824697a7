"""Random parts of a training split, for experiments with few data: chosen when a prepared split is loaded, so that
thirty subsets share one prepared file and one file of teacher features."""

from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from trainables.config import Config
from trainables.corpora.audio import SAMPLE_RATE
from trainables.corpora.batching import Batching
from trainables.corpora.prepared import PreparedSplit
from trainables.corpora.sources import Indices


class Subset(Config):
    """Utterances of a split drawn at random without replacement, by one of three sizes.

    The draw is a function of the split, the size, `seed` and `index` alone: the same for all methods, which can
    therefore be compared pair by pair. Subsets of other indices are drawn independently, and may overlap as chance has
    it. By `hours`, a smaller one of the same seed and index lies within a larger one, as 1 h of Libri-light in 10 h.
    """

    share: Annotated[float, Field(gt=0, le=1)] | None = None
    """Part of the split's utterances."""
    hours: Annotated[float, Field(gt=0)] | None = None
    """Hours of audio, at most."""
    count: Annotated[int, Field(gt=0)] | None = None
    """Number of utterances."""
    seed: Annotated[int, Field(ge=0)] = 0
    index: Annotated[int, Field(ge=0)] = 0
    """Number of the subset, among several of one size that repeat an experiment."""

    @model_validator(mode="after")
    def _of_one_size(self) -> Self:
        given = [name for name in ("share", "hours", "count") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                "A subset must have one of `share`, `hours` and `count`, "
                f"but has {' and '.join(f'`{name}`' for name in given) or 'none'}."
            )
        return self

    def __str__(self) -> str:
        size = f"{100 * self.share:g} %" if self.share else f"{self.hours:g} h" if self.hours else f"{self.count}"
        return f"{size} no. {self.index}"

    def indices(self, split: PreparedSplit, batching: Batching | None = None) -> Indices:
        """The utterances of a split that are in the subset, in the order of the split.

        Raises ValueError when the subset is larger than the split, or smaller than one batch of `batching`.
        """
        random, seconds = np.random.default_rng((self.seed, self.index)), split.samples / SAMPLE_RATE
        if self.hours is not None:
            if seconds.sum() < 3600 * self.hours:
                raise ValueError(_larger("hours", self.hours, f"{seconds.sum() / 3600:.3g} hours"))
            order = random.permutation(len(split))
            chosen = order[np.cumsum(seconds[order]) <= 3600 * self.hours]
        else:
            size = round((self.share or 0) * len(split)) if self.count is None else self.count
            if size > len(split):
                raise ValueError(_larger("count", size, f"{len(split)} utterances"))
            chosen = random.choice(len(split), size, replace=False)
        if not len(chosen) or (batching is not None and not batching.filled_by(seconds[chosen])):
            least = "one batch" if batching is not None else "one utterance"
            held = f"{len(chosen)} utterances of {seconds[chosen].sum():.3g} s"
            raise ValueError(f"A subset must have at least {least}, but {self} has {held}.")
        return np.sort(chosen)


def _larger(size: str, wanted: float, there: str) -> str:
    return f"`subset.{size}` must be at most what the split has, {there}, but is {wanted:g} instead."
