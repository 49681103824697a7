"""What distillation adds to a training step, the loader included, when the teacher's features are cached.

The claim: a step with distillation takes at most 1.03 times one without on a GPU, and 1.05 times on a CPU.
The peer: the same steps of `fit` on the same batches at λ = 0.
The floor: 1.00; the student's own work is the same, and all that is added is gathering, one projection and the loss.
"""

from benchmarks.material import SMALL, XLSR_LARGE, Material, Size, scratch
from benchmarks.ratios import Claim, Measurement, alternate, device, not_measured, on, ratios

CLAIM = Claim("step with distillation, cached teacher", "the same step without", "1.00", target=1.05, better="at most")
CLAIMS = {"cuda": on(CLAIM, "GPU", 1.03), "cpu": on(CLAIM, "CPU", 1.05)}
WEIGHT = 0.5


SIZES = {"cuda": Size(XLSR_LARGE, 480, 24, 20), "cpu": Size(SMALL, 96, 8, 12)}


def measure(repeats: int, size: Size | None = None) -> list[Measurement]:
    """On the device at hand."""
    where = device().type
    size = size or SIZES[where]
    with scratch() as folder:
        material = Material.of(folder, size.shape, clips=size.clips, batch=size.batch, steps=size.steps)
        tasks = {weight: material.task(weight) for weight in (0.0, WEIGHT)}

        def rate(weight: float) -> float:
            return material.throughput(tasks[weight], material.batches(weight, 0, material.world()))

        rates = alternate({"with": lambda: rate(WEIGHT), "without": lambda: rate(0.0)}, repeats)
    measured = Measurement(CLAIMS[where], ratios(rates["without"], rates["with"]), str(size))
    others = [claim for kind, claim in CLAIMS.items() if kind != where]
    return [measured, *not_measured(others, f"training here is on {where}")]
