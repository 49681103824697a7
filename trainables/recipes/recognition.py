"""What recipes have in common whose student recognises speech with CTC: how it is scored, and what is kept of it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors.torch import save_file
from torch import Tensor

from trainables.batch import Batch, Rejected
from trainables.corpora.batching import Loader
from trainables.corpora.prepared import PreparedSplit, write_quarantine
from trainables.corpora.text import CharacterVocabulary
from trainables.decoding.decoder import Decoder, Fused, LogProbabilities, log_probabilities, utterances
from trainables.decoding.greedy import greedy
from trainables.decoding.tuning import Tuning, tune
from trainables.metrics import Scores, transcription, write_utterances
from trainables.run import Run
from trainables.sequences import Sequences
from trainables.students.ctc import CTCModel
from trainables.task import Task
from trainables.training import World, evaluating

STUDENT, UTTERANCES = "student.safetensors", "utterances.parquet"
"""Files that a trial keeps: the student's weights, and the test sets as they were recognised."""
METRICS = ("cer", "wer")
"""Error rates of greedy decoding, without a language model."""
NGRAM = "ngram_"
"""Begins the names of the same rates, and of all other columns, of decoding with a word n-gram."""
WITH_NGRAM = tuple(NGRAM + metric for metric in METRICS)
TUNED = ("ngram/weight", "ngram/word_score", "valid/ngram_wer")
"""What was chosen for an n-gram on the validation split, and the word error rate of what it was chosen on."""


def score(
    student: CTCModel,
    vocabulary: CharacterVocabulary,
    batches: Iterator[Batch],
    scores: Scores | None = None,
    fused: Fused | None = None,
) -> dict[str, float]:
    """CER and WER in percent of greedy decoding and, where `scores` counts them, of decoding with an n-gram too.

    `scores` takes each utterance, with columns for the student's frames, and for those of them whose likeliest output
    is not blank.
    """
    scores = Scores(METRICS) if scores is None else scores
    for batch in batches:
        logits = student(batch).logits
        labels = Sequences(logits.values.argmax(dim=2), logits.lengths)
        hypotheses = greedy(labels.values, labels.lengths, vocabulary)
        spoken = ((labels.values != vocabulary.blank) & labels.mask).sum(dim=1)
        columns: dict[str, Sequence[Any]] = {
            "frames": labels.lengths.tolist(), "nonblank_frames": spoken.tolist(),
            **transcription(batch.texts, hypotheses),
        }  # fmt: skip
        if fused is not None:
            texts = fused(logits)
            found = {"hypothesis": texts, **transcription(batch.texts, texts)}
            columns |= {NGRAM + name: values for name, values in found.items()}
        scores.add(batch, hypotheses, columns)
    return scores.rates()


@dataclass(frozen=True)
class Examination:
    """The evaluation of what a task has learned, on this rank's part of prepared splits."""

    task: Task
    """Its student recognises with CTC."""
    vocabulary: CharacterVocabulary
    world: World
    precision: str
    seconds: float
    """Padded seconds in one batch."""

    def tuned(self, decoder: Decoder, tuning: Tuning, valid: PreparedSplit) -> tuple[Fused, dict[str, float]]:
        """The decoder with the fusion that does best on the validation split, and `TUNED`. Every rank calls it.

        Raises ValueError where the split is empty.
        """
        references, heard = list[str](), list[LogProbabilities]()
        with evaluating(self.task, self.world, self.precision):
            for batch in self._batches(Loader(valid, usable=np.array(tuning.indices(len(valid))))):
                references += batch.texts
                heard += utterances(log_probabilities(self.task.student(batch).logits))
        fusion, wer = tune(decoder, references, heard, tuning)
        values = fusion.weight, fusion.word_score, wer
        return Fused(decoder, fusion), dict(zip(TUNED, values, strict=True))

    def tested(
        self, splits: Mapping[str, PreparedSplit], fused: Fused | None
    ) -> tuple[dict[str, float], list[pa.Table]]:
        """The rates of test sets, each as `<set>/<metric>`; and on rank 0 their utterances. Every rank calls it."""
        result, tables = dict[str, float](), list[pa.Table]()
        for name, split in splits.items():
            scores = Scores(METRICS if fused is None else (*METRICS, *WITH_NGRAM))
            with evaluating(self.task, self.world, self.precision):
                rates = score(self.task.student, self.vocabulary, self._batches(Loader(split)), scores, fused)
            result |= {f"{name}/{metric}": rate for metric, rate in rates.items()}
            if (table := scores.table(split, name)) is not None:
                tables.append(table)
        return result, tables

    def _batches(self, loader: Loader) -> Iterator[Batch]:
        world = self.world
        return world.batches(loader.evaluation(seconds=self.seconds, rank=world.rank, world_size=world.size))


def keep(
    run: Run,
    student: Mapping[str, Tensor],
    vocabulary: CharacterVocabulary,
    tables: Sequence[pa.Table],
    splits: dict[str, Any],
    without_room: Sequence[Rejected],
) -> None:
    """Keep a student's weights, with what its head's outputs mean, what it recognised, and the audit of its data.

    `tables` are the test sets' utterances, and `without_room` the clips that had no room for their transcripts.
    """
    with TemporaryDirectory(prefix="result-") as folder:
        weights, rows = Path(folder, STUDENT), Path(folder, UTTERANCES)
        audited = Path(folder, "audit.json")
        metadata = {"vocabulary": json.dumps(vocabulary.tokens, ensure_ascii=False)}
        save_file({name: value.contiguous() for name, value in student.items()}, weights, metadata)
        write_utterances(rows, tables)
        run.keep(weights)
        audited.write_text(json.dumps(splits, indent=1, ensure_ascii=False), encoding="utf-8")
        run.keep(rows)
        run.keep(audited)
        if without_room:
            quarantine = Path(folder, "quarantine.jsonl")
            write_quarantine(quarantine, without_room)
            run.keep(quarantine)
