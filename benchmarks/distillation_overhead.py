"""The time that distillation adds to a training step when the teacher's features are cached.

The claim: a step with distillation takes at most 1.03 times one without on a GPU, and 1.05 times on a CPU.
The peer: the same step on the same batch at λ = 0. The two take turns step by step, for what else a machine does
changes by more in a minute than distillation adds; each loads its batch itself, so that loading features counts.
The floor: 1.00; the student's own work is the same, and all that is added is gathering, one projection and the loss.
"""

from collections.abc import Iterator
from functools import partial
from itertools import cycle

from benchmarks.material import SMALL, XLSR_LARGE, Material, Size, scratch
from benchmarks.ratios import Claim, Measurement, alternate, device, not_measured, on, ratios, seconds
from trainables.training import Meter, train_step

CLAIM = Claim("step with distillation, cached teacher", "the same step without", "1.00", target=1.05, better="at most")
CLAIMS = {"cuda": on(CLAIM, "GPU", 1.03), "cpu": on(CLAIM, "CPU", 1.05)}
WEIGHT = 0.5
SIZES = {"cuda": Size(XLSR_LARGE, 480, 24, 20), "cpu": Size(SMALL, 96, 8, 24)}


def measure(repeats: int, size: Size | None = None) -> list[Measurement]:
    """Measure on the device at hand."""
    where = device().type
    size = size or SIZES[where]
    with scratch() as folder:
        material = Material.of(folder, size.shape, clips=size.clips, batch=size.batch, steps=size.steps)
        trained, plain = steps(material, WEIGHT), steps(material, 0.0)
        arms = {"with": lambda: next(trained), "without": lambda: next(plain)}
        costs = alternate(arms, (1 + repeats) * size.steps, warm_up=False)
    # The first repeat is the warm-up.
    sums = {
        name: [sum(values[i : i + size.steps]) for i in range(size.steps, len(values), size.steps)]
        for name, values in costs.items()
    }
    measured = Measurement(CLAIMS[where], ratios(sums["with"], sums["without"]), str(size))
    others = [claim for kind, claim in CLAIMS.items() if kind != where]
    return [measured, *not_measured(others, f"training here is on {where}")]


def steps(material: Material, weight: float) -> Iterator[float]:
    """The seconds that each training step takes, one after the other, without end."""
    world, optimisation = material.world(), material.recipe.optimisation
    task, batches = material.task(weight).to(world.device).train(), material.batches(weight, 0, world)(0)
    optimiser, meter = optimisation.build(task, task.groups(optimisation)), Meter()

    def run(step: int) -> None:
        loaded = [world.ready(batch) for batch in next(batches)]
        train_step(
            task, optimiser, loaded, step=step, seed=0, optimisation=optimisation, world=world, meter=meter
        )  # fmt: skip

    for step in cycle(range(optimisation.steps)):
        yield seconds(partial(run, step))()
