"""`fit`: the only training loop.

The task owns the mathematics, the loop owns time. Everything random is seeded from (seed, step, share), so
a resumed run needs no generator's state, and its steps are those of an undisturbed one.
"""

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from trainables.batch import Batch
from trainables.corpora.audio import SAMPLE_RATE
from trainables.metrics import reduced
from trainables.optimisation import Optimisation
from trainables.prefetch import ahead
from trainables.stages import Progress, Selection, Stages
from trainables.task import Losses, Task

T = TypeVar("T")
CHECK_EVERY = 50
"""Steps after which the loss is looked at, whether it is still a number: each look makes the host wait for the device.
"""


class NonFiniteLoss(RuntimeError):
    """Training has diverged.

    All draws are decided by (seed, step), so that the same steps end the same way. Whoever runs recipes reads that off
    the class: where `repeatable` is false, a trial that raised such an error is not tried again.
    """

    repeatable: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class World:
    """This worker's place among those that train one model together, and its device."""

    rank: int
    size: int
    device: torch.device

    @classmethod
    def here(cls) -> "World":
        """This worker as torch.distributed has it, or alone where that is not initialised."""
        together = distributed.is_initialized()
        if threads := os.environ.get("OMP_NUM_THREADS"):
            # PyTorch reads it when it is imported, which may have been before a runner set it.
            torch.set_num_threads(int(threads))
        device = torch.device("cpu")
        if torch.cuda.is_available():
            # Workers on one node see all GPUs of their group; a GPU that is shared is the only one they see.
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
            torch.cuda.set_device(device)
        return cls(distributed.get_rank() if together else 0, distributed.get_world_size() if together else 1, device)

    def ready(self, batch: Batch) -> Batch:
        """The batch, in memory from which the device takes it without making the host wait."""
        return batch.pinned() if self.device.type == "cuda" else batch

    def batches(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches on the device, each made while the one before is in use."""
        return (batch.to(self.device) for batch in ahead(map(self.ready, batches)))

    def precision(self, wanted: str) -> AbstractContextManager[Any]:
        """bfloat16 autocast where it is `wanted` and the device has it in hardware, else float32."""
        if wanted == "float32":
            return nullcontext()
        if self.device.type == "cuda":
            has_it = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            has_it = torch.cpu._is_avx512_bf16_supported()
        if has_it:
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()


def fit(
    task: Task,
    *,
    stages: Stages,
    stage: str,
    train: Callable[[int], Iterator[list[Batch]]],
    valid: Callable[[], Iterator[Batch]],
    selection: Selection,
    seed: int,
    world: World,
) -> Progress:
    """Train `task` in place through one of the trial's stages, and leave the student that is kept in it.

    `train(step)` yields this worker's micro-batches of each step from `step` on, counted over all stages; `valid()` its
    part of the validation split. A stage that the trial's last checkpoint has finished, or begun, is not done again.
    Raises NonFiniteLoss, naming the step, when the loss is no longer a number, and ValueError, before anything is
    trained, when it is not the stage's turn.
    """
    steps, optimisation = stages.begin(stage)
    task.to(world.device)
    optimiser = optimisation.build(task, task.groups(optimisation))
    average = optimisation.average(task.learned_by_student())
    progress = stages.resume(task, optimiser, average, selection)
    model = _together(task) if world.size > 1 else task
    meter = Meter()
    task.train()
    left = islice(train(progress.step), steps.stop - progress.step)
    with closing(ahead(list(map(world.ready, micro_batches)) for micro_batches in left)) as batches:
        for micro_batches in meter.fetched(batches):
            train_step(
                model, optimiser, micro_batches, step=progress.step, begin=steps.start,
                seed=seed, optimisation=optimisation, world=world, meter=meter,
            )  # fmt: skip
            if average is not None:
                average.update(progress.step - steps.start)
            progress.step += 1
            done = progress.step - steps.start
            if done % CHECK_EVERY == 0:
                meter.check(progress.step)
            if done % optimisation.evaluate_every == 0 or progress.step == steps.stop:
                metrics = meter.read(progress.step)
                with evaluating(task, world, optimisation.precision), average.in_place() if average else nullcontext():
                    found = task.evaluate(world.batches(valid()))
                    metrics |= {f"valid/{name}": value for name, value in found.items()}
                    if selection.prefers(metrics, progress.values):
                        progress.keep(task, metrics)
                metrics |= {"learning_rate": optimiser.param_groups[0]["lr"], "best_step": progress.best_step}
                stages.commit(metrics, progress, task, optimiser, average, rank=world.rank)
                meter.begin()
    task.restore_student(progress.best_student)
    stages.end(task, progress)
    return progress


def train_step(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    micro_batches: Sequence[Batch],
    *,
    step: int,
    begin: int = 0,
    seed: int,
    optimisation: Optimisation,
    world: World,
    meter: "Meter",
) -> None:
    """One step of the optimiser over this worker's shares of a global batch; `model` is the task, or DDP around it.

    `step` is counted over all stages of the trial, and decides the draws; the schedule begins with the stage, at the
    step `begin`.
    """
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * optimisation.factor(step - begin)
    for i, batch in enumerate(micro_batches):
        _seed(seed, step, i * world.size + world.rank)  # the share's number, whoever computes it
        # Each worker synchronises once, at its last share: some may have one share less than others.
        last = i == len(micro_batches) - 1
        with nullcontext() if last or world.size == 1 else model.no_sync():  # pyright: ignore
            with world.precision(optimisation.precision):
                losses: Losses = model(batch.to(world.device))
            # DistributedDataParallel averages the gradients of ranks whose losses are parts of one sum.
            (losses.total * world.size).backward()
        meter.add(losses, batch)
    for group in optimiser.param_groups:
        if step - begin < group.get("begins", 0):
            for weight in group["params"]:
                weight.grad = None
    if optimisation.clip is not None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), optimisation.clip)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)


@contextmanager
def evaluating(task: Task, world: World, precision: str) -> Iterator[None]:
    """For a while the task is in evaluation mode, and nothing has gradients."""
    task.eval()
    with torch.no_grad(), world.precision(precision):
        yield
    task.train()


class Meter:
    """Means of the losses since the last reading, summed on the device so that no step waits for it; and the speed."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Forget all that was counted; the clock starts."""
        self.sums: dict[str, Tensor] = {}
        self.utterance_scale, self.seconds, self.waited, self.begun = 0.0, 0.0, 0.0, time.perf_counter()

    def fetched(self, items: Iterator[T]) -> Iterator[T]:
        """The same items, and the time until each is there counted as waiting for data."""
        begun = time.perf_counter()
        for item in items:
            self.waited += time.perf_counter() - begun
            yield item
            begun = time.perf_counter()

    def add(self, losses: Losses, batch: Batch) -> None:
        """Count a micro-batch."""
        for name, value in {"loss": losses.total, **losses.terms}.items():
            self.sums[name] = self.sums.get(name, torch.zeros((), device=value.device)) + value.detach().double()
        self.utterance_scale += float(batch.scale.sum())
        self.seconds += float(batch.audio.lengths.sum()) / SAMPLE_RATE

    def check(self, step: int) -> None:
        """Raises NonFiniteLoss if any loss so far was not a number."""
        self._values(step)

    def read(self, step: int) -> dict[str, float]:
        """Means over all ranks.

        Waiting for data is the host's: a GPU, which may be at work on what it was given before, waits no longer.
        """
        values, elapsed = self._values(step), time.perf_counter() - self.begun
        extra = torch.tensor([self.utterance_scale, self.seconds, self.waited, elapsed], dtype=torch.float64)
        totals = reduced(torch.cat([values, extra])).tolist()
        steps, seconds, waited, together = totals[-4:]
        means = {f"train/{name}": total / steps for name, total in zip(self.sums, totals, strict=False)}
        return {
            **means,
            "audio_seconds_per_second": seconds / elapsed,
            "waiting_for_data_percent": 100 * waited / together,
        }

    def _values(self, step: int) -> Tensor:
        """The sums on the host, in one transfer."""
        values = torch.stack(list(self.sums.values())).cpu()
        for name, value in zip(self.sums, values.tolist(), strict=True):
            if not math.isfinite(value):
                raise NonFiniteLoss(f"The {name} must be a finite number, but was {value} by step {step}.")
        return values


def _together(task: Task) -> nn.Module:
    """The task with its gradients averaged over the workers.

    Where no step leaves a parameter out, nothing looks for such in the graph. That is all that DDP's `static_graph`
    would bring; and with it no gradient is ever averaged where the output is a dataclass.
    """
    return DistributedDataParallel(task, find_unused_parameters=task.skips())


def _seed(seed: int, step: int, share: int) -> None:
    state = np.random.SeedSequence((seed, step, share)).generate_state(1, np.uint64)
    torch.manual_seed(int(state[0]))
