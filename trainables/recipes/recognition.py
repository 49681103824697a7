"""What recipes have in common whose student recognises speech with CTC: how it is scored, and what is kept of it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
from safetensors.torch import save_file
from torch import Tensor

from trainables.batch import Batch, Rejected
from trainables.corpora.prepared import write_quarantine
from trainables.corpora.text import CharacterVocabulary
from trainables.decoding.greedy import greedy
from trainables.metrics import Scores, transcription, write_utterances
from trainables.run import Run
from trainables.sequences import Sequences
from trainables.students.ctc import CTCModel

STUDENT, UTTERANCES = "student.safetensors", "utterances.parquet"
"""Files that a trial keeps: the student's weights, and the test sets as they were recognised."""
METRICS = ("cer", "wer")


def score(
    student: CTCModel, vocabulary: CharacterVocabulary, batches: Iterator[Batch], scores: Scores | None
) -> dict[str, float]:
    """CER and WER in percent of greedy decoding, without a language model; `scores` takes each utterance.

    Each has columns for the student's frames, and for those of them whose likeliest output is not blank.
    """
    scores = Scores(METRICS) if scores is None else scores
    for batch in batches:
        logits = student(batch).logits
        labels = Sequences(logits.values.argmax(dim=2), logits.lengths)
        hypotheses = greedy(labels.values, labels.lengths, vocabulary)
        spoken = ((labels.values != vocabulary.blank) & labels.mask).sum(dim=1)
        frames = {"frames": labels.lengths.tolist(), "nonblank_frames": spoken.tolist()}
        scores.add(batch, hypotheses, frames | transcription(batch.texts, hypotheses))
    return scores.rates()


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
