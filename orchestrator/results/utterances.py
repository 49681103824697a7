"""The transcripts of trials: `files/utterances.parquet` of a trial, with a row per utterance of all its test sets.

Its columns are `id`, `speaker`, `test_set`, `reference` and `hypothesis`; for each metric `<metric>_errors` and
`<metric>_length`, whose sums make the metric; and what else the recipe has to say.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from orchestrator.redaction import first_line
from orchestrator.study.ledger import Ledger

FORMER, FORMER_SET = {"cer": "char", "wer": "word"}, "test"
"""Files from before metrics had columns are of this set alone and have, for these metrics, the edits in these units."""
EDITS = ("substitutions", "deletions", "insertions")


def utterances(
    ledger: Ledger, signature: str, test_set: str | None = None, columns: Sequence[str] | None = None
) -> pa.Table | None:
    """The utterances of a test set as a trial recognised them, or of all, sorted by id and reference.

    Of `columns`, which have both of these and the set, the table has what the file has. None where no file was kept.
    Raises ValueError when it cannot be read.
    """
    storage = ledger.trial(signature) / "files" / "utterances.parquet"
    try:
        with storage.filesystem.open_input_file(storage.path) as file:
            kept = parquet.ParquetFile(file)
            has = kept.schema_arrow.names
            wanted = (
                None if columns is None else {*columns, "test_set", *([] if "test_set" in has else _former(columns))}
            )
            table = kept.read([name for name in has if wanted is None or name in wanted])
    except FileNotFoundError:
        return None
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{storage} must be transcripts that can be read, but is not: {first_line(error)}") from error
    if "test_set" not in has:
        table = _brought_up(table)
    if test_set is not None:
        table = of_set(table, test_set)
    # A corpus may have a clip twice; the sort is stable, and they stand in the order of the split.
    table = table.sort_by([("id", "ascending"), ("reference", "ascending")])
    return table if columns is None else table.select([name for name in columns if name in table.column_names])


def of_set(table: pa.Table, test_set: str) -> pa.Table:
    """The utterances of one test set."""
    return table.filter(pa.array([name == test_set for name in table["test_set"].to_pylist()], pa.bool_()))


def _former(columns: Sequence[str]) -> list[str]:
    """The columns from before that the errors of those metrics are made of that are asked for."""
    return [f"{unit}_{edit}" for metric, unit in FORMER.items() if f"{metric}_errors" in columns for edit in EDITS]


def _brought_up(table: pa.Table) -> pa.Table:
    """A table from before, with what it would have today."""
    table = table.append_column("test_set", pa.array([FORMER_SET] * table.num_rows, pa.string()))
    for metric, unit in FORMER.items():
        if f"{unit}_{EDITS[0]}" in table.column_names:
            errors = np.stack([table[f"{unit}_{edit}"].to_numpy() for edit in EDITS]).sum(axis=0, dtype=np.int64)
            texts = table["reference"].to_pylist()
            lengths = [len(text.split()) if unit == "word" else len(text.strip()) for text in texts]
            table = table.append_column(f"{metric}_errors", pa.array(errors, pa.int64()))
            table = table.append_column(f"{metric}_length", pa.array(lengths, pa.int64()))
    return table
