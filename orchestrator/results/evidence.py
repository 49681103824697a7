"""The evidence of each cell of a table: its trials' results, their transcripts, intervals and comparisons."""

import hashlib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

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
from orchestrator.results.utterances import of_set, utterances
from orchestrator.study.ledger import Ledger, Result
from orchestrator.study.storage import AT_ONCE
from orchestrator.study.sweep import AnyTrial
from orchestrator.study.table import Table
from orchestrator.study.value import Value

SPEAKERS = 6
"""From how many speakers on the blocks are speakers: the fewest of whom a sign-flip test can say anything at 5 %.

With fewer the blocks are utterances, and an interval speaks of these speakers alone.
"""
CONVERGED = "converged"
"""The value of a result that is 0 where the recipe finds that its training did not converge."""


@dataclass(frozen=True)
class Cell:
    """A cell's trials, their results, and the statistics over them."""

    value: Value
    """The value that it shows."""
    trials: tuple[AnyTrial, ...] = ()
    """The trials that belong to it."""
    results: tuple[Result, ...] = ()
    """Results so far: finished, stopped or failed."""
    finished: tuple[AnyTrial, ...] = ()
    """The trials that are finished, and have converged."""
    counts: Counts | None = None
    """Pooled over its finished trials; None unless all of them kept transcripts, and of the same utterances."""
    interval: Interval | None = None
    deviation: float | None = None
    """Standard deviation of the finished trials' values, where there are several."""
    repetitions: tuple[Any, ...] = ()
    """The values of the field that tells its finished trials apart: seeds."""
    comparison: Comparison | None = None
    """With its baseline, over the repetitions that both have; None where there is none, or where the baseline was
    tested on other utterances."""
    adjusted: float | None = None
    """The comparison's p-value, by Holm's method over all comparisons of the table."""

    def mean(self, value: Value | None = None) -> float | None:
        """The mean over its trials of what it shows, or of another value; None where there is none."""
        numbers = [measured(result, value or self.value) for result in self.results]
        known = [number for number in numbers if number is not None]
        return sum(known) / len(known) if known else None

    @property
    def diverged(self) -> int:
        """How many of its trials did not converge."""
        return sum(diverged(result, self.value) for result in self.results)


@dataclass(frozen=True)
class Evidence:
    """A table's cells, and the comparisons over all of its seeds."""

    cells: Mapping[tuple[str, str], Cell]
    """By the names of row and column: all columns with trials of their own for each row that has trials."""
    over_seeds: Mapping[tuple[str, str], OverSeeds]
    """By a column and what it is compared with, the baseline or the other of a contrast: over the differences of each
    row and seed, where seeds are several. In a table whose rows are compared, by two rows."""

    @classmethod
    def of(
        cls,
        table: Table,
        trials: Sequence[AnyTrial],
        results: Mapping[str, Result],
        ledger: Ledger,
        *,
        replications: int = REPLICATIONS,
    ) -> "Evidence":
        """From the results of trials by signature, and the transcripts that `ledger` keeps of them.

        Raises ValueError when transcripts cannot be read.
        """
        cells = _cells(table, trials, results)
        kept = _kept(ledger, cells.values())
        for family in _families(table, cells):
            cells |= _assessed(table, family, cells, kept, replications)
        compared = {place: cell.comparison for place, cell in cells.items() if cell.comparison}
        adjusted = holm([comparison.p for comparison in compared.values()])
        for place, p in zip(compared, adjusted, strict=True):
            cells[place] = replace(cells[place], adjusted=p)
        return cls(cells, _over_seeds(table, cells, results))


def diverged(result: Result, value: Value) -> bool:
    """Whether a finished trial did not converge: its recipe says so, or what it was measured by is no number."""
    wrong = not math.isfinite(result.metrics.get(value.name, 0.0)) or result.metrics.get(CONVERGED) == 0
    return result.status == "finished" and wrong


def measured(result: Result, value: Value) -> float | None:
    """The value of a trial that is finished and has converged; None where its recipe returned none."""
    return None if result.status != "finished" or diverged(result, value) else result.metrics.get(value.name)


def in_order(value: Any) -> tuple[bool, Any]:
    """Numbers by size, anything else by its text."""
    return (False, value) if isinstance(value, int | float) else (True, str(value))


class Kept(NamedTuple):
    """The errors that a trial's transcripts have."""

    utterances: str
    """A hash of what was tested: ids, references and speakers."""
    counts: Counts


def counts(ledger: Ledger, signature: str) -> dict[str, Counts]:
    """A trial's errors in each of its test sets by each metric, by names such as test/error; none without transcripts.

    Raises ValueError when they cannot be read.
    """
    table = utterances(ledger, signature)
    if table is None:
        return {}
    metrics = [name.removesuffix("_errors") for name in table.column_names if name.endswith("_errors")]
    names = [f"{name}/{metric}" for name in dict.fromkeys(table["test_set"].to_pylist()) for metric in metrics]
    found = {name: _count(table, Value(name)) for name in names}
    return {name: kept.counts for name, kept in found.items() if kept}


Place = tuple[str, str]
KeptOf = Mapping[tuple[str, str], Kept]
"""By signature and the name of a value."""


def _cells(table: Table, trials: Sequence[AnyTrial], results: Mapping[str, Result]) -> dict[Place, Cell]:
    rows, columns = (
        [part.name for part in parts if part.where is not None and not part.choice]
        for parts in (table.shown(trials), table.columns)
    )
    found: dict[Place, list[AnyTrial]] = {(row, column): [] for row in rows for column in columns}
    for trial in trials:
        for place in table.places(trial):
            found[place].append(trial)
    return {place: _cell(table, table.value_at(*place), members, results) for place, members in found.items()}


def _cell(table: Table, value: Value, trials: Sequence[AnyTrial], results: Mapping[str, Result]) -> Cell:
    found = [(trial, results[trial.signature]) for trial in trials if trial.signature in results]
    finished = tuple(t for t, result in found if result.status == "finished" and not diverged(result, value))
    numbers = [number for _, result in found if (number := measured(result, value)) is not None]
    return Cell(
        value,
        tuple(trials),
        tuple(result for _, result in found),
        finished,
        deviation=float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None,
        repetitions=tuple(sorted({trial.fields.get(table.repetition) for trial in finished}, key=in_order)),
    )


def _families(table: Table, cells: Mapping[Place, Cell]) -> list[list[Place]]:
    """The cells that are compared with each other: those of a row, or of a column where rows are compared."""
    found: dict[str, list[Place]] = {}
    for place in cells:
        found.setdefault(table.turned(*place)[1], []).append(place)
    return list(found.values())


def _kept(ledger: Ledger, cells: Iterable[Cell]) -> KeptOf:
    wanted: dict[str, dict[str, Value]] = {}
    for cell in cells:
        for trial in cell.finished:
            wanted.setdefault(trial.signature, {})[cell.value.name] = cell.value
    with ThreadPoolExecutor(AT_ONCE) as pool:  # each is a request, or more
        found = pool.map(lambda item: _read(ledger, item[0], item[1].values()), wanted.items())
        return {(trial, name): kept for trial, those in zip(wanted, found, strict=True) for name, kept in those.items()}


def _read(ledger: Ledger, signature: str, values: Collection[Value]) -> dict[str, Kept]:
    """A trial's errors by the names of values, where it kept transcripts that have them."""
    wanted = [f"{value.metric}_{what}" for value in values for what in ("errors", "length")]
    table = utterances(ledger, signature, columns=["test_set", "id", "speaker", "reference", *dict.fromkeys(wanted)])
    if table is None:
        return {}
    found = {value.name: _count(table, value) for value in values}
    return {name: kept for name, kept in found.items() if kept}


def _count(table: pa.Table, value: Value) -> Kept | None:
    table = of_set(table, value.set)
    if f"{value.metric}_errors" not in table.column_names or not table.num_rows:
        return None
    ids, speakers, references = (
        [text or "" for text in table[name].to_pylist()] for name in ("id", "speaker", "reference")
    )
    errors, lengths = (table[f"{value.metric}_{what}"].to_numpy().astype(np.int64) for what in ("errors", "length"))
    by_speaker = all(speakers) and len(set(speakers)) >= SPEAKERS
    blocks = np.unique(speakers, return_inverse=True)[1] if by_speaker else np.arange(len(ids))
    tested = hashlib.sha256("\0".join(chain(ids, references, speakers)).encode()).hexdigest()
    return Kept(f"{value.name} {tested}", Counts(errors, lengths, blocks, "speaker" if by_speaker else "utterance"))


def _assessed(
    table: Table,
    family: Sequence[Place],
    cells: Mapping[Place, Cell],
    kept: KeptOf,
    replications: int,
) -> dict[Place, Cell]:
    """A family's cells with their statistics: those over the same utterances together."""
    pooled = {place: _pooled(cells[place], kept) for place in family}
    found = {place: cell for place, (_, cell) in pooled.items()}
    against = next((place for place in family if table.turned(*place)[0] == table.baseline), None)
    baseline = pooled[against] if against else None
    for tested in dict.fromkeys(tested for tested, _ in pooled.values() if tested):
        counts = {place: cell.counts for place, (t, cell) in pooled.items() if t == tested and cell.counts}
        theirs = baseline[1].counts if baseline and baseline[0] == tested else None
        assessments = assess(list(counts.values()), theirs, replications=replications)
        for place, (interval, comparison) in zip(counts, assessments, strict=True):
            cell = found[place]
            if comparison and baseline and cell.repetitions != baseline[1].repetitions:
                comparison = _matched(table, cell, baseline[1], kept, replications)
            comparison = None if place == against else comparison
            found[place] = replace(cell, interval=interval, comparison=comparison)
    return found


def _matched(table: Table, cell: Cell, baseline: Cell, kept: KeptOf, replications: int) -> Comparison | None:
    """Over the repetitions that both have: the difference between seeds is none between columns."""
    common = set(cell.repetitions) & set(baseline.repetitions)
    pooled = [
        [
            kept[place].counts
            for t in c.finished
            if t.fields.get(table.repetition) in common and (place := _of(c, t)) in kept
        ]
        for c in (cell, baseline)
    ]
    if not all(pooled):
        return None
    mine, theirs = map(Counts.pooled, pooled)
    return compare(mine, theirs, replications=replications)


def _pooled(cell: Cell, kept: KeptOf) -> tuple[str | None, Cell]:
    """The hash of the utterances that a cell was tested on, and the cell with its counts."""
    found = [kept[_of(cell, trial)] for trial in cell.finished if _of(cell, trial) in kept]
    if not found or len(found) < len(cell.finished) or len({one.utterances for one in found}) > 1:
        return None, cell
    return found[0].utterances, replace(cell, counts=Counts.pooled([one.counts for one in found]))


def _of(cell: Cell, trial: AnyTrial) -> tuple[str, str]:
    return trial.signature, cell.value.name


def _over_seeds(
    table: Table, cells: Mapping[Place, Cell], results: Mapping[str, Result]
) -> dict[tuple[str, str], OverSeeds]:
    rates = {place: _rates(table, cell, results) for place, cell in cells.items()}
    baseline = table.baseline
    pairs = [(part.name, baseline) for part in table.parts if part.name != baseline] if baseline else []
    found = {}
    for name, against in (*pairs, *table.contrasts):
        differences = {}
        for other in dict.fromkeys(table.turned(*place)[1] for place in cells):
            mine, theirs = table.turned(name, other), table.turned(against, other)
            if mine in cells and theirs in cells and cells[mine].value == cells[theirs].value:
                both = rates[mine].keys() & rates[theirs].keys()
                differences |= {(other, seed): rates[mine][seed] - rates[theirs][seed] for seed in both}
        if len({seed for _, seed in differences}) > 1:
            found[name, against] = over_seeds([differences[pair] for pair in sorted(differences, key=str)])
    return found


def _rates(table: Table, cell: Cell, results: Mapping[str, Result]) -> dict[Any, float]:
    """A cell's numbers by seed, a mean where a seed has several; none where they have no direction, or another unit."""
    rates: dict[Any, list[float]] = {}
    for trial in cell.finished:
        number = measured(results[trial.signature], cell.value)
        if number is not None and cell.value.better and cell.value.unit == table.value.unit:
            rates.setdefault(trial.fields.get(table.repetition), []).append(number)
    return {seed: sum(several) / len(several) for seed, several in rates.items()}
