"""The fine-tuning of a speech encoder with CTC: of the students that `distil_hubert.py` makes (arXiv 2210.15631 §4.1),
or of any pretrained encoder. Hyper-parameters that the paper does not give are fairseq's for HuBERT base.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from typing_extensions import override

from trainables.batch import Batch
from trainables.config import Preparation, Since, Where
from trainables.corpora.audit import audit
from trainables.corpora.batching import Batching, BySeconds, ChannelMasking, Loader, TimeMasking
from trainables.corpora.corpus import Corpus
from trainables.corpora.filters import RoomForCTC
from trainables.corpora.prepared import PreparedSplit, SplitPreparation
from trainables.corpora.room import with_room
from trainables.corpora.sources import Tokens
from trainables.corpora.subsets import Subset
from trainables.corpora.text import CharacterVocabulary, Letters, Normaliser
from trainables.decoding.with_ngram import NgramDecoding
from trainables.export import ctc_folder, distilled_folder
from trainables.export.card import Card, Dataset, fields
from trainables.export.recogniser import recogniser
from trainables.losses.ctc import ctc_loss
from trainables.optimisation import Group, Optimisation, TriStage
from trainables.recipes import probe
from trainables.recipes.distil_hubert import DISTILLED, NEARNESS, DistilHubert
from trainables.recipes.layer_similarity import LayerSimilarity
from trainables.recipes.one_stage import fit_on
from trainables.recipes.recipe import Recipe
from trainables.recipes.recognition import METRICS, STUDENT, TUNED, WITH_NGRAM, Examination, keep, score
from trainables.run import Run
from trainables.stages import Best
from trainables.students.ctc import CTCModel, CTCStudent, Pretrained, Regularisation
from trainables.students.encoders import SpeechEncoder
from trainables.students.frames import Frames
from trainables.students.gradients import scale_gradient
from trainables.task import Losses, Task
from trainables.training import World

LEARNING = "train", "valid"
"""Splits that are not tested on; all others of a corpus are."""


class FineTuneCtc(Recipe):
    """One cell of Tables 2, 3 and 5: a student, and the transcripts that it is fine-tuned on."""

    corpus: Corpus
    """With the splits `train` and `valid`; all others are test sets."""
    start: Annotated[DistilHubert | Pretrained, Field(discriminator="kind")]
    """The student: one that is distilled before, by a trial of its own, or any pretrained encoder."""
    normaliser: Normaliser = Letters()
    subset: Subset | None = None
    """Part of the training split to train on; by default all of it."""
    regularisation: Regularisation = Regularisation(attention=0, hidden=0, activation=0.1, projection=0, layers=0.1)
    front_end_gradient: Annotated[float | None, Field(ge=0)] = None
    """Factor of the gradient of all below the Transformer, beside the student's own (0.1 for its teacher's front-end).
    By default 0 for convolutions over waveforms, which fairseq leaves as they are, and 1 for filter banks, of which
    neither it nor the paper says anything: they were made for the student and not for its teacher."""
    masking: TimeMasking = TimeMasking(probability=0.75, span=10)
    channel_masking: ChannelMasking = ChannelMasking(probability=0.5, span=64)
    frozen_steps: Annotated[int, Field(ge=0)] = 10_000
    """First steps, in which the head alone learns (fairseq's `freeze_finetune_updates`)."""
    longest_training_clip: Annotated[float, Field(gt=0)] = 40.0
    """Seconds; longer clips are left out of training, and only there."""
    longest_clip: Annotated[float, Field(gt=0)] = 40.0
    """Seconds; longer clips are left out of validation and test too."""
    batching: Batching = BySeconds(seconds=1_600)
    """fairseq's 200 s a GPU, times the 8 GPUs of HuBERT's paper; this paper does not say."""
    optimisation: Optimisation = Optimisation(
        steps=25_000, warmup=8_000, schedule=TriStage(decay=72_000), learning_rate=5e-4, clip=None, shares=8,
        evaluate_every=2_500,
    )  # fmt: skip
    """§4.1 for 10 h; 1 h has a rate of 2e-5, 100 h 80 000 steps. The schedule is fairseq's for 80 000 (`base_10h`)."""
    selection: Literal["wer", "cer"] = "wer"
    """Error rate on the validation split by which the best checkpoint is chosen (fairseq)."""
    ngram: Annotated[NgramDecoding | None, Since()] = None
    """Decoding of the test sets with a word n-gram too, as the paper has it."""
    similarity: Annotated[LayerSimilarity, Since(before=LayerSimilarity(clips=0))] = LayerSimilarity()
    """Figure 3: how alike each layer of a distilled student is before and after. It changes no other value."""
    evaluation_seconds: Annotated[float, Field(gt=0), Where()] = 240.0
    """Padded seconds in one batch of evaluation."""
    seed: Annotated[int, Field(ge=0)] = 1

    def __str__(self) -> str:
        what = str(self.start) if isinstance(self.start, DistilHubert) else Path(self.start.model).name
        return f"{self.corpus}, {f'{self.subset}, ' if self.subset else ''}fine-tuned, seed {self.seed} ({what})"

    @property
    @override
    def steps(self) -> int:
        return self.optimisation.steps

    @property
    def tests(self) -> tuple[str, ...]:
        """The corpus's test sets."""
        return tuple(split for split in self.corpus.splits if split not in LEARNING)

    @override
    def needs(self) -> Sequence[Recipe]:
        """The distillation, unless nothing is distilled in it."""
        return (self.start,) if isinstance(self.start, DistilHubert) and self.start.distils else ()

    def split(self, split: str) -> SplitPreparation:
        """One prepared split."""
        longest = self.longest_training_clip if split == "train" else self.longest_clip
        return SplitPreparation(
            corpus=self.corpus, split=split, normaliser=self.normaliser, longest=longest, filters=(RoomForCTC(),)
        )

    @override
    def preparations(self) -> tuple[Preparation, ...]:
        """All splits; those of the distillation are its own, but for what an undistilled student needs of them."""
        undistilled = () if self.needs() or isinstance(self.start, Pretrained) else self.start.preparations()
        return (*(self.split(split) for split in (*LEARNING, *self.tests)), *undistilled)

    @override
    def reports(self) -> tuple[str, ...]:
        rates = tuple(f"{split}/{metric}" for split in ("valid", *self.tests) for metric in METRICS)
        if self.ngram:
            rates += (*TUNED, *(f"{split}/{metric}" for split in self.tests for metric in WITH_NGRAM))
        near = tuple(f"distilled/{name}" for name in NEARNESS) if self.needs() else ()
        return (*rates, *near, *self._alike)

    @override
    def run(self, run: Run) -> dict[str, float]:
        """Train, keep the student with the best validation error, test it.

        Keeps `student.safetensors`, with the vocabulary in its metadata, `utterances.parquet`, all test sets as they
        were recognised, `audit.json`, and `quarantine.jsonl` where clips had no room for their transcripts.
        Raises ValueError when there are more workers than shares, the subset is larger than the training split or
        smaller than a batch, the language model cannot be used, or the layers of the student cannot be compared on the
        first test set.
        """
        world = World.here()
        mine = self.optimisation.shares_of(world.rank, world.size)
        splits = {name: PreparedSplit(self.split(name).build()) for name in (*LEARNING, *self.tests)}
        train, valid = (splits[name] for name in LEARNING)
        vocabulary = CharacterVocabulary.of([*train.texts, *valid.texts])
        decoder = self.ngram.build(vocabulary, train.texts) if self.ngram else None
        frames = self.frames()
        usable, without_room = with_room(train, vocabulary, frames.count, frames.hop)
        if self.subset:
            usable = np.intersect1d(usable, self.subset.indices(train, self.batching))
        model, near = self._start(run, vocabulary)
        if self._alike:
            self.similarity.check(splits[self.tests[0]], frames, model.width)
        task = FineTuneTask(model, vocabulary, self.frozen_steps)
        loader = Loader(
            train, {"tokens": Tokens(train, vocabulary)}, self.masking, frames.hop, usable,
            channel_masking=self.channel_masking, features=model.width,
        )  # fmt: skip
        selection = Best(value=f"valid/{self.selection}")
        progress = fit_on(
            loader, Loader(valid), task, run, stage="fine-tuning", optimisation=self.optimisation,
            batching=self.batching, selection=selection, mine=mine,
            evaluation_seconds=self.evaluation_seconds, seed=self.seed, world=world,
        )  # fmt: skip
        result = {f"valid/{metric}": progress.values[f"valid/{metric}"] for metric in METRICS}
        examination = Examination(task, vocabulary, world, self.optimisation.precision, self.evaluation_seconds)
        fused = None
        if self.ngram and decoder:
            fused, weights = examination.tuned(decoder, self.ngram.tuning, valid)
            result |= weights
        rates, tables = examination.tested({name: splits[name] for name in self.tests}, fused)
        result |= rates
        if world.rank == 0:
            keep(run, task.weights(), vocabulary, tables, audit(splits, usable, without_room), without_room)
            result |= self._similarity(run, task.student.encoder, splits, world)
        result |= {"step": float(self.steps), "best_step": float(progress.best_step), **near}
        run.report(result, step=self.steps)
        return result

    @property
    def _alike(self) -> tuple[str, ...]:
        """Names of the similarities of layers; none where they are not compared."""
        start = self.start
        return self.similarity.reports(start.student.layers) if isinstance(start, DistilHubert) and self.tests else ()

    @property
    def front_end_factor(self) -> float:
        """The factor of the gradient of all below the Transformer, also where no field says it."""
        if self.front_end_gradient is not None:
            return self.front_end_gradient
        return float(isinstance(self.start, DistilHubert) and self.start.student.front_end.kind == "filter_banks")

    def frames(self) -> Frames:
        """The convolutions by which the student's frames of a clip are counted."""
        if isinstance(self.start, Pretrained):
            return CTCStudent(encoder=self.start).frames()
        return self.start.student.frames(self.start.teacher.architecture())

    @override
    def probe(self) -> dict[str, float]:
        batches = probe.noise(
            self.batching, longest=self.longest_training_clip, shares=self.optimisation.shares, masking=self.masking,
            hop=self.frames().hop,
        )  # fmt: skip
        if isinstance(self.start, Pretrained):
            model = self._pretrained(self.start, probe.VOCABULARY)
        else:
            model = self._with_head(self.start.initial(self.regularisation), probe.VOCABULARY)
        task = FineTuneTask(model, probe.VOCABULARY, 0)
        parameters = float(sum(weight.numel() for weight in model.parameters()))
        return {"seconds": probe.seconds_per_step(task, batches, self.optimisation), "parameters": parameters}

    @override
    def export(self, kept: Path, result: Mapping[str, float], folder: Path) -> Card:
        if not (kept / STUDENT).is_file():
            raise ValueError(f"A trial must have kept its student to be exported, but has no {STUDENT}.")
        corpus = self.corpus
        dataset = Dataset(corpus.kind, corpus.release(), corpus.language, corpus.licence())
        choice = f"Best checkpoint by validation {self.selection.upper()}: step {result['best_step']:.0f}."
        if isinstance(self.start, Pretrained):
            student = CTCStudent(encoder=self.start, regularisation=self.regularisation)
            return recogniser(
                str(self), corpus.language, self.start, dataset, fields(self),
                loaded_by=ctc_folder.export(student, kept / STUDENT, folder),
                method="fine-tuning", precision=self.optimisation.precision, choice=choice,
            )  # fmt: skip
        teacher = self.start.teacher
        return distilled_folder.product(
            self.start.student, kept / STUDENT, folder, architecture=teacher.architecture(),
            standardised=teacher.standardised, teacher=teacher.name, name=str(self), language=corpus.language,
            dataset=dataset, recipe=fields(self), method="HuBERT distillation",
            precision=self.optimisation.precision, choice=choice,
        )  # fmt: skip

    def _start(self, run: Run, vocabulary: CharacterVocabulary) -> tuple[CTCModel, dict[str, float]]:
        """The student before fine-tuning, and how near it came to its teacher, if it was distilled."""
        if isinstance(self.start, Pretrained):
            torch.manual_seed(self.seed)
            return self._pretrained(self.start, vocabulary), {}
        model = self._with_head(self._before(run, self.start), vocabulary)
        if not self.needs():
            return model, {}
        near = json.loads((run.needed(self.start) / DISTILLED).read_text(encoding="utf-8"))
        return model, {f"distilled/{name}": near[f"valid/{name}"] for name in NEARNESS}

    def _before(self, run: Run, start: DistilHubert) -> SpeechEncoder:
        """The student before fine-tuning, as its distillation kept it, or as it was initialised where there is none."""
        if self.needs():
            return start.trained(run.needed(start), self.regularisation)
        return start.initial(self.regularisation, start.moments())

    def _similarity(
        self, run: Run, after: SpeechEncoder, splits: Mapping[str, PreparedSplit], world: World
    ) -> dict[str, float]:
        """Figure 3. The student before fine-tuning is built again: all through training, nothing was kept of it."""
        if not self._alike:
            return {}
        assert isinstance(self.start, DistilHubert)
        return self.similarity.compare(
            self._before(run, self.start), after, splits[self.tests[0]],
            seconds=self.evaluation_seconds, device=world.device,
        )  # fmt: skip

    def _pretrained(self, encoder: Pretrained, vocabulary: CharacterVocabulary) -> CTCModel:
        student = CTCStudent(encoder=encoder, regularisation=self.regularisation, freeze_feature_encoder=False)
        model = student.build(vocabulary)
        scale_gradient(model.encoder, self.front_end_factor)
        return model

    def _with_head(self, encoder: SpeechEncoder, vocabulary: CharacterVocabulary) -> CTCModel:
        torch.manual_seed(self.seed)
        scale_gradient(encoder, self.front_end_factor)
        return CTCModel(encoder, len(vocabulary))


class FineTuneTask(Task):
    """CTC alone; in the first steps of the head alone."""

    student: CTCModel

    def __init__(self, student: CTCModel, vocabulary: CharacterVocabulary, frozen_steps: int) -> None:
        super().__init__()
        self.student, self.vocabulary, self.frozen_steps = student, vocabulary, frozen_steps

    @override
    def groups(self, optimisation: Optimisation) -> list[Group]:
        encoder, head = list(self.student.encoder.parameters()), list(self.student.head.parameters())
        return [
            Group("encoder", encoder, optimisation.learning_rate, begins=self.frozen_steps),
            Group("head", head, optimisation.peak_of_new),
        ]

    @override
    def skips(self) -> bool:
        """While the head alone learns, nothing else has a gradient; layerdrop leaves layers out, and steps without
        masks have no use for the mask's embedding."""
        return True

    @override
    def forward(self, batch: Batch) -> Losses:
        learning = batch.step >= self.frozen_steps
        logits = self.student(batch, learning=learning).logits
        loss = (ctc_loss(logits, batch.sources["tokens"], self.vocabulary.blank) * batch.scale).sum()
        return Losses(loss, {"ctc": loss})

    @override
    def evaluate(self, batches: Iterator[Batch]) -> dict[str, float]:
        """CER and WER in percent of greedy decoding."""
        return score(self.student, self.vocabulary, batches)
