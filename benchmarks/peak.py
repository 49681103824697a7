"""How much of a GPU's bf16 peak fine-tuning XLSR-large reaches.

The claim: at least 40 %, at 24 clips a step of the lengths of Common Voice's; padding, loading and the optimiser
count as time, and not as work.
The peer: usual recipes report 2 to 5 %.
The floor: 100 % of what the vendor states for dense products in bfloat16. The work is counted (flop.py),
forward and backward, on 5 s clips without padding; layerdrop is off, there and in the steps.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.flop import counter
from benchmarks.material import XLSR_LARGE, Material, Shape, scratch
from benchmarks.ratios import Claim, Measurement, alternate, device, not_measured
from trainables.recipes import probe
from trainables.recipes.distill_l2s import DistillL2STask
from trainables.students.ctc import Regularisation

CLAIM = Claim(
    "share of the bf16 peak, XLSR-large, GPU", "2 to 5 % in usual recipes", "100 %: the vendor's figure", target=40,
    better="at least", unit="%",
)  # fmt: skip
PEAKS = {"H100 PCIe": 756e12, "H100": 989e12, "H200": 989e12, "A100": 312e12}
"""Dense bf16 FLOP/s by a part of the device's name, the more special ones first (NVIDIA's data sheets)."""


@dataclass(frozen=True)
class Size:
    """The sizes of a repeat."""

    shape: Shape = XLSR_LARGE
    clips: int = 480
    batch: int = 24
    steps: int = 20


def measure(repeats: int, size: Size | None = None) -> list[Measurement]:
    """Measure on a GPU whose peak is known."""
    if device().type != "cuda":
        return not_measured([CLAIM], "there is no GPU")
    name = torch.cuda.get_device_name()
    peak = next((value for part, value in PEAKS.items() if part in name), None)
    if peak is None:
        return not_measured([CLAIM], f"the peak of {name} is not in the table")
    size = size or Size()
    with scratch() as folder:
        material = made(folder, size)
        task = material.task(0.0)
        work = operations(material, task)
        batches = material.batches(0.0, 0, material.world())
        rates = alternate({"ours": lambda: material.throughput(task, batches)}, repeats)["ours"]
    note = f"{size}; {work / 1e9:.1f} GFLOP per second of audio, {peak / 1e12:g} TFLOP/s"
    return [Measurement(CLAIM, tuple(100 * rate * work / peak for rate in rates), note)]


def made(folder: Path, size: Size) -> Material:
    """Make the material, without layerdrop, so that all steps are the same work."""
    material = Material.of(folder, size.shape, clips=size.clips, batch=size.batch, steps=size.steps)
    student = material.recipe.student.model_copy(update={"regularisation": Regularisation(layers=0)})
    return replace(material, recipe=material.recipe.model_copy(update={"student": student}))


def operations(material: Material, task: DistillL2STask) -> float:
    """Floating-point operations, forward and backward, per second of audio."""
    recipe, world = material.recipe, material.world()
    (batch,) = probe.noise(recipe.batching, longest=5.0, shares=1, masking=recipe.masking, teacher=None)
    task.to(world.device).train()
    with counter() as counted:
        with world.precision(recipe.optimisation.precision):
            losses = task(batch.to(world.device))
        losses.total.backward()
    task.zero_grad()
    return counted.get_total_flops() / (5 * len(batch.ids))
