"""`fit`: the only training loop.

The task owns the mathematics, the loop owns time. Everything random is seeded from (seed, step, share), so
a resumed run needs no generator's state, and its steps are those of an undisturbed one.
"""

import math
import os
import shutil
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from trainables.batch import Batch
from trainables.corpora.audio import SAMPLE_RATE
from trainables.metrics import reduced
from trainables.optimisation import Optimisation
from trainables.prefetch import ahead
from trainables.run import Run

T = TypeVar("T")
CHECK_EVERY = 50
"""Steps between looks at whether the loss is still a number: each makes the host wait for the device."""


class NonFiniteLoss(RuntimeError):
    """Training has diverged."""


@dataclass(frozen=True, slots=True)
class Losses:
    """One micro-batch's part of the loss of its global batch: sums over utterances, each times its scale."""

    total: Float[Tensor, ""]
    terms: dict[str, Float[Tensor, ""]]


class Task(nn.Module, ABC):
    """What `fit` trains: a student and its losses."""

    student: Any
    """The module whose best state is kept."""

    @abstractmethod
    def pretrained(self) -> nn.Module:
        """The part that learns at `learning_rate`; the rest learns at `new_learning_rate`."""

    @abstractmethod
    def skips(self) -> bool:
        """Whether a step may leave trainable parameters without a gradient, as layerdrop does."""

    @abstractmethod
    def forward(self, batch: Batch) -> Losses:
        """The losses of a micro-batch."""

    @abstractmethod
    def evaluate(self, batches: Iterator[Batch]) -> dict[str, float]:
        """Error rates over all ranks; every rank calls it with its part."""


@dataclass(frozen=True, slots=True)
class World:
    """The workers that train one model together, and this one's place and device."""

    rank: int
    size: int
    device: torch.device

    @classmethod
    def here(cls) -> "World":
        """From torch.distributed, or alone where it is not initialised."""
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
        """A batch in memory from which the device takes it without making the host wait."""
        return batch.pinned() if self.device.type == "cuda" else batch

    def batches(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Batches on the device, made while the one before is in use."""
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


@dataclass
class Progress:
    """Where training stands: all that is not in the model or the optimiser."""

    step: int = 0
    """Steps done."""
    best: float = float("inf")
    best_step: int = 0
    best_student: dict[str, Tensor] = field(default_factory=dict)


def fit(
    task: Task,
    *,
    train: Callable[[int], Iterator[list[Batch]]],
    valid: Callable[[], Iterator[Batch]],
    optimisation: Optimisation,
    selection: Literal["cer", "wer"],
    seed: int,
    run: Run,
    world: World,
) -> Progress:
    """Train `task` in place, from the run's last checkpoint on, and leave its best student in it.

    `train(step)` yields this rank's micro-batches of each step from `step` on; `valid()` its part of the
    validation split, whose `selection` in percent decides which student is the best.
    Raises NonFiniteLoss, naming the step, when the loss is no longer a number.
    """
    task.to(world.device)
    optimiser = optimisation.build(task, task.pretrained())
    progress = _resume(run.resume(), task, optimiser)
    model = _together(task) if world.size > 1 else task
    meter = Meter()
    task.train()
    left = islice(train(progress.step), optimisation.steps - progress.step)
    with closing(ahead(list(map(world.ready, micro_batches)) for micro_batches in left)) as steps:
        for micro_batches in meter.fetched(steps):
            train_step(
                model, optimiser, micro_batches,
                step=progress.step, seed=seed, optimisation=optimisation, world=world, meter=meter,
            )  # fmt: skip
            progress.step += 1
            if progress.step % CHECK_EVERY == 0:
                meter.check(progress.step)
            if progress.step % optimisation.evaluate_every == 0 or progress.step == optimisation.steps:
                metrics = meter.read(progress.step)
                with evaluating(task, world, optimisation.precision):
                    rates = task.evaluate(world.batches(valid()))
                metrics |= {f"valid/{name}": rate for name, rate in rates.items()}
                _keep_best(task, progress, metrics[f"valid/{selection}"])
                metrics |= {"learning_rate": optimiser.param_groups[0]["lr"], "best_step": progress.best_step}
                _commit(run, metrics, task, optimiser, progress, world)
                meter.begin()
    task.student.load_state_dict(progress.best_student)
    return progress


def train_step(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    micro_batches: Sequence[Batch],
    *,
    step: int,
    seed: int,
    optimisation: Optimisation,
    world: World,
    meter: "Meter",
) -> None:
    """One step of the optimiser over this worker's shares of a global batch; `model` is the task, or DDP around it."""
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * optimisation.factor(step)
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
    torch.nn.utils.clip_grad_norm_(model.parameters(), optimisation.clip)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)


@contextmanager
def evaluating(task: Task, world: World, precision: str) -> Iterator[None]:
    """Without gradients and in evaluation mode."""
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


def _keep_best(task: Task, progress: Progress, value: float) -> None:
    if value < progress.best:
        progress.best, progress.best_step = value, progress.step
        progress.best_student = {k: v.detach().to("cpu", copy=True) for k, v in task.student.state_dict().items()}


def _commit(
    run: Run,
    metrics: dict[str, float],
    task: Task,
    optimiser: torch.optim.Optimizer,
    progress: Progress,
    world: World,
) -> None:
    if world.rank != 0:
        run.report(metrics, step=progress.step)
        return
    folder = Path(tempfile.mkdtemp(prefix="checkpoint-"))
    try:
        state = {
            "task": task.state_dict(), "optimiser": optimiser.state_dict(), "step": progress.step,
            "best": progress.best, "best_step": progress.best_step, "best_student": progress.best_student,
        }  # fmt: skip
        torch.save(state, folder / "state.pt")
        run.report(metrics, step=progress.step, checkpoint=folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _resume(checkpoint: Path | None, task: Task, optimiser: torch.optim.Optimizer) -> Progress:
    if checkpoint is None:
        return Progress()
    state = torch.load(checkpoint / "state.pt", map_location="cpu", weights_only=True)
    task.load_state_dict(state["task"])
    optimiser.load_state_dict(state["optimiser"])
    return Progress(state["step"], state["best"], state["best_step"], state["best_student"])
