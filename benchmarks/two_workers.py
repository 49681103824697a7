"""The gain of a second worker on a core of its own.

The claim: two workers of one core each get through at least 1.7 times the audio-seconds per second of one.
The peer: one worker on one core, with the same steps, clips and shares.
The floor: 2.0; what is missing goes into averaging the gradients and waiting for the longer share.
"""

import json
import os
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path

import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn

from benchmarks.material import SMALL, Material, Shape, environment, scratch
from benchmarks.ratios import Claim, Measurement, alternate, not_measured, ratios
from trainables.training import World

CLAIM = Claim(
    "2 workers of one core each, CPU", "1 worker on one core", "2.0: nothing but the shares' own work", target=1.7,
    better="at least",
)  # fmt: skip
WEIGHT = 0.5


@dataclass(frozen=True)
class Size:
    """The sizes of a repeat; a batch is cut into two shares, whoever computes them."""

    shape: Shape = SMALL
    clips: int = 128
    batch: int = 16
    steps: int = 3


def measure(repeats: int, size: Size | None = None) -> list[Measurement]:
    """Measure two processes that work together, and one while the other waits."""
    if len(os.sched_getaffinity(0)) < 2:
        return not_measured([CLAIM], "there is one core only")
    size = size or Size()
    with scratch() as folder, environment(OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES=""):
        material = Material.of(folder, size.shape, clips=size.clips, batch=size.batch, steps=size.steps, shares=2)
        barrier = get_context("spawn").Barrier(2)
        spawn(_work, (barrier, material, repeats, str(folder)), nprocs=2)
        rates = json.loads((folder / "rates.json").read_text())
    return [Measurement(CLAIM, ratios(rates["two"], rates["one"]), f"{size}; audio-seconds per second: {rates}")]


def _work(rank: int, barrier: Barrier, material: Material, repeats: int, folder: str) -> None:
    """Measure in one of two processes; both go through the same rounds."""
    torch.set_num_threads(1)
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[rank]})
    cpu, task, meetings = torch.device("cpu"), material.task(WEIGHT), iter(range(10**6))

    def one() -> float:
        barrier.wait()
        world = World(0, 1, cpu)
        rate = 0.0 if rank else material.throughput(task, material.batches(WEIGHT, 0, world), world)
        barrier.wait()
        return rate

    def two() -> float:
        store = f"file://{folder}/meeting-{next(meetings)}"
        distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
        world = World(rank, 2, cpu)
        rate = material.throughput(task, material.batches(WEIGHT, 0, world), world)
        distributed.destroy_process_group()
        return rate

    rates = alternate({"two": two, "one": one}, repeats)
    if rank == 0:
        Path(folder, "rates.json").write_text(json.dumps(rates))
