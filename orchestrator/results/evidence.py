"""What a study's ledger says of each cell of a table: transcripts, intervals, and what differs from the baseline."""

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from orchestrator.redaction import first_line
from orchestrator.results.statistics import (
    REPLICATIONS,
    Comparison,
    Counts,
    Interval,
    OverSeeds,
    assess,
    compare,
    holm,
    over_seeds,
)
from orchestrator.study.layout import Layout
from orchestrator.study.ledger import Ledger, Result
from orchestrator.study.storage import AT_ONCE
from orchestrator.study.sweep import AnyTrial

UNITS = {"cer": "char", "wer": "word"}
"""What the columns of edits are called, by metric."""
EDITS = ("substitutions", "deletions", "insertions")
SPEAKERS = 6
"""From how many speakers on the blocks are speakers: the fewest of whom a sign-flip test can say anything at 5 %.

With fewer the blocks are utterances, and an interval speaks of these speakers alone.
"""


@dataclass(frozen=True)
class Cell:
    """What is known of a cell."""

    trials: tuple[AnyTrial, ...] = ()
    """That belong to it."""
    results: tuple[Result, ...] = ()
    """Of those of which anything came yet."""
    finished: tuple[AnyTrial, ...] = ()
    """Those of its trials that are."""
    counts: Counts | None = None
    """Pooled over its finished trials; None unless all of them kept transcripts, and of the same utterances."""
    interval: Interval | None = None
    deviation: float | None = None
    """Standard deviation of the finished trials' rates, in points, where there are several."""
    repetitions: tuple[Any, ...] = ()
    """Of its finished trials, what tells them apart: seeds."""
    comparison: Comparison | None = None
    """With the row's baseline, over the repetitions that both have; None where there is none, or where the baseline was
    tested on other utterances."""
    adjusted: float | None = None
    """The comparison's p-value, by Holm's method over all comparisons of the table."""


@dataclass(frozen=True)
class Evidence:
    """What is known of a table's cells."""

    cells: Mapping[tuple[Any, str], Cell]
    """By row and name of the column: all columns for each row that has trials."""
    over_seeds: Mapping[tuple[str, str], OverSeeds]
    """Of a column and what it is compared with, the baseline or the other of a contrast: over the differences of each
    row and seed, where seeds are several."""

    @classmethod
    def of(
        cls,
        layout: Layout,
        trials: Sequence[AnyTrial],
        results: Mapping[str, Result],
        ledger: Ledger,
        *,
        replications: int = REPLICATIONS,
    ) -> "Evidence":
        """From the results of trials by signature, and the transcripts that `ledger` keeps of them.

        Raises ValueError when transcripts cannot be read.
        """
        cells = _cells(layout, trials, results)
        finished = [s for s in (t.signature for t in trials) if s in results and results[s].status == "finished"]
        measured = _measured(ledger, finished, layout.metric)
        for row in dict.fromkeys(row for row, _ in cells):
            cells |= _assessed(layout, row, cells, measured, replications)
        compared = {place: cell.comparison for place, cell in cells.items() if cell.comparison}
        adjusted = holm([comparison.p for comparison in compared.values()])
        for place, p in zip(compared, adjusted, strict=True):
            cells[place] = replace(cells[place], adjusted=p)
        return cls(cells, _over_seeds(layout, cells, results))


def utterances(ledger: Ledger, signature: str, columns: Sequence[str] | None = None) -> pa.Table | None:
    """The test split as a trial recognised it, sorted by id and reference; None where it kept no transcripts.

    The columns are those of `trainables.metrics.UTTERANCES`, or some of them.
    Raises ValueError when they cannot be read.
    """
    storage = ledger.trial(signature) / "files" / "utterances.parquet"
    try:
        with storage.filesystem.open_input_file(storage.path) as file:
            table = parquet.read_table(file, columns=list(columns) if columns else None)
        # A corpus may have a clip twice; the sort is stable, and they stand in the order of the split.
        return table.sort_by([("id", "ascending"), ("reference", "ascending")])
    except FileNotFoundError:
        return None
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{storage} must be transcripts that can be read, but is not: {first_line(error)}") from error


def counts(ledger: Ledger, signature: str, metric: str = "cer") -> Counts | None:
    """A finished trial's errors; None where it kept no transcripts, or where the metric is not of transcripts.

    Raises ValueError when they cannot be read.
    """
    measured = _measured(ledger, [signature], metric).get(signature)
    return measured.counts if measured else None


class _Measured(NamedTuple):
    """A trial's errors."""

    utterances: str
    """Hash of what was tested: ids, references and speakers."""
    counts: Counts


def _cells(layout: Layout, trials: Sequence[AnyTrial], results: Mapping[str, Result]) -> dict[tuple[Any, str], Cell]:
    found: dict[tuple[Any, str], list[AnyTrial]] = {}
    for trial in trials:
        for column in layout.columns:
            found.setdefault((trial.fields[layout.rows], column.name), [])
            if column.holds(trial):
                found[trial.fields[layout.rows], column.name].append(trial)
    return {place: _cell(layout, members, results) for place, members in found.items()}


def _cell(layout: Layout, trials: Sequence[AnyTrial], results: Mapping[str, Result]) -> Cell:
    found = [(trial, results[trial.signature]) for trial in trials if trial.signature in results]
    finished = tuple(trial for trial, result in found if result.status == "finished")
    repetitions = sorted({trial.fields.get(layout.repetition) for trial in finished}, key=in_order)
    return Cell(tuple(trials), tuple(result for _, result in found), finished, repetitions=tuple(repetitions))


def in_order(value: Any) -> tuple[bool, Any]:
    """Numbers by size, anything else by its text."""
    return (False, value) if isinstance(value, int | float) else (True, str(value))


def _measured(ledger: Ledger, signatures: Sequence[str], metric: str) -> dict[str, _Measured]:
    """By signature, of those that kept transcripts; none where the metric is not of transcripts."""
    unit = UNITS.get(metric)
    if unit is None:
        return {}
    columns = ["id", "speaker", "reference", *(f"{unit}_{edit}" for edit in EDITS)]

    def read(signature: str) -> _Measured | None:
        table = utterances(ledger, signature, columns)
        return None if table is None or not table.num_rows else _count(table, unit)

    with ThreadPoolExecutor(AT_ONCE) as pool:  # each is a request, or more
        found = dict(zip(signatures, pool.map(read, signatures), strict=True))
    return {signature: measured for signature, measured in found.items() if measured}


def _count(table: pa.Table, unit: str) -> _Measured:
    ids, speakers, references = (table[name].to_pylist() for name in ("id", "speaker", "reference"))
    errors = np.stack([table[f"{unit}_{edit}"].to_numpy() for edit in EDITS]).sum(axis=0, dtype=np.int64)
    lengths = np.array([len(r.split() if unit == "word" else r.strip()) for r in references], dtype=np.int64)
    by_speaker = all(speakers) and len(set(speakers)) >= SPEAKERS
    blocks = np.unique(speakers, return_inverse=True)[1] if by_speaker else np.arange(len(ids))
    tested = hashlib.sha256("\0".join(chain(ids, references, (s or "" for s in speakers))).encode()).hexdigest()
    return _Measured(tested, Counts(errors, lengths, blocks, "speaker" if by_speaker else "utterance"))


def _assessed(
    layout: Layout,
    row: Any,
    cells: Mapping[tuple[Any, str], Cell],
    measured: Mapping[str, _Measured],
    replications: int,
) -> dict[tuple[Any, str], Cell]:
    """A row's cells with their statistics: those over the same utterances together."""
    pooled = {c.name: _pooled(cells[row, c.name], measured, layout.metric) for c in layout.columns}
    found = {(row, name): cell for name, (_, cell) in pooled.items()}
    baseline = pooled.get(layout.baseline or "")
    for tested in dict.fromkeys(tested for tested, _ in pooled.values() if tested):
        counts = {name: cell.counts for name, (t, cell) in pooled.items() if t == tested and cell.counts}
        against = baseline[1].counts if baseline and baseline[0] == tested else None
        assessments = assess(list(counts.values()), against, replications=replications)
        for name, (interval, comparison) in zip(counts, assessments, strict=True):
            cell = found[row, name]
            if comparison and baseline and cell.repetitions != baseline[1].repetitions:
                comparison = _matched(layout, cell, baseline[1], measured, replications)
            comparison = None if name == layout.baseline else comparison
            found[row, name] = replace(cell, interval=interval, comparison=comparison)
    return found


def _matched(
    layout: Layout, cell: Cell, baseline: Cell, measured: Mapping[str, _Measured], replications: int
) -> Comparison | None:
    """Over the repetitions that both have: the difference between seeds is none between columns."""
    common = set(cell.repetitions) & set(baseline.repetitions)
    pooled = [
        [
            measured[t.signature].counts
            for t in c.trials
            if t.fields.get(layout.repetition) in common and t.signature in measured
        ]
        for c in (cell, baseline)
    ]
    if not all(pooled):
        return None
    mine, theirs = map(Counts.pooled, pooled)
    return compare(mine, theirs, replications=replications)


def _pooled(cell: Cell, measured: Mapping[str, _Measured], metric: str) -> tuple[str | None, Cell]:
    """What a cell was tested on, and the cell with its counts and its deviation."""
    rates = [r.metrics[f"test_{metric}"] for r in cell.results if r.status == "finished"]
    cell = replace(cell, deviation=float(np.std(rates, ddof=1)) if len(rates) > 1 else None)
    kept = [measured[t.signature] for t in cell.trials if t.signature in measured]
    if not kept or len(kept) < len(rates) or len({tested for tested, _ in kept}) > 1:
        return None, cell
    return kept[0].utterances, replace(cell, counts=Counts.pooled([counts for _, counts in kept]))


def _over_seeds(
    layout: Layout, cells: Mapping[tuple[Any, str], Cell], results: Mapping[str, Result]
) -> dict[tuple[str, str], OverSeeds]:
    rates = {place: _rates(layout, cell, results) for place, cell in cells.items()}
    baseline = layout.baseline
    pairs = [(c.name, baseline) for c in layout.columns if c.name != baseline] if baseline else []
    found = {}
    for name, against in (*pairs, *layout.contrasts):
        differences = {
            (row, seed): rate - rates[row, against][seed]
            for row in dict.fromkeys(row for row, _ in rates)
            for seed, rate in rates[row, name].items()
            if seed in rates[row, against]
        }
        if len({seed for _, seed in differences}) > 1:
            found[name, against] = over_seeds([differences[pair] for pair in sorted(differences, key=str)])
    return found


def _rates(layout: Layout, cell: Cell, results: Mapping[str, Result]) -> dict[Any, float]:
    """Rates of a cell's finished trials by seed, a mean where a seed has several."""
    rates: dict[Any, list[float]] = {}
    for trial in cell.trials:
        result = results.get(trial.signature)
        if result and result.status == "finished":
            rates.setdefault(trial.fields.get(layout.repetition), []).append(result.metrics[f"test_{layout.metric}"])
    return {seed: sum(several) / len(several) for seed, several in rates.items()}
