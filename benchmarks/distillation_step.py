"""A step of distillation with a teacher that listens, against the same step as the released code has it.

The claims: at full size, HuBERT base into a deep and thin student whose convolutions are its teacher's and stay so, our
step is at least 1.3 times as quick, and needs at most a tenth of the extra memory: what its peak has above that of the
student alone.
The peer: the released code's way, written here from its description. The teacher is in training mode; all its states
are gathered in one tensor and compared at once; p_t is a cosine of each frame with each label embedding, (units,
frames, features) held at once; and the teacher's convolutions and the student's are computed apart, though they are the
same. Both are in float32, on the same clips, with the same student, heads and optimiser.
The floor: the student alone, with a plain loss of the same outputs, which is a third arm.
"""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile
from transformers import HubertConfig, HubertModel
from typing_extensions import override

from benchmarks.material import scratch
from benchmarks.ratios import device
from trainables.batch import Batch
from trainables.corpora.batching import ByCount
from trainables.corpora.common_voice import CommonVoice
from trainables.optimisation import Optimisation
from trainables.recipes import probe
from trainables.recipes.distil_hubert import DistilHubert
from trainables.recipes.distil_hubert_task import DistilHubertTask
from trainables.students.distilled import DeepThin, TeachersFrontEnd
from trainables.task import Losses, Task
from trainables.teachers.hidden_units import HiddenUnits
from trainables.teachers.speech import SpeechModel
from trainables.teachers.states import Online, OnlineInTraining, Targets
from trainables.training import Meter, World, train_step


@dataclass(frozen=True)
class Size:
    """The sizes of a step."""

    teacher: HubertConfig
    student: DeepThin
    units: int = 504
    embedding: int = 256
    clips: int = 2
    seconds: float = 4.0


def material(folder: Path, size: Size) -> DistilHubert:
    """A distillation of a random teacher of that size, whose student keeps the teacher's convolutions."""
    torch.manual_seed(0)
    HubertModel(size.teacher).save_pretrained(folder / "teacher")
    return DistilHubert(
        corpus=CommonVoice(root=str(folder), language="cs"),
        teacher=SpeechModel(model=str(folder / "teacher")),
        student=size.student,
        optimisation=Optimisation(steps=10_000, warmup=0, learning_rate=1e-9, clip=5.0, precision="float32"),
    )


def task(recipe: DistilHubert, size: Size, targets: Targets) -> DistilHubertTask:
    torch.manual_seed(0)
    units = HiddenUnits(
        torch.randn(size.embedding, size.teacher.hidden_size), torch.zeros(size.embedding),
        torch.randn(size.units, size.embedding), 0.1,
    )  # fmt: skip
    return recipe.assembled(recipe.initial(), units, targets)


class Alone(Task):
    def __init__(self, task: DistilHubertTask) -> None:
        super().__init__()
        self.student, self.heads, self.unit_head = task.student, task.heads, task.unit_head
        self.wanted = {*task.heads.wanted, task.depth}
        self.depth = task.depth

    @override
    def skips(self):
        return True

    @override
    def forward(self, batch: Batch) -> Losses:
        states = self.student.states(batch.audio, self.wanted)
        total = sum(p.values.abs().mean() for p in self.heads(states).values()) / len(self.wanted)
        total = total - self.unit_head(states[self.depth]).values.mean()
        return Losses(total, {})

    def evaluate(self, batches):
        raise NotImplementedError


class Released(Alone):
    def __init__(self, task: DistilHubertTask) -> None:
        super().__init__(task)
        self.teacher, self.units = task.teacher, task.units

    @override
    def forward(self, batch: Batch) -> Losses:
        states = self.student.states(batch.audio, self.wanted)
        predicted = torch.stack([p.values for p in self.heads(states).values()], dim=1)
        log_s = self.unit_head(states[self.depth]).values.flatten(0, 1)
        with torch.no_grad():
            heard = self.teacher(batch.audio).layers
            target = torch.stack([heard[i].values for i in range(1, 13)], dim=1)
            last = heard[12].values.flatten(0, 1)
            embedded = functional.linear(last, self.units.projection, self.units.bias)
            labels = self.units.embeddings.unsqueeze(1).expand(-1, len(embedded), -1)
            logits = functional.cosine_similarity(embedded, labels, dim=-1).T / 0.1
            log_t = logits.log_softmax(dim=1)
        l1 = (predicted - target).abs()
        ls = -functional.logsigmoid(functional.cosine_similarity(predicted, target, dim=-1))
        kl = functional.kl_div(log_s, log_t, log_target=True, reduction="batchmean")
        return Losses(l1.mean() + ls.mean() + kl, {})


def peak(run) -> tuple[float, float]:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found, torch.profiler.record_function("x"):
        run()
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        found.export_chrome_trace(file.name)
        events = json.load(open(file.name))["traceEvents"]
    mem = [(e["ts"], e["args"]) for e in events if e.get("name") == "[memory]" and e["args"].get("Device Type") == 0]
    mem.sort(key=lambda m: m[0])
    totals = [m[1]["Total Allocated"] for m in mem]
    bytes_ = [m[1]["Bytes"] for m in mem]
    run_ = 0; best = 0
    for b in bytes_:
        run_ += b; best = max(best, run_)
    return (max(totals) - totals[0]) / 1e6, best / 1e6


if __name__ == "__main__":
    import sys
    import time
    size = Size(HubertConfig(), DeepThin(front_end=TeachersFrontEnd(gradient=float(sys.argv[1]))))
    with scratch() as folder:
        recipe = material(folder, size)
        (batch,) = probe.noise(ByCount(utterances=size.clips), longest=size.seconds, shares=1)
        world = World(0, 1, device())
        runs = {}
        for name, t in (("ours", task(recipe, size, Online())), ("alone", Alone(task(recipe, size, Online()))), ("released", Released(task(recipe, size, OnlineInTraining())))):
            t.train()
            opt = recipe.optimisation.build(t, t.groups(recipe.optimisation))
            meter = Meter()
            def run(t=t, opt=opt, meter=meter):
                train_step(t, opt, [batch], step=3, seed=0, optimisation=recipe.optimisation, world=world, meter=meter)
            runs[name] = run
        for i in range(2):
            for name, run in runs.items():
                b = time.perf_counter(); run(); print(i, name, time.perf_counter() - b, flush=True)
        for name, run in runs.items():
            print(name, peak(run), flush=True)
