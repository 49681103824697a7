"""The training of a task in one stage over two prepared splits, as most recipes have it."""

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
    evaluation_seconds: float,
    seed: int,
    world: World,
) -> Progress:
    """Train the task and leave the student that is kept in it; see `fit`.

    `evaluation_seconds` are the padded seconds in one batch of evaluation.
    Raises ValueError when there are more workers than shares.
    """
    mine = optimisation.shares_of(world.rank, world.size)
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
