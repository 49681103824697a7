"""What trials gain by sharing what they need: the five of one language, one after the other.

The claim: at least 1.3 times quicker than if each prepares for itself, on the miniature.
The peer: the same trials, each with a cache of its own.
The floor: (5 preparations + 5 trials) / (1 preparation + 5 trials), by the seconds that the note tells.
Every n-th clip of the miniature's Czech is taken, and every n-th step of its schedule, so that preparing and training
are to each other about as they are in the whole.
"""

import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from benchmarks.material import environment, scratch
from benchmarks.ratios import Claim, Measurement, alternate, not_measured, ratios, seconds
from sweeps.commonvoice20 import Options, plan
from trainables import miniature
from trainables.recipes.distill_l2s import DistillL2S
from trainables.run import LocalRun

CLAIM = Claim(
    "five trials of one language, total time", "each prepares for itself", "1 preparation for 5 trials", target=1.3,
    better="at least",
)  # fmt: skip
LANGUAGE = "cs"


@dataclass(frozen=True)
class Size:
    """How much of the miniature is taken."""

    every: int = 32
    """One of so many clips."""
    steps: int = 10
    """Of each trial; the whole has 320."""


def measure(repeats: int, size: Size | None = None) -> list[Measurement]:
    """Where the miniature has been made."""
    size, whole = size or Size(), miniature.locate()
    if not (whole.corpus / LANGUAGE).is_dir():
        return not_measured([CLAIM], "the miniature is not there: python -m trainables.miniature")
    with scratch() as folder:
        part(whole.corpus, folder / "corpus", size.every)
        options = Options(
            preset="mini", languages=(LANGUAGE,), data=folder / "corpus", student=str(whole.student),
            teacher=str(whole.teacher), steps=size.steps,
        )  # fmt: skip
        recipes = [recipe for recipe in plan(options)[0].recipes if isinstance(recipe, DistillL2S)]
        numbers = count()

        def shared() -> None:
            cache = folder / f"run-{next(numbers)}"
            for recipe in recipes:
                trial(recipe, cache, cache / f"trial-{next(numbers)}")

        def apart() -> None:
            for recipe in recipes:
                cache = folder / f"run-{next(numbers)}"
                trial(recipe, cache, cache / "trial")

        costs = alternate({"shared": seconds(shared), "apart": seconds(apart)}, repeats, warm_up=False)
        prepared = preparing(recipes[-1], folder / "preparing")
    totals = {name: [round(value, 1) for value in values] for name, values in costs.items()}
    note = f"{size}, {len(recipes)} trials; seconds: {totals}; preparing for one that distils: {prepared:.1f}"
    return [Measurement(CLAIM, ratios(costs["apart"], costs["shared"]), note)]


def trial(recipe: DistillL2S, cache: Path, folder: Path) -> None:
    """One trial, which prepares what is not in `cache`."""
    with environment(L2S_CACHE=str(cache)):
        recipe.run(LocalRun(folder))


def preparing(recipe: DistillL2S, cache: Path) -> float:
    """Seconds that a trial's preparations take."""
    begun = time.perf_counter()
    with environment(L2S_CACHE=str(cache)):
        for preparation in recipe.preparations():
            preparation.build()
    return time.perf_counter() - begun


def part(release: Path, folder: Path, every: int) -> None:
    """A release with one of `every` rows of each split, and the same clips."""
    language = folder / LANGUAGE
    language.mkdir(parents=True)
    (language / "clips").symlink_to(release / LANGUAGE / "clips")
    for name in ("train", "dev", "test"):
        header, *rows = (release / LANGUAGE / f"{name}.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
        (language / f"{name}.tsv").write_text("".join([header, *rows[::every]]), encoding="utf-8")
