"""The gain of trials that share what they need: the five of one language of the miniature, one after the other.

The claim: at least 1.3 times quicker than if each prepares for itself.
The peer: the same trials, each with a cache of its own. Of both, the total is put together from their parts, all
measured in each repeat: preparing with and without a teacher, and a trial that finds everything prepared.
The floor: trials that need no preparation at all, which the note tells; sharing cannot save more than all of it.
"""

import statistics
from itertools import count
from pathlib import Path

from benchmarks.material import environment, scratch
from benchmarks.ratios import Claim, Measurement, alternate, not_measured, ratios, seconds
from sweeps.commonvoice20 import Options, study
from trainables import miniature
from trainables.recipes.distill_l2s import DistillL2S
from trainables.run import LocalRun

CLAIM = Claim(
    "five trials of one language, total time", "each prepares for itself", "1 preparation for 5 trials", target=1.3,
    better="at least",
)  # fmt: skip
LANGUAGE = "cs"


def measure(repeats: int) -> list[Measurement]:
    """Measure, where the miniature has been made."""
    whole = miniature.locate()
    if not (whole.corpus / LANGUAGE).is_dir():
        return not_measured([CLAIM], "the miniature is not there: python -m trainables.miniature")
    options = Options(
        preset="mini", languages=(LANGUAGE,), data=whole.corpus, student=str(whole.student), teacher=str(whole.teacher)
    )
    recipes = [recipe for recipe in study(options)[0].recipes if isinstance(recipe, DistillL2S)]
    plain, distilling = (next(r for r in recipes if bool(r.weight) is wanted) for wanted in (False, True))
    with scratch() as folder:
        numbers = count()

        def fresh() -> Path:
            return folder / str(next(numbers))

        prepared = fresh()
        prepare(distilling, prepared)
        costs = alternate(
            {
                "preparing": seconds(lambda: prepare(plain, fresh())),
                "preparing with a teacher": seconds(lambda: prepare(distilling, fresh())),
                "a trial": seconds(lambda: trial(distilling, prepared, fresh())),
            },
            repeats,
            warm_up=False,
        )
    alone, together, trials = costs["preparing"], costs["preparing with a teacher"], costs["a trial"]
    taught = sum(recipe.weight > 0 for recipe in recipes)
    training = [len(recipes) * trial for trial in trials]
    apart = [taught * b + (len(recipes) - taught) * a + t for a, b, t in zip(alone, together, training, strict=True)]
    shared = [b + t for b, t in zip(together, training, strict=True)]
    floor = statistics.median(ratios(apart, training))
    parts = {name: [round(value, 1) for value in values] for name, values in costs.items()}
    note = f"{len(recipes)} trials, {taught} with a teacher; seconds: {parts}; with nothing to prepare {floor:.2f} ×"
    return [Measurement(CLAIM, ratios(apart, shared), note)]


def prepare(recipe: DistillL2S, cache: Path) -> None:
    """Prepare in `cache` all that a recipe needs before it can train."""
    with environment(L2S_CACHE=str(cache)):
        for preparation in recipe.preparations():
            preparation.build()


def trial(recipe: DistillL2S, cache: Path, folder: Path) -> None:
    """Run a trial that finds in `cache` what it needs."""
    with environment(L2S_CACHE=str(cache)):
        recipe.run(LocalRun(folder))
