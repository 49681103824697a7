"""A step of distillation with a teacher that listens, against the same step as the authors' released code has it.

The claims: at full size, HuBERT base into a deep and thin student whose convolutions are its teacher's and stay so, our
step is at least 1.3 times as quick, and needs at most a tenth of the extra memory. That is what is held at once of all
that a step makes, at its peak, above the same of the student alone; models and optimisers are there before.
The peer: the released code's way, written here from its description. The teacher is in training mode; its states are
gathered in one tensor and compared at once; p_t is a cosine of each frame with each label embedding, of which (units,
frames, features) are held at once; the teacher's convolutions and the student's are computed apart, though they are
the same. All is in float32, with the same student, heads, optimiser and clips, which have one length: then the losses
are the same as well, and that is checked.
The floor: the student alone, with a plain loss of the same outputs.
"""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile
from transformers import HubertConfig, HubertModel
from typing_extensions import override

from benchmarks.material import environment, scratch
from benchmarks.ratios import Claim, Measurement, alternate, device, ratios, seconds
from trainables.batch import Batch
from trainables.corpora.batching import ByCount
from trainables.corpora.common_voice import CommonVoice
from trainables.optimisation import Optimisation
from trainables.recipes import probe
from trainables.recipes.distil_hubert import DistilHubert
from trainables.recipes.distil_hubert_task import DistilHubertTask
from trainables.students.distilled import HUBERT_BASE, DeepThin, TeachersFrontEnd
from trainables.task import Losses, Task
from trainables.teachers.hidden_units import HiddenUnits
from trainables.teachers.speech import AudioTeacher, SpeechModel
from trainables.teachers.states import Online, OnlineInTraining, Targets
from trainables.training import Meter, World, train_step

PEER, FLOOR = "the released code's way", "the student alone, with a plain loss"
TIME = Claim("speed of a distillation step, teacher online, convolutions frozen", PEER, FLOOR, 1.3, "at least")
MEMORY = Claim("its extra memory, above the student alone", PEER, FLOOR, 10, "at most", "%")
TEMPERATURE = 0.1
"""HuBERT's τ."""
Run = Callable[[], None]


@dataclass(frozen=True)
class Size:
    """The sizes of a step, by default the paper's but for the clips."""

    teacher: HubertConfig = field(default_factory=lambda: HUBERT_BASE)
    student: DeepThin = field(default_factory=DeepThin)
    units: int = 504
    embedding: int = 256
    """Features of a label embedding."""
    clips: int = 2
    seconds: float = 4.0

    def __str__(self) -> str:
        teacher, student = self.teacher, self.student
        return (
            f"{teacher.num_hidden_layers} x {teacher.hidden_size} into {student.layers} x {student.width}, "
            f"{self.clips} clips of {self.seconds:g} s"
        )


class Alone(Task):
    """The student and its heads of a distillation, which are to give nought: a plain loss of the same outputs."""

    def __init__(self, whole: DistilHubertTask) -> None:
        super().__init__()
        self.student, self.heads, self.unit_head = whole.student, whole.heads, whole.unit_head
        self.depth, self.last = whole.depth, whole.last

    @override
    def skips(self) -> bool:
        return True

    @override
    def forward(self, batch: Batch) -> Losses:
        predicted, log_s = self.outputs(batch)
        return Losses(sum((value.square().mean() for value in predicted), start=log_s.square().mean()), {})

    def outputs(self, batch: Batch) -> tuple[list[Tensor], Tensor]:
        """Predictions of the teacher's layers, (batch, frames, D_t) each, and log p_s (batch, frames, units)."""
        states = self.student.states(batch.audio, {*self.heads.wanted, self.depth})
        return [value.values for value in self.heads(states).values()], self.unit_head(states[self.depth]).values

    @override
    def evaluate(self, batches: Iterator[Batch]) -> dict[str, float]:
        return {}


class AsReleased(Alone):
    """The distillation as the released code computes it: the student first, then its teacher without gradients."""

    def __init__(self, whole: DistilHubertTask) -> None:
        super().__init__(whole)
        assert whole.teacher is not None
        self.teacher: AudioTeacher = whole.teacher
        self.units = whole.units

    @override
    def forward(self, batch: Batch) -> Losses:
        predicted, log_s = self.outputs(batch)
        states = torch.stack(predicted, dim=1)
        with torch.no_grad():
            heard = self.teacher(batch.audio).layers
            targets = torch.stack([heard[layer].values for layer in range(1, self.last + 1)], dim=1)
            log_t = self.log_probabilities(heard[self.last].values.flatten(0, 1))
        distance = (states - targets).abs().mean()
        angle = -functional.logsigmoid(functional.cosine_similarity(states, targets, dim=-1)).mean()
        divergence = functional.kl_div(log_s.flatten(0, 1), log_t, reduction="batchmean", log_target=True)
        return Losses(distance + angle + divergence, {})

    def log_probabilities(self, hidden: Tensor) -> Tensor:
        """log p_t (frames, units) of hidden states (frames, features), by (units, frames, features) at once."""
        projection, bias, labels = (self.units.get_buffer(name) for name in ("projection", "bias", "embeddings"))
        embedded = functional.linear(hidden, projection, bias)
        each = labels[:, None].expand(-1, len(embedded), -1)
        return (functional.cosine_similarity(embedded, each, dim=-1).T / TEMPERATURE).log_softmax(dim=1)


def recipe(folder: Path, size: Size) -> DistilHubert:
    """A distillation of a teacher of that size with random weights; its convolutions learn a tenth as quickly."""
    torch.manual_seed(0)
    HubertModel(size.teacher).save_pretrained(folder / "teacher")
    return DistilHubert(
        corpus=CommonVoice(root=str(folder), language="cs"),
        teacher=SpeechModel(model=str(folder / "teacher")),
        student=size.student,
        # So small a rate that it is the same model in all repeats.
        optimisation=Optimisation(steps=1_000, warmup=0, learning_rate=1e-9, clip=5.0, precision="float32"),
    )


def task(made: DistilHubert, size: Size, targets: Targets) -> DistilHubertTask:
    """The student, its heads and its teacher with random hidden units, the same ones whenever it is called."""
    student = made.initial()
    units = HiddenUnits(
        torch.randn(size.embedding, size.teacher.hidden_size), torch.randn(size.embedding),
        torch.randn(size.units, size.embedding), TEMPERATURE,
    )  # fmt: skip
    return made.model_copy(update={"targets": targets}).assembled(student, units)


def arms(folder: Path, size: Size) -> dict[str, Run]:
    """A step of each way on one batch. Raises ValueError when ours and the peer's losses differ without dropout."""
    learning = recipe(folder, size)
    frozen = size.student.model_copy(update={"front_end": TeachersFrontEnd(gradient=0)})
    fixed = learning.model_copy(update={"student": frozen})
    tasks: dict[str, Task] = {
        "ours": task(fixed, size, Online()),
        "released": AsReleased(task(fixed, size, OnlineInTraining())),
        "alone": Alone(task(fixed, size, Online())),
        "ours, learning": task(learning, size, Online()),
        "released, learning": AsReleased(task(learning, size, OnlineInTraining())),
    }
    world = World(0, 1, device())
    (batch,) = probe.noise(ByCount(utterances=size.clips), longest=size.seconds, shares=1)
    batch = batch.to(world.device)
    with torch.no_grad():
        ours, theirs = (tasks[name].to(world.device).eval()(batch).total for name in ("ours", "released"))
    if not torch.allclose(ours, theirs, rtol=1e-3):
        raise ValueError(f"The losses must be the same without dropout, but are {ours:.4f} and {theirs:.4f}.")

    def stepping(task: Task) -> Run:
        optimiser = learning.optimisation.build(task.to(world.device).train(), task.groups(learning.optimisation))

        def step() -> None:
            train_step(
                task, optimiser, [batch], step=0, seed=0, optimisation=learning.optimisation, world=world,
                meter=Meter(),
            )  # fmt: skip

        return step

    return {name: stepping(task) for name, task in tasks.items()}


def most_held(run: Run) -> float:
    """Gigabytes that are held at once, at most, of all that is allocated meanwhile."""
    if device().type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - before) / 1e9
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as found:
        run()
    with tempfile.TemporaryDirectory(prefix="l2s-benchmark-") as folder:
        trace = Path(folder, "trace.json")
        found.export_chrome_trace(str(trace))
        events = [event for event in json.loads(trace.read_text())["traceEvents"] if event.get("name") == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event["ts"]):
        held += event["args"]["Bytes"]
        most = max(most, held)
    return most / 1e9


def measure(repeats: int, size: Size | None = None) -> list[Measurement]:
    """Measure on the device at hand; memory once, since it is the same each time."""
    size = size or Size()
    with scratch() as folder, environment(KINETO_LOG_LEVEL="6"):  # else the profiler writes of itself
        runs = arms(folder, size)
        costs = alternate({name: seconds(run) for name, run in runs.items()}, repeats)
        held = {name: most_held(runs[name]) for name in ("ours", "released", "alone")}
    extra = {name: held[name] - held["alone"] for name in ("ours", "released")}
    return [
        Measurement(TIME, ratios(costs["released"], costs["ours"]), _told(size, costs)),
        Measurement(MEMORY, (100 * extra["ours"] / extra["released"],), f"{size}; GB held at once: {held}"),
    ]


def _told(size: Size, costs: Mapping[str, tuple[float, ...]]) -> str:
    each = ", ".join(f"{name} {median(values):.2f}" for name, values in costs.items())
    learning = median(ratios(costs["released, learning"], costs["ours, learning"]))
    return (
        f"{size}; medians in s: {each}; where the convolutions learn, and nothing can be shared, {learning:.2f} times"
    )
