"""Error rates as summed edits over summed lengths, over all ranks: never a mean of rates."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import jiwer
import pyarrow as pa
import torch
from torch import distributed

from trainables.batch import Batch
from trainables.corpora.audio import SAMPLE_RATE
from trainables.corpora.prepared import PreparedSplit
from trainables.sequences import Sequences

EDITS = ("substitutions", "deletions", "insertions")
UTTERANCES = pa.schema([
    ("id", pa.string()), ("speaker", pa.string()), ("reference", pa.string()), ("hypothesis", pa.string()),
    ("seconds", pa.float64()), ("frames", pa.int32()), ("nonblank_frames", pa.int32()),
    *((f"{unit}_{edit}", pa.int32()) for unit in ("char", "word") for edit in EDITS),
])  # fmt: skip


@dataclass
class ErrorCounts:
    """Edits and reference lengths so far, in characters (spaces counted) and in words."""

    counts: torch.Tensor = field(default_factory=lambda: torch.zeros(4, dtype=torch.float64))

    def add(self, references: Sequence[str], hypotheses: Sequence[str]) -> None:
        """Count a batch. References must not be empty."""
        characters = jiwer.process_characters(list(references), list(hypotheses))
        words = jiwer.process_words(list(references), list(hypotheses))
        for i, output in enumerate((characters, words)):
            edits = output.substitutions + output.deletions + output.insertions
            length = output.substitutions + output.deletions + output.hits
            self.counts[2 * i : 2 * i + 2] += torch.tensor([edits, length], dtype=torch.float64)

    def rates(self) -> dict[str, float]:
        """CER and WER in percent, over all ranks."""
        edits, characters, word_edits, words = reduced(self.counts).tolist()
        return {"cer": 100 * edits / max(characters, 1), "wer": 100 * word_edits / max(words, 1)}


class Transcript(NamedTuple):
    """One utterance as it was recognised."""

    id: str
    reference: str
    hypothesis: str
    frames: int
    nonblank_frames: int


@dataclass
class Transcripts:
    """Utterances of a split as this rank has recognised them."""

    rows: list[Transcript] = field(default_factory=list)

    def add(self, batch: Batch, hypotheses: Sequence[str], labels: Sequences, blank: int) -> None:
        """Take a batch in; `labels` are CTC's argmax, (batch, frames)."""
        spoken = ((labels.values != blank) & labels.mask).sum(dim=1).tolist()
        columns = batch.ids, batch.texts, hypotheses, labels.lengths.tolist(), spoken
        self.rows += map(Transcript, *columns)

    def table(self, split: PreparedSplit) -> pa.Table | None:
        """`UTTERANCES` of the whole split in its order, on rank 0; None elsewhere. Every rank calls it."""
        rows = _gathered(self.rows)
        if rows is None:
            return None
        # A corpus may have a clip twice. Equal rows are exchangeable, so that sorting pairs them all the same.
        order = sorted(range(len(split)), key=lambda i: (split.ids[i], split.texts[i]))
        lines = [
            (i, row.id, split.speakers[i], row.reference, row.hypothesis, split.samples[i] / SAMPLE_RATE,
             row.frames, row.nonblank_frames, *_edits(row.reference, row.hypothesis))
            for i, row in zip(order, sorted(rows), strict=True)
        ]  # fmt: skip
        _, *columns = zip(*sorted(lines), strict=True)
        return pa.table([list(column) for column in columns], schema=UTTERANCES)


def _edits(reference: str, hypothesis: str) -> list[int]:
    outputs = jiwer.process_characters(reference, hypothesis), jiwer.process_words(reference, hypothesis)
    return [getattr(output, edit) for output in outputs for edit in EDITS]


def _gathered(rows: list[Transcript]) -> list[Transcript] | None:
    """The rows of all ranks on rank 0, None elsewhere."""
    if not distributed.is_initialized():
        return rows
    parts: list[list[Transcript]] | None = None
    if distributed.get_rank() == 0:
        parts = [[] for _ in range(distributed.get_world_size())]
    distributed.gather_object(rows, parts)
    return None if parts is None else [row for part in parts for row in part]


def reduced(sums: torch.Tensor) -> torch.Tensor:
    """The sum over all ranks."""
    if not distributed.is_initialized():
        return sums
    # NCCL reduces only what lies on its device.
    total = sums.to("cuda") if distributed.get_backend() == "nccl" else sums.clone()
    distributed.all_reduce(total)
    return total.cpu()
