"""Scores of each utterance of a test set, and error rates from them.

A rate is summed errors over summed lengths, over all ranks: never a mean of rates. What is summed is what is kept, one
row an utterance, so that whoever has the rows computes the same rate again, and intervals and tests with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jiwer
import pyarrow as pa
import torch
from pyarrow import parquet
from torch import distributed

from trainables.batch import Batch
from trainables.corpora.audio import SAMPLE_RATE
from trainables.corpora.prepared import PreparedSplit

EDITS = {"substitute": "substitutions", "delete": "deletions", "insert": "insertions"}
"""Kinds of edits: jiwer's names, and those of columns."""


@dataclass
class Scores:
    """Rows of the utterances of one split that this rank has scored.

    A metric is whatever has errors over a length in each utterance: characters, words, or an intent, whose length is 1.
    Its columns are `<metric>_errors` and `<metric>_length`. Further columns are the recipe's own.
    """

    metrics: tuple[str, ...]
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self,
        batch: Batch,
        hypotheses: Sequence[str],
        columns: Mapping[str, Sequence[Any]],
        references: Sequence[str] | None = None,
    ) -> None:
        """Take in a batch. `columns` have a value for each utterance; references are by default the transcripts."""
        named = {
            "index": batch.indices, "id": batch.ids,
            "reference": batch.texts if references is None else references, "hypothesis": hypotheses, **columns,
        }  # fmt: skip
        self.rows += [dict(zip(named, values, strict=True)) for values in zip(*named.values(), strict=True)]

    def rates(self) -> dict[str, float]:
        """Each metric in percent, over all ranks. Every rank calls it."""
        sums = [sum(row[f"{metric}_{part}"] for row in self.rows) for metric in self.metrics for part in _PARTS]
        totals = reduced(torch.tensor(sums, dtype=torch.float64)).tolist()
        pairs = zip(self.metrics, totals[::2], totals[1::2], strict=True)
        return {metric: 100 * errors / max(length, 1) for metric, errors, length in pairs}

    def table(self, split: PreparedSplit, test_set: str) -> pa.Table | None:
        """The rows of the whole split in its order, on rank 0; None elsewhere. Every rank calls it.

        Columns: id, speaker, test_set, reference, hypothesis, those of the metrics, seconds, and the recipe's own.
        """
        rows = _gathered(self.rows)
        if rows is None:
            return None
        rows = sorted(rows, key=lambda row: row["index"])
        assert [row["index"] for row in rows] == list(range(len(split))), "each utterance is scored once"
        scored = [f"{metric}_{part}" for metric in self.metrics for part in _PARTS]
        named = {
            "id": split.ids, "speaker": split.speakers, "test_set": [test_set] * len(split),
            **{name: [row[name] for row in rows] for name in ("reference", "hypothesis", *scored)},
            "seconds": (split.samples / SAMPLE_RATE).tolist(),
        }  # fmt: skip
        own = [name for name in rows[0] if name not in named and name != "index"]
        return pa.table({name: _column(values) for name, values in named.items()} | {
            name: _column([row[name] for row in rows]) for name in own
        })  # fmt: skip


_PARTS = ("errors", "length")


def transcription(references: Sequence[str], hypotheses: Sequence[str]) -> dict[str, list[int]]:
    """Columns of recognised texts: `cer`, over characters with spaces counted, and `wer`, and the edits of both.

    References must not be empty.
    """
    columns: dict[str, list[int]] = {}
    edits: dict[str, list[int]] = {}
    for metric, unit, process in (("cer", "char", jiwer.process_characters), ("wer", "word", jiwer.process_words)):
        output = process(list(references), list(hypotheses))
        for chunk_type, name in EDITS.items():
            edits[f"{unit}_{name}"] = [
                sum(
                    max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
                    for chunk in chunks
                    if chunk.type == chunk_type
                )
                for chunks in output.alignments
            ]
        kinds = (edits[f"{unit}_{name}"] for name in EDITS.values())
        columns[f"{metric}_errors"] = [sum(counts) for counts in zip(*kinds, strict=True)]
        columns[f"{metric}_length"] = [len(reference) for reference in output.references]
    return columns | edits


def write_utterances(path: Path, tables: Sequence[pa.Table]) -> None:
    """Write the tables of a trial's test sets into one file, one after the other."""
    parquet.write_table(pa.concat_tables(tables), path, compression="zstd")


def _column(values: Sequence[Any]) -> pa.Array:
    """Whole numbers in 32 bits: they are counts of characters and frames."""
    column = pa.array(values)
    return column.cast(pa.int32()) if column.type == pa.int64() else column


def _gathered(rows: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """The rows of all ranks on rank 0, None elsewhere."""
    if not distributed.is_initialized():
        return rows
    parts: list[list[dict[str, Any]]] | None = None
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
