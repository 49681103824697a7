"""One GPU's pace in the distillation of HuBERT base into D&T, as arXiv 2210.15631 has it, with the teacher listening.

`python -m benchmarks.gpu_hubert [--json FILE]` takes at most eight minutes on one GPU and needs no data and no
checkpoint: 24 clips of 15 s of noise, a teacher of full size with random weights, 200 steps of the training loop in
bfloat16 and in float32, each with the teacher in the step and without, its states being there already. The batch lies
on the device, so that nothing is loaded. It prints a line for each and all of it as JSON. `--tiny` runs the same, very
small, on whatever there is. Besides PyTorch and transformers it needs pydantic, jaxtyping, soundfile, soxr, pyarrow,
jiwer and torchaudio.

The work is counted (flop.py), of one step: forward, backward, and the teacher's forward.
"""

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers
from transformers import HubertConfig, HubertModel
from transformers.utils import logging

from benchmarks.flop import counter
from benchmarks.peak import PEAKS
from benchmarks.ratios import device
from orchestrator.printing import escape_output
from trainables.batch import Batch
from trainables.corpora.audio import SAMPLE_RATE
from trainables.corpora.librispeech import LibriSpeech
from trainables.optimisation import Optimisation
from trainables.recipes.distil_hubert import DistilHubert
from trainables.recipes.distil_hubert_task import DistilHubertTask
from trainables.sequences import Sequences
from trainables.students.distilled import DeepThin
from trainables.teachers.hidden_units import HiddenUnits
from trainables.teachers.speech import SpeechModel
from trainables.teachers.states import Cached, Online
from trainables.training import Meter, World, train_step

FLOAT32_PEAKS = {"H100 PCIe": 51e12, "H100": 67e12, "H200": 67e12, "A100": 19.5e12}
"""FLOP/s in float32 without tensor cores, as `benchmarks.peak.PEAKS` in bfloat16 (NVIDIA's data sheets)."""
PRECISIONS = ("bfloat16", "float32")
BLOCKS = 4
"""Parts of an arm's steps that are timed apart, for the range."""
LIMIT = 480.0
"""Seconds, of which each arm has its part: on a slow GPU it makes fewer steps."""


@dataclass(frozen=True)
class Size:
    """The sizes of a run."""

    clips: int = 24
    seconds: float = 15.0
    steps: int = 200
    warm_up: int = 10
    student: DeepThin = field(default_factory=DeepThin)
    teacher: dict[str, Any] = field(default_factory=dict)
    """Fields of the teacher's config that are not HuBERT base's."""
    units: int = 504


TINY = Size(
    clips=2,
    seconds=0.5,
    steps=4,
    warm_up=1,
    student=DeepThin(width=16, feed_forward=16, layers=2, heads=2, position_kernel=8, position_groups=2),
    teacher={
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
        "conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
    },
    units=12,
)  # fmt: skip


@dataclass(frozen=True)
class Arm:
    """The steps in one precision, with the teacher in them or without."""

    precision: str
    teacher: bool
    autocast: bool
    """Whether the device has that precision: without bfloat16 in hardware, steps are in float32."""
    steps: int
    seconds: tuple[float, ...]
    """A step's mean in each block."""
    flop: int
    """Floating-point operations of a step."""
    gigabytes: float | None
    """Peak of what was allocated on the GPU."""
    loss: float
    """The mean over the steps, which must be a number."""

    @property
    def median(self) -> float:
        """Seconds of a step, the median of the blocks."""
        return statistics.median(self.seconds)


def recipe(size: Size, folder: Path, precision: str) -> DistilHubert:
    """The paper's distillation of the teacher in a folder; of its corpus nothing is read."""
    base = DistilHubert(corpus=LibriSpeech(root=str(folder)), teacher=SpeechModel(model=str(folder)), crop=None)
    optimisation = base.optimisation.model_copy(update={"precision": precision})
    return base.model_copy(update={"student": size.student, "optimisation": optimisation})


def made(size: Size, chosen: DistilHubert, world: World, *, teacher: bool) -> DistilHubertTask:
    """The task on the device, with hidden units at random, the same for each precision."""
    torch.manual_seed(1)
    targets = Online() if teacher else Cached(layers=chosen.taught())
    student, width = chosen.initial(), chosen.teacher.width
    units = HiddenUnits(
        torch.randn(width // 3, width), torch.zeros(width // 3), torch.randn(size.units, width // 3), 0.1
    )
    task = chosen.model_copy(update={"targets": targets}).assembled(student, units)
    return task.to(world.device).train()


def optimisation_of(task: DistilHubertTask) -> Optimisation:
    """The optimisation of the task's recipe."""
    assert isinstance(task.objective, DistilHubert)
    return task.objective.optimisation


def noise(size: Size, world: World) -> Batch:
    """A batch of clips of one length, on the device."""
    samples = int(size.seconds * SAMPLE_RATE)
    lengths = torch.full((size.clips,), samples)
    share = torch.full((size.clips,), 1 / size.clips)
    values = 0.1 * torch.randn(size.clips, samples, generator=torch.Generator().manual_seed(1))
    names = tuple(map(str, range(size.clips)))
    return Batch(names, Sequences(values, lengths), share, ("",) * size.clips, audio_share=share).to(world.device)


def taught(task: DistilHubertTask, batch: Batch, world: World) -> Batch:
    """The batch with what the teacher says of it, as a cache gives it."""
    with torch.no_grad(), world.precision(optimisation_of(task).precision):
        states = task.targets(batch).layers
    layers = [states[n] for n in sorted(states)]
    together = torch.cat([layer.values for layer in layers], dim=2)
    return replace(batch, sources={"teacher": Sequences(together, layers[0].lengths)})


def measured(task: DistilHubertTask, batch: Batch, world: World, size: Size, limit: float) -> Arm:
    """Steps of the training loop, at most as many as fit into `limit` seconds."""
    optimisation = optimisation_of(task)
    flop = operations(task, batch, world)
    optimiser, meter = optimisation.build(task, task.groups(optimisation)), Meter()

    def run(first: int, steps: int) -> float:
        begun = _now(world)
        for step in range(first, first + steps):
            train_step(
                task, optimiser, [batch], step=step, seed=1, optimisation=optimisation, world=world, meter=meter
            )  # fmt: skip
        return (_now(world) - begun) / steps

    begun = time.perf_counter()
    run(0, size.warm_up)
    left = limit - (time.perf_counter() - begun)
    block = max(1, min(size.steps, int(left / run(size.warm_up, 1))) // BLOCKS)
    if world.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = tuple(run(size.warm_up + 1 + i * block, block) for i in range(BLOCKS))
    allocated = torch.cuda.max_memory_allocated() / 1e9 if world.device.type == "cuda" else None
    with world.precision(optimisation.precision):
        autocast = torch.is_autocast_enabled(world.device.type)
    loss = meter.read(size.warm_up + 1 + BLOCKS * block)["train/loss"]
    return Arm(
        optimisation.precision, task.teacher is not None, autocast, BLOCKS * block, seconds, flop, allocated, loss
    )  # fmt: skip


def operations(task: DistilHubertTask, batch: Batch, world: World) -> int:
    """Floating-point operations of a step, forward and backward, and of the teacher, where it is in the step."""
    with counter() as counted:
        with world.precision(optimisation_of(task).precision):
            losses = task(batch)
        losses.total.backward()
    task.zero_grad()
    return counted.get_total_flops()


def arms(size: Size, told: Callable[[str], None], limit: float = LIMIT) -> Iterator[Arm]:
    """Both precisions, each with the teacher in the step and then without."""
    world, begun = World(0, 1, device()), time.perf_counter()
    batch, to_come = noise(size, world), 2 * len(PRECISIONS)

    def arm(task: DistilHubertTask, batch: Batch) -> Arm:
        told(f"{optimisation_of(task).precision}, {'with' if task.teacher else 'without'} the teacher …")
        return measured(task, batch, world, size, (limit - (time.perf_counter() - begun)) / to_come)

    with teacher(size) as folder:
        for precision in PRECISIONS:
            chosen = recipe(size, folder, precision)
            task = made(size, chosen, world, teacher=True)
            yield arm(task, batch)
            heard, to_come = taught(task, batch, world), to_come - 1
            del task  # or its teacher would lie beside the states that it gave
            yield arm(made(size, chosen, world, teacher=False), heard)
            to_come -= 1


@contextmanager
def teacher(size: Size) -> Iterator[Path]:
    """A folder with a HuBERT with random weights, for as long as it is needed."""
    with TemporaryDirectory(prefix="l2s-hubert-") as folder:
        torch.manual_seed(0)
        HubertModel(HubertConfig(**size.teacher)).save_pretrained(folder)
        yield Path(folder)


def document(size: Size, found: Sequence[Arm]) -> dict[str, Any]:
    """Everything that was measured, and on what."""
    name = torch.cuda.get_device_name() if device().type == "cuda" else "a processor"
    return {
        "benchmark": "gpu_hubert",
        "device": name,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "convolutions_in_tf32": torch.backends.cudnn.allow_tf32,
        "clips": size.clips,
        "seconds_of_a_clip": size.seconds,
        "peaks": {precision: _peak(precision, name) for precision in PRECISIONS},
        "arms": [{**asdict(arm), "median": arm.median} for arm in found],
        "teachers_share": {
            precision: _share(*(arm.median for arm in found if arm.precision == precision)) for precision in PRECISIONS
        },
    }


def lines(size: Size, found: Sequence[Arm], name: str) -> Iterator[str]:
    """The same for a reader."""
    clips = f"{size.clips} clips of {size.seconds:g} s"
    yield f"D&T of HuBERT with random weights, {clips} a step, on {name}, torch {torch.__version__}"
    for arm in found:
        peak, rate = _peak(arm.precision if arm.autocast else "float32", name), arm.flop / arm.median
        low, high = 1000 * min(arm.seconds), 1000 * max(arm.seconds)
        parts = [
            f"{1000 * arm.median:.1f} ms a step ({low:.1f} to {high:.1f} in {BLOCKS} parts of {arm.steps // BLOCKS})",
            f"{size.clips * size.seconds / arm.median:.0f} s of audio a second",
            f"{arm.flop / 1e12:.3g} TFLOP a step, {rate / 1e12:.3g} TFLOP/s",
        ]
        parts += [f"{100 * rate / peak:.1f} % of {peak / 1e12:g} TFLOP/s"] if peak else []
        parts += [] if arm.gigabytes is None else [f"{arm.gigabytes:.1f} GB at most"]
        lacking = "" if arm.autocast or arm.precision == "float32" else " (float32, for the device lacks it)"
        yield f"{arm.precision}{lacking}, {'with' if arm.teacher else 'without'} the teacher: {', '.join(parts)}"
    for precision in PRECISIONS:
        of_time, of_work = (
            100 * _share(*(value(arm) for arm in found if arm.precision == precision))
            for value in (lambda arm: arm.median, lambda arm: arm.flop)
        )
        yield f"{precision}: the teacher takes {of_time:.1f} % of a step, and {of_work:.1f} % of its operations"
    if torch.backends.cudnn.allow_tf32 and _peak("float32", name):
        yield "In float32 convolutions are in TF32, whose peak is higher than the one named here."


def _share(whole: float, rest: float) -> float:
    return 1 - rest / whole


def _peak(precision: str, name: str) -> float | None:
    peaks = PEAKS if precision == "bfloat16" else FLOAT32_PEAKS
    return next((value for part, value in peaks.items() if part in name), None)


def _now(world: World) -> float:
    if world.device.type == "cuda":
        torch.cuda.synchronize(world.device)
    return time.perf_counter()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print. Returns the exit code: 1 where a loss is no number, 2 without a GPU, unless tiny."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_hubert", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--tiny", action="store_true", help="very small, on whatever there is")
    parser.add_argument("--json", type=Path, help="file to write")
    chosen = parser.parse_args(arguments)
    if not chosen.tiny and device().type != "cuda":
        print("A GPU must be there for models of full size, but there is none; --tiny needs none.", file=sys.stderr)
        return 2
    logging.disable_progress_bar()
    size = TINY if chosen.tiny else Size()
    found = list(arms(size, lambda line: print(line, file=sys.stderr)))
    all_of_it = document(size, found)
    print("\n".join(lines(size, found, all_of_it["device"])))
    print(json.dumps(all_of_it))
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(all_of_it, indent=1), encoding="utf-8")
    return 0 if all(math.isfinite(arm.loss) for arm in found) else 1


if __name__ == "__main__":
    escape_output()
    sys.exit(main())
