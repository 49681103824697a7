"""Audio-seconds that fine-tuning gets through in a second, against the usual scripts.

The claims: at least 1.3 times what transformers' `Trainer` does with the padding collator of its CTC example and
length grouping; and, with distillation, at least 2.5 times what it does as the authors' released code has it.
The peers: the same student, clips, precision, clips a step and steps; the second with every batch padded to 10 s in
random order, the teacher read at each step, and the loss a loop over utterances and frames.
The floor: the student's own operations on unpadded clips, which are the same for all.
"""

from itertools import count

from benchmarks.material import SMALL, XLSR_LARGE, Material, Size, scratch
from benchmarks.ratios import Claim, Measurement, alternate, device, ratios
from benchmarks.usual_trainer import Distilled, PaddingCollator, dataset, processor, student, throughput

FLOOR = "the student's operations on unpadded clips"
GROUPED = Claim(
    "audio-seconds per second of fine-tuning", "Trainer, padding collator, length grouping", FLOOR, target=1.3,
    better="at least",
)  # fmt: skip
PADDED = Claim(
    "the same, with distillation", "Trainer, padded to 10 s, teacher online, loop over frames", FLOOR, target=2.5,
    better="at least",
)  # fmt: skip
WEIGHT = 0.5


# Both sorters sort windows of some batches, and `steps` are one of the Trainer's.
SIZES = {"cuda": Size(XLSR_LARGE, 2400, 24, 25), "cpu": Size(SMALL, 192, 6, 8)}


def measure(repeats: int, size: Size | None = None) -> list[Measurement]:
    """Measure on the device at hand."""
    size = size or SIZES[device().type]
    with scratch() as folder:
        material = Material.of(folder, size.shape, clips=size.clips, batch=size.batch, steps=size.steps)
        kind = processor(material, folder)
        rows, teacher = dataset(material, kind), material.recipe.teacher.build()
        seeds = {name: count() for name in ("ours", "ours_distilled", "grouped", "padded")}
        tasks = {name: material.task(weight) for name, weight in (("ours", 0.0), ("ours_distilled", WEIGHT))}

        def ours(name: str, weight: float) -> float:
            batches = material.batches(weight, next(seeds[name]), material.world())
            return material.throughput(tasks[name], batches)

        def grouped() -> float:
            collator, seed = PaddingCollator(kind), next(seeds["grouped"])
            return throughput(student(material), rows, collator, material, folder, grouped=True, seed=seed)

        def padded() -> float:
            collator, seed = PaddingCollator(kind, "max_length", teacher), next(seeds["padded"])
            model = Distilled(student(material), teacher, WEIGHT)
            return throughput(model, rows, collator, material, folder, grouped=False, seed=seed)

        arms = {
            "ours": lambda: ours("ours", 0.0),
            "grouped": grouped,
            "ours_distilled": lambda: ours("ours_distilled", WEIGHT),
            "padded": padded,
        }
        rates = alternate(arms, repeats)
    note = f"{size}; audio-seconds per second: " + "; ".join(
        f"{name} {', '.join(f'{value:.1f}' for value in values)}" for name, values in rates.items()
    )
    return [
        Measurement(GROUPED, ratios(rates["ours"], rates["grouped"]), note),
        Measurement(PADDED, ratios(rates["ours_distilled"], rates["padded"]), note),
    ]
