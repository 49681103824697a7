"""The time that choosing the best checkpoint, by evaluations, adds to a trial of the paper's.

The claim: at most 5 % of a trial. A trial has 20 000 steps and an evaluation every 2 000 (§3.4), of 24 clips (the
released code), and here a validation split of 5 000 clips as long as those that are trained on.
The peer: the whole trial, of which they are a share.
The floor: the student's forward pass over that split.
"""

import time

from benchmarks.material import SMALL, XLSR_LARGE, Material, Size, scratch
from benchmarks.ratios import Claim, Measurement, alternate, device
from trainables.corpora.audio import SAMPLE_RATE
from trainables.corpora.batching import ByCount
from trainables.optimisation import Optimisation
from trainables.recipes.distill_l2s import DistillL2STask
from trainables.training import evaluating

CLAIM = Claim(
    "time that evaluations take", "the whole trial", "a forward pass over the split", target=5,
    better="at most", unit="%",
)  # fmt: skip
WEIGHT = 0.5
SPLIT = 5_000
"""Clips to validate on."""
SIZES = {"cuda": Size(XLSR_LARGE, 480, 24, 20), "cpu": Size(SMALL, 96, 8, 8)}
SECONDS = {"cuda": 240.0, "cpu": 60.0}
"""Padded seconds in a batch of evaluation: the recipe's own, and what the small student gets through at once."""


def measure(repeats: int, size: Size | None = None) -> list[Measurement]:
    """Measure on the device at hand."""
    size = size or SIZES[device().type]
    trial = Optimisation()
    trained = trial.steps * ByCount().utterances
    evaluated = trial.steps // trial.evaluate_every * SPLIT
    with scratch() as folder:
        material = Material.of(folder, size.shape, clips=size.clips, batch=size.batch, steps=size.steps)
        task, batches = material.task(WEIGHT), material.batches(WEIGHT, 0, material.world())
        arms = {
            "train": lambda: material.throughput(task, batches),
            "evaluate": lambda: evaluation(material, task),
        }
        rates = alternate(arms, repeats)
    shares = tuple(
        100 * (evaluated / evaluate) / (evaluated / evaluate + trained / train)
        for train, evaluate in zip(rates["train"], rates["evaluate"], strict=True)
    )
    return [Measurement(CLAIM, shares, f"{size}; audio-seconds per second: {rates}")]


def evaluation(material: Material, task: DistillL2STask) -> float:
    """Audio-seconds per second of one evaluation, on the clips that are trained on."""
    world, loader = material.world(), material.loader(0)
    task.to(world.device)
    begun = time.perf_counter()
    with evaluating(task, world, material.recipe.optimisation.precision):
        batches = loader.evaluation(seconds=SECONDS[world.device.type], rank=0, world_size=1)
        task.evaluate(world.batches(batches))
    return float(material.train.samples.sum()) / SAMPLE_RATE / (time.perf_counter() - begun)
