"""The training of a task in one stage over two prepared splits, as most recipes have it."""

from collections.abc import Sequence

from trainables.corpora.batching import Batching, Loader
from trainables.optimisation import Optimisation
from trainables.run import Run
from trainables.stages import Progress, Selection, Stages
from trainables.task import Task
from trainables.training import World, fit


def fit_on(
    train: Loader,
    valid: Loader,
    task: Task,
    run: Run,
    *,
    stage: str,
    optimisation: Optimisation,
    batching: Batching,
    selection: Selection,
    mine: Sequence[int],
    evaluation_seconds: float,
    seed: int,
    world: World,
) -> Progress:
    """Train the task and leave the student that is kept in it; see `fit`.

    `mine` are this worker's shares of each global batch, for which a recipe asks before it prepares anything: that is
    refused where there are too few. `evaluation_seconds` are the padded seconds in one batch of evaluation.
    """
    return fit(
        task,
        stages=Stages(run, {stage: optimisation}),
        stage=stage,
        train=lambda step: train.training(batching, seed=seed, start=step, shares=optimisation.shares, mine=mine),
        valid=lambda: valid.evaluation(seconds=evaluation_seconds, rank=world.rank, world_size=world.size),
        selection=selection,
        seed=seed,
        world=world,
    )
