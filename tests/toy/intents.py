"""Spoken commands and what is meant by them: recipes that share nothing with the papers' but the seams.

Labels for text, two test sets, an error that is neither CER nor WER, a teacher that is a trial of its own, and a
student that is trained in two stages. All of it takes a second.
"""

import io
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import soundfile
import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from trainables.batch import Batch, Utterance
from trainables.config import Preparation, Where
from trainables.corpora.audio import SAMPLE_RATE
from trainables.corpora.base import OwnCorpus
from trainables.corpora.batching import Loader, Shuffled
from trainables.corpora.corpus import Corpus
from trainables.corpora.prepared import PreparedSplit, SplitPreparation
from trainables.corpora.sources import Labels
from trainables.corpora.subsets import Subset
from trainables.export.card import Card, Dataset, fields
from trainables.metrics import Scores, reduced, write_utterances
from trainables.optimisation import Optimisation
from trainables.recipes import probe
from trainables.recipes.recipe import Recipe
from trainables.run import Run
from trainables.sequences import Sequences
from trainables.stages import Best, Last, Stages
from trainables.task import Losses, Task
from trainables.training import World, evaluating, fit

INTENTS = ("lights on", "lights off", "louder", "quieter")
ERROR = "intent_error"
TEST_SETS = ("speaker_test", "utterance_test")
WEIGHTS, UTTERANCES = "weights.safetensors", "utterances.parquet"
WINDOW = 160
"""Samples of which a spectrum is taken."""
SHORT = Optimisation(steps=24, warmup=4, learning_rate=0.02, evaluate_every=8, precision="float32")


class Commands(OwnCorpus):
    """Commands hummed by a few speakers, each intent at its own pitch; nobody has written down what they say."""

    noise: float = 0.5
    """Amplitude; the commands' is 1."""

    @property
    @override
    def splits(self) -> tuple[str, ...]:
        return "train", "valid", *TEST_SETS

    @property
    @override
    def slots(self) -> tuple[str, ...]:
        return ("intent",)

    @override
    def utterances(self, split: str) -> Iterator[Utterance]:
        """Of `speaker_test` others are the speakers, of `utterance_test` the commands are shorter."""
        random = np.random.default_rng(self.splits.index(split))
        first, seconds = (8 if split == "speaker_test" else 0), (0.1 if split == "utterance_test" else 0.3)
        for i in range(96 if split == "train" else 48):
            speaker, intent = first + i // len(INTENTS) % 8, i % len(INTENTS)
            pitch = (300 + 120 * intent) * (0.9 + 0.02 * speaker)
            time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
            hum = np.sin(2 * np.pi * pitch * time) + self.noise * random.normal(size=len(time))
            file = io.BytesIO()
            soundfile.write(file, 0.1 * hum, SAMPLE_RATE, format="wav")
            yield Utterance(f"{split}-{i}", file.getvalue(), None, f"speaker {speaker}", {"intent": INTENTS[intent]})

    @override
    def release(self) -> str:
        return "hummed commands"

    @override
    def licence(self) -> str:
        return "CC0-1.0"

    @override
    def fingerprint(self) -> str:
        return "hummed 1"


class Ear(nn.Module):
    """Hears the mean spectrum of a command; its front end gives hidden states, its head scores of the intents."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.front = nn.Sequential(nn.Linear(WINDOW // 2 + 1, width), nn.Tanh())
        self.head = nn.Linear(width, len(INTENTS))

    def forward(self, audio: Sequences) -> tuple[Tensor, Tensor]:
        """Hidden states (batch, width) and scores (batch, intents)."""
        spectra = torch.fft.rfft(audio.values.unfold(1, WINDOW, WINDOW)).abs()
        hidden = self.front(torch.log1p(Sequences(spectra, audio.lengths // WINDOW).zero_padded().mean()))
        return hidden, self.head(hidden)


class Imitating(Task):
    """The student's hidden states are to be the teacher's."""

    def __init__(self, student: Ear, teacher: Ear) -> None:
        super().__init__()
        self.student, self.teacher = student, teacher.requires_grad_(False)

    @override
    def skips(self) -> bool:
        return True  # of the head there is nothing to learn yet

    def distances(self, batch: Batch) -> Tensor:
        """The mean squared error of each command's hidden states."""
        return (self.student(batch.audio)[0] - self.teacher(batch.audio)[0]).square().mean(dim=1)

    @override
    def forward(self, batch: Batch) -> Losses:
        return Losses(total := (self.distances(batch) * batch.scale).sum(), {"distance": total})

    @override
    def evaluate(self, batches: Iterator[Batch]) -> dict[str, float]:
        sums = torch.zeros(2, dtype=torch.float64)  # of a worker that gets none of the batches too
        for batch in batches:
            distances = self.distances(batch).double().cpu()
            sums += torch.stack([distances.sum(), torch.tensor(float(len(distances)))])
        total, count = reduced(sums).tolist()
        return {"distance": total / count}


class Understanding(Task):
    """The intents are to be those of the labels, and the scores, where there is one, the teacher's."""

    def __init__(self, student: Ear, teacher: Ear | None = None, weight: float = 0.0) -> None:
        super().__init__()
        self.student, self.weight = student, weight
        self.teacher = teacher.requires_grad_(False) if teacher else None

    @override
    def forward(self, batch: Batch) -> Losses:
        scores, labels = self.student(batch.audio)[1], batch.sources["labels"].values[:, 0]
        loss = functional.cross_entropy(scores, labels, reduction="none")
        terms = {"intents": (loss * batch.scale).sum()}
        total = terms["intents"]
        if self.teacher is not None:
            distance = (scores - self.teacher(batch.audio)[1]).square().mean(dim=1)
            terms["distillation"] = (distance * batch.scale).sum()
            total = total + self.weight * terms["distillation"]
        return Losses(total, terms)

    @override
    def evaluate(self, batches: Iterator[Batch], scores: Scores | None = None) -> dict[str, float]:
        scores = Scores((ERROR,)) if scores is None else scores
        for batch in batches:
            found = self.student(batch.audio)[1].argmax(dim=1).tolist()
            wanted = batch.sources["labels"].values[:, 0].tolist()
            columns = {f"{ERROR}_errors": [int(f != w) for f, w in zip(found, wanted, strict=True)]}
            columns[f"{ERROR}_length"] = [1] * len(found)
            scores.add(batch, [INTENTS[i] for i in found], columns, [INTENTS[i] for i in wanted])
        return scores.rates()


class _Listening(Recipe):
    """What both recipes have in common: the commands, and how a stage goes through them."""

    corpus: Corpus = Commands(language="en")
    width: int = 8
    optimisation: Optimisation = SHORT
    subset: Subset | None = None
    """Part of the training split to train on; by default all of it."""
    pause: Annotated[float, Where()] = 0.0
    """Seconds before each step, for whoever wants to disturb it."""
    seed: int = 1

    def split(self, name: str) -> SplitPreparation:
        """One prepared split."""
        return SplitPreparation(corpus=self.corpus, split=name, longest=2)

    @override
    def preparations(self) -> tuple[Preparation, ...]:
        return tuple(self.split(name) for name in self.corpus.splits)

    def train(self, task: Task, stages: Stages, stage: str, selection: Best | Last) -> Mapping[str, float]:
        """Train the task through a stage; the values that were reported of the student that it leaves."""
        world, optimisation = World.here(), stages.optimisations[stage]
        loader, mine = self.loader("train"), optimisation.shares_of(world.rank, world.size)
        batching, shares = Shuffled(utterances=16), optimisation.shares
        if self.subset:
            loader = replace(loader, usable=self.subset.indices(loader.split, batching))

        def batches(step: int) -> Iterator[list[Batch]]:
            for batch in loader.training(batching, seed=self.seed, start=step, shares=shares, mine=mine):
                time.sleep(self.pause)
                yield batch

        def valid() -> Iterator[Batch]:
            return self.loader("valid").evaluation(seconds=60, rank=world.rank, world_size=world.size)

        done = fit(
            task, stages=stages, stage=stage, train=batches, valid=valid,
            selection=selection, seed=self.seed, world=world,
        )  # fmt: skip
        return done.values

    def loader(self, name: str) -> Loader:
        """Batches of a split with its labels."""
        split = PreparedSplit(self.split(name).build())
        return Loader(split, {"labels": Labels(split, {"intent": INTENTS})})

    @override
    def probe(self) -> dict[str, float]:
        batches = probe.noise(Shuffled(utterances=16), longest=0.3, shares=1)
        task = Imitating(Ear(self.width), Ear(self.width))
        parameters = float(sum(weight.numel() for weight in task.student.parameters()))
        return {"seconds": probe.seconds_per_step(task, batches, SHORT), "parameters": parameters}


class Teacher(_Listening):
    """A recogniser of intents that learns from labels alone, for students to learn from."""

    def __str__(self) -> str:
        return f"teacher of width {self.width}"

    @property
    @override
    def steps(self) -> int:
        return self.optimisation.steps

    @override
    def run(self, run: Run) -> dict[str, float]:
        """Train, and keep the weights of the last step."""
        torch.manual_seed(self.seed)
        task = Understanding(Ear(self.width))
        values = self.train(task, Stages(run, {"intents": self.optimisation}), "intents", Last())
        _keep_weights(run, task.weights())
        return {f"valid/{ERROR}": values[f"valid/{ERROR}"]}


class Intents(_Listening):
    """A student whose front end first imitates its teacher's, and which then learns from labels and from scores."""

    teacher: Teacher = Teacher(optimisation=Optimisation(**{**SHORT.model_dump(), "steps": 80}))
    front_end: Optimisation = SHORT
    weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the distance to the teacher's scores."""

    def __str__(self) -> str:
        return f"student, λ = {self.weight:g}, seed {self.seed}"

    @property
    @override
    def steps(self) -> int:
        return self.front_end.steps + self.optimisation.steps

    @override
    def needs(self) -> Sequence[Recipe]:
        return (self.teacher,)

    @override
    def reports(self) -> tuple[str, ...]:
        return tuple(f"{name}/{ERROR}" for name in ("valid", *TEST_SETS))

    @override
    def run(self, run: Run) -> dict[str, float]:
        """Train both stages, test on both test sets, and keep the student and how it understood each command."""
        teacher = Ear(self.width)
        teacher.load_state_dict(load_file(run.needed(self.teacher) / WEIGHTS))
        stages = Stages(run, {"front-end": self.front_end, "intents": self.optimisation})
        torch.manual_seed(self.seed)
        student = Ear(self.width)
        self.train(Imitating(student, teacher), stages, "front-end", Last())
        task = Understanding(student, teacher if self.weight else None, self.weight)
        values = self.train(task, stages, "intents", Best(value=f"valid/{ERROR}"))
        world, result, tables = World.here(), {f"valid/{ERROR}": values[f"valid/{ERROR}"]}, []
        for name in TEST_SETS:
            loader, scores = self.loader(name), Scores((ERROR,))
            with evaluating(task, world, self.optimisation.precision):
                batches = loader.evaluation(seconds=60, rank=world.rank, world_size=world.size)
                rates = task.evaluate(world.batches(batches), scores)
            result |= {f"{name}/{metric}": rate for metric, rate in rates.items()}
            tables.append(scores.table(loader.split, name))
        if None not in tables:
            _keep_weights(run, task.weights())
            with TemporaryDirectory() as folder:
                write_utterances(Path(folder, UTTERANCES), tables)
                run.keep(Path(folder, UTTERANCES))
        run.report(result, step=self.steps)
        return result

    @override
    def export(self, kept: Path, result: Mapping[str, float], folder: Path) -> Card:
        if not (kept / WEIGHTS).is_file():
            raise ValueError(f"A trial must have kept its student to be exported, but has no {WEIGHTS}.")
        save_file(load_file(kept / WEIGHTS), folder / WEIGHTS)
        (folder / "intents.json").write_text(json.dumps({"width": self.width, "intents": INTENTS}), encoding="utf-8")
        return Card(
            title="Intents of hummed commands", about="It understands what is hummed.", method="the toy",
            task="audio-classification", name="ear", language="en", base_model=None,
            dataset=Dataset("commands", self.corpus.release(), "en", self.corpus.licence()),
            protocol="the likeliest intent", library=None, tested="Tested once.", use=f"Load `{WEIGHTS}`.",
            data="Commands, made up.",
            choice=f"Best by validation: {result[f'valid/{ERROR}']:.2f} %.", recipe=fields(self),
        )  # fmt: skip


def _keep_weights(run: Run, weights: Mapping[str, Tensor]) -> None:
    with TemporaryDirectory() as folder:
        save_file(dict(weights), Path(folder, WEIGHTS))
        run.keep(Path(folder, WEIGHTS))
