"""Choi & Park, *Distilling a Pretrained Language Model to a Multilingual ASR Model* (Interspeech 2022).

A speech encoder is fine-tuned with CTC while its shrunk hidden states are regressed onto those that a frozen
language model has over the transcript: L = L_CTC + λ · L_KD (eq. 14).
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field, SerializeAsAny
from torch import nn
from typing_extensions import override

from trainables.batch import Batch
from trainables.config import Preparation, Since, Where
from trainables.corpora.audit import audit
from trainables.corpora.batching import Batching, ByCount, Loader, TimeMasking
from trainables.corpora.corpus import Corpus
from trainables.corpora.filters import RoomForCTC
from trainables.corpora.prepared import PreparedSplit, SplitPreparation
from trainables.corpora.room import with_room
from trainables.corpora.sources import FeatureSource, Tokens
from trainables.corpora.subsets import Subset
from trainables.corpora.text import CharacterVocabulary, Letters, Normaliser
from trainables.decoding.with_ngram import NgramDecoding
from trainables.export import ctc_folder
from trainables.export.card import Card, Dataset, fields
from trainables.export.recogniser import recogniser
from trainables.losses.ctc import ctc_loss
from trainables.losses.own import OwnLoss
from trainables.losses.regression import AlignedRegression
from trainables.losses.transport import OptimalTransport
from trainables.optimisation import Group, Optimisation
from trainables.recipes import probe
from trainables.recipes.one_stage import fit_on
from trainables.recipes.recipe import Recipe
from trainables.recipes.recognition import (
    METRICS,
    STUDENT,
    TUNED,
    UTTERANCES,
    WITH_NGRAM,
    Examination,
    keep,
    score,
)  # fmt: skip
from trainables.run import Run
from trainables.stages import Best
from trainables.students.ctc import CTCModel, CTCStudent
from trainables.task import Losses, Task
from trainables.teachers.features import CachedFeatures, FeaturePreparation
from trainables.teachers.language_model import TextEncoder
from trainables.teachers.variants import Teacher
from trainables.training import World

Distillation = Annotated[AlignedRegression | OptimalTransport | SerializeAsAny[OwnLoss], Field(discriminator="kind")]


class DistillL2S(Recipe):
    """One cell of Table 1: a language, a student, a teacher and λ."""

    corpus: Corpus
    """Any with the splits `train`, `valid` and `test`."""
    student: CTCStudent
    teacher: Teacher
    distillation: Distillation = AlignedRegression()
    weight: Annotated[float, Field(ge=0)] = 0.5
    """λ, the weight of the distillation loss (eq. 14); at 0 no teacher takes part."""
    normaliser: Normaliser = Letters()
    longest_training_clip: Annotated[float, Field(gt=0)] = 10.0
    """Seconds; longer clips are left out of training, and only there."""
    longest_clip: Annotated[float, Field(gt=0, le=30)] = 30.0
    """Seconds; longer clips are left out of validation and test too."""
    subset: Annotated[Subset | None, Since()] = None
    """Part of the training split to train on; by default all of it. The vocabulary is always that of the whole."""
    batching: Batching = ByCount(utterances=24)
    masking: TimeMasking = TimeMasking()
    optimisation: Optimisation = Optimisation()
    selection: Literal["cer", "wer"] = "cer"
    """Error rate on the validation split by which the best checkpoint is chosen (the released code takes WER)."""
    ngram: Annotated[NgramDecoding | None, Since()] = None
    """Decoding of the test split with a word n-gram too, which the paper does not do."""
    evaluation_seconds: Annotated[float, Field(gt=0), Where()] = 240.0
    """Padded seconds in one batch of evaluation."""
    seed: Annotated[int, Field(ge=0)] = 1

    def __str__(self) -> str:
        if not self.weight:
            how = "from scratch" if self.student.encoder.kind == "scratch" else "fine-tuned"
        else:
            variants = self.teacher.label, self.distillation.label
            how = ", ".join(filter(None, ("distilled", f"λ = {self.weight:g}", *variants)))
        part = f"{self.subset}, " if self.subset else ""
        return f"{self.corpus}, {part}{how}, seed {self.seed}"

    @property
    @override
    def steps(self) -> int:
        return self.optimisation.steps

    def split(self, split: str) -> SplitPreparation:
        """One prepared split."""
        longest = self.longest_training_clip if split == "train" else self.longest_clip
        return SplitPreparation(
            corpus=self.corpus, split=split, normaliser=self.normaliser, longest=longest, filters=(RoomForCTC(),)
        )

    def features(self) -> FeaturePreparation | None:
        """The teacher's hidden states over the training transcripts, where one takes part that has them cached."""
        teacher = self.teacher.cached() if self.weight else None
        return FeaturePreparation(teacher=teacher, split=self.split("train")) if teacher else None

    @override
    def preparations(self) -> tuple[Preparation, ...]:
        """The three splits and, where a teacher takes part, its features."""
        splits = self.split("train"), self.split("valid"), self.split("test")
        features = self.features()
        return (*splits, features) if features else splits

    @override
    def reports(self) -> tuple[str, ...]:
        rates = tuple(f"{split}/{metric}" for split in ("valid", "test") for metric in METRICS)
        return (*rates, *TUNED, *(f"test/{metric}" for metric in WITH_NGRAM)) if self.ngram else rates

    def run(self, run: Run) -> dict[str, float]:
        """Train, keep the student with the best validation error, test it.

        Keeps `student.safetensors`, with the vocabulary in its metadata, `utterances.parquet`, the test split as it
        was recognised, `audit.json`, a reviewer's questions about the splits, and `quarantine.jsonl`, where clips had
        no room for their transcripts in this student's frames.
        Raises ValueError when there are more workers than shares, the subset is larger than the training split or
        smaller than a batch, or the language model cannot be used.
        """
        world = World.here()
        mine = self.optimisation.shares_of(world.rank, world.size)
        train, valid, test = (PreparedSplit(self.split(s).build()) for s in ("train", "valid", "test"))
        # As in the released code, which counts characters over both.
        vocabulary = CharacterVocabulary.of([*train.texts, *valid.texts])
        decoder = self.ngram.build(vocabulary, train.texts) if self.ngram else None
        sources: dict[str, FeatureSource] = {"tokens": Tokens(train, vocabulary)}
        if features := self.features():
            sources["teacher"] = self.teacher.source(CachedFeatures(features.build()), len(train))
        frames = self.student.frames()
        usable, without_room = with_room(train, vocabulary, frames.count, frames.hop)
        if self.subset:
            usable = np.intersect1d(usable, self.subset.indices(train, self.batching))
        torch.manual_seed(self.seed)
        task = self.task(vocabulary, train.texts)
        loader = Loader(train, sources, self.masking, frames.hop, usable)
        selection = Best(value=f"valid/{self.selection}")
        progress = fit_on(
            loader, Loader(valid), task, run, stage="training", optimisation=self.optimisation,
            batching=self.batching, selection=selection, mine=mine,
            evaluation_seconds=self.evaluation_seconds, seed=self.seed, world=world,
        )  # fmt: skip
        examination = Examination(task, vocabulary, world, self.optimisation.precision, self.evaluation_seconds)
        fused, weights = None, {}
        if self.ngram and decoder:
            fused, weights = examination.tuned(decoder, self.ngram.tuning, valid)
        rates, utterances = examination.tested({"test": test}, fused)
        if world.rank == 0:
            splits = audit({"train": train, "valid": valid, "test": test}, usable, without_room)
            keep(run, task.weights(), vocabulary, utterances, splits, without_room)
        result = {
            "step": float(self.optimisation.steps),
            **rates,
            **weights,
            selection.value: progress.values[selection.value],
            "best_step": float(progress.best_step),
        }
        run.report(result, step=self.optimisation.steps)
        return result

    @override
    def probe(self) -> dict[str, float]:
        """The seconds of a step and the parameters; builds the student, and of the teacher reads the width alone."""
        batches = probe.noise(
            self.batching,
            longest=self.longest_training_clip,
            shares=self.optimisation.shares,
            masking=self.masking,
            hop=self.student.frames().hop,
            teacher=self.teacher.features() if self.features() else None,
        )
        task = self.task(probe.VOCABULARY, [text for batch in batches for text in batch.texts])
        parameters = float(sum(parameter.numel() for parameter in task.parameters()))
        return {"seconds": probe.seconds_per_step(task, batches, self.optimisation), "parameters": parameters}

    @override
    def export(self, kept: Path, result: Mapping[str, float], folder: Path) -> Card:
        for file, content in ((STUDENT, "student"), (UTTERANCES, "transcripts")):
            if not (kept / file).is_file():
                raise ValueError(f"A trial must have kept its {content} to be exported, but has no {file}.")
        corpus = self.corpus
        return recogniser(
            str(self),
            corpus.language,
            self.student.encoder,
            Dataset(corpus.kind, corpus.release(), corpus.language, corpus.licence()),
            fields(self),
            loaded_by=ctc_folder.export(self.student, kept / STUDENT, folder),
            method="Distill-L2S",
            precision=self.optimisation.precision,
            choice=f"Best checkpoint by validation {self.selection.upper()}: step {result['best_step']:.0f}.",
        )

    def task(self, vocabulary: CharacterVocabulary, texts: Sequence[str] | None = None) -> "DistillL2STask":
        """The student with its losses. `texts` are all that it will be trained on, where that is known."""
        student = self.student.build(vocabulary)
        if not self.weight:
            return DistillL2STask(student, vocabulary)
        dropped = (vocabulary.blank, vocabulary.unknown)
        distillation = self.distillation.build(student=student.width, teacher=self.teacher.features(), dropped=dropped)
        online = None if self.teacher.cached() else self.teacher.build()
        if online is not None and texts is not None:
            online.restrict_to(texts)
        return DistillL2STask(student, vocabulary, distillation, self.weight, online)


class DistillL2STask(Task):
    """CTC and the distance to the teacher, each a mean over the utterances of the global batch."""

    student: CTCModel

    def __init__(
        self,
        student: CTCModel,
        vocabulary: CharacterVocabulary,
        distillation: nn.Module | None = None,
        weight: float = 0.0,
        online: TextEncoder | None = None,
    ) -> None:
        """`online` reads the transcripts at each step, where the teacher's hidden states do not come with them."""
        super().__init__()
        self.student, self.vocabulary = student, vocabulary
        self.distillation, self.weight, self.online = distillation, weight, online

    @override
    def groups(self, optimisation: Optimisation) -> list[Group]:
        """The encoder and a teacher that is trained along, as the released code has one rate; and all that is new."""
        pretrained = nn.ModuleList([self.student.encoder, self.online] if self.online else [self.student.encoder])
        new = nn.ModuleList([self.student.head, self.distillation] if self.distillation else [self.student.head])
        return [
            Group("pretrained", list(pretrained.parameters()), optimisation.learning_rate),
            Group("new", list(new.parameters()), optimisation.peak_of_new),
        ]

    @override
    def skips(self) -> bool:
        """Layerdrop in the student; and a teacher that is trained along has a pooler, which nothing reads."""
        return self.student.skips_layers or self.online is not None

    def forward(self, batch: Batch) -> Losses:
        """L = L_CTC + λ · L_KD (eq. 14), L_CTC divided by the transcript's length as in the released code."""
        encoded = self.student(batch)
        ctc = ctc_loss(encoded.logits, batch.sources["tokens"], self.vocabulary.blank)
        terms = {"ctc": (ctc * batch.scale).sum()}
        total = terms["ctc"]
        if self.distillation is not None:
            teacher = self.online(batch.texts) if self.online else batch.sources["teacher"]
            labels = encoded.logits.values.argmax(dim=2)
            distance = self.distillation(encoded.hidden, teacher, labels)
            terms["distillation"] = (distance * batch.scale).sum()
            total = total + self.weight * terms["distillation"]
        return Losses(total, terms)

    def evaluate(self, batches: Iterator[Batch]) -> dict[str, float]:
        """CER and WER in percent of greedy decoding (§3.5: no language model)."""
        return score(self.student, self.vocabulary, batches)
