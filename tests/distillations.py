"""What tests of distillations share: sizes that train in a second, and changes of a recipe."""

from trainables.batch import Batch
from trainables.optimisation import Linear, Optimisation
from trainables.recipes.distil_hubert import DistilHubert

THIN = {"width": 16, "feed_forward": 24, "layers": 2, "heads": 2, "position_kernel": 8, "position_groups": 2}
SHORT = Optimisation(
    steps=12, warmup=2, schedule=Linear(), learning_rate=2e-3, evaluate_every=4, precision="float32", shares=2
)


def changed(recipe: DistilHubert, **fields: object) -> DistilHubert:
    """The recipe with other fields, checked again."""
    return DistilHubert.model_validate({**recipe.model_dump(), **fields})


def first_batch(recipe: DistilHubert, step: int) -> Batch:
    """The whole global batch of a step."""
    (batch,) = next(recipe._loader("train").training(recipe.batching, seed=1, start=step, shares=1, mine=[0]))
    return batch
