"""The report's part on each cell of a table."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from orchestrator.results.evidence import Cell, Evidence
from orchestrator.results.report.transcripts import Confusion, Recognised, Transcripts
from orchestrator.results.sheet import Entry, Sheet
from orchestrator.results.utterances import utterances
from orchestrator.study.estimates import duration
from orchestrator.study.stored_study import Study
from orchestrator.study.sweep import AnyTrial
from orchestrator.study.table import Table
from orchestrator.study.value import Value


@dataclass(frozen=True)
class Detail:
    """Everything that the report has of one cell."""

    anchor: str
    heading: str
    entry: Entry
    facts: Mapping[str, str]
    shown: str
    """Label of the trial that the utterances are from."""
    worst: list[Recognised]
    changed: list[Recognised]
    confusions: list[Confusion]
    confused: str
    """The things that are confused: `characters`, or empty where they are whole utterances."""
    counts: str
    """The unit of the lengths that errors are counted over, such as characters."""
    recipe: str
    """Its fields as JSON."""


def details(study: Study, table: Table, evidence: Evidence, sheet: Sheet, row: str) -> list[Detail]:
    """The cells of a row of a table that have trials of their own, in the order of its columns."""
    entries = next(found for found in sheet.rows if found.name == row).lines[0].entries
    found = []
    for column, entry in zip(table.columns, entries, strict=True):
        place = (row, column.name)
        cell = evidence.cells.get(place)
        if cell is not None and cell.trials:
            other = table.turned(*place)[1]
            baseline = evidence.cells.get(table.turned(table.baseline or "", other))
            found.append(
                _detail(study, table, place, column.title, entry, cell, None if cell is baseline else baseline)
            )
    return found


def _detail(
    study: Study,
    table: Table,
    place: tuple[str, str],
    heading: str,
    entry: Entry,
    cell: Cell,
    baseline: Cell | None,
) -> Detail:
    trial, value = _shown(study, cell), cell.value
    mine = _transcripts(study, trial, value)
    theirs = _transcripts(study, _partner(table, trial, baseline), value)
    return Detail(
        "-".join((table.name, *place)),
        heading,
        entry,
        _facts(table, entry, cell, mine.metrics if mine else ()),
        trial.label,
        mine.worst() if mine else [],
        mine.changed(theirs) if mine and theirs else [],
        mine.confusions() if mine else [],
        "" if mine and mine.classes else "characters",
        value.counts,
        json.dumps(_nested(trial.fields), indent=1, ensure_ascii=False),
    )


def _finished(study: Study, trial: AnyTrial) -> bool:
    return trial.signature in study.results and study.results[trial.signature].status == "finished"


def _shown(study: Study, cell: Cell) -> AnyTrial:
    """The first that is finished stands for all."""
    return next((trial for trial in cell.trials if _finished(study, trial)), cell.trials[0])


def _partner(table: Table, trial: AnyTrial, baseline: Cell | None) -> AnyTrial | None:
    """The baseline's trial under like conditions."""
    same = table.repetition
    candidates = baseline.trials if baseline else ()
    return next((t for t in candidates if t.fields.get(same) == trial.fields.get(same)), None)


def _transcripts(study: Study, trial: AnyTrial | None, value: Value) -> Transcripts | None:
    if trial is None or not _finished(study, trial):
        return None
    kept = utterances(study.ledger, trial.signature, value.set)
    if kept is None or f"{value.metric}_errors" not in kept.column_names:
        return None
    return Transcripts(kept.to_pylist(), value.metric)


def _facts(table: Table, entry: Entry, cell: Cell, rates: Collection[str]) -> dict[str, str]:
    facts, value, unit = {}, cell.value, f" {cell.value.unit}".rstrip()
    if entry.value is not None:
        facts[value.title] = f"{entry.number}{unit}"
    if entry.range and cell.counts:
        blocks = int(cell.counts.blocks.max()) + 1
        facts["95 % interval"] = f"{entry.range}{unit}, by bootstrap over {blocks} {cell.counts.unit}s"
    if cell.deviation is not None:
        facts[f"deviation over {table.repetition.rpartition('.')[2]}s"] = f"{cell.deviation:.2f} {value.difference}"
    if comparison := cell.comparison:
        ends = ", ".join(f"{end:+.2f}" for end in comparison.interval or ())
        difference = f"{comparison.difference:+.2f} {value.difference}" + (f" [{ends}]" if ends else "")
        facts["difference to the baseline"] = difference.replace("-", "−")
        facts["probability of improvement"] = f"{comparison.improvement:.3f}"
        facts["p"] = f"{comparison.p:.4f}; Holm-adjusted {cell.adjusted:.4f}"
    finished = [result for result in cell.results if result.status == "finished"]
    known = {other.name: other for other in table.values}  # and what is errors over lengths is in percent
    for name in sorted({name for result in finished for name in result.metrics} - {value.name}):
        other = known.get(name, Value(name, unit="%" if name.rpartition("/")[2] in rates else ""))
        facts[other.spoken] = ", ".join(
            f"{r.metrics[name]:.6g} {other.unit}".rstrip() for r in finished if name in r.metrics
        )
    for result in cell.results:
        if result.reason:
            facts[result.status] = result.reason
    seconds = sum(result.seconds for result in cell.results)
    if seconds:
        hours = sum(result.gpu_hours for result in cell.results)
        attempts = sum(result.attempts for result in cell.results)
        over = f"{len(cell.results)} trials, {attempts} attempts" if len(cell.results) > 1 else f"attempts: {attempts}"
        facts["cost"] = f"{duration(seconds)}, {hours:.3g} GPU hours; {over}"
    facts["trials"] = ", ".join(f"{trial.label} ({trial.signature})" for trial in cell.trials)
    return facts


def _nested(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields by dotted path as the recipe has them, of files only their names."""
    nested: dict[str, Any] = {}
    for path, value in fields.items():
        *parents, name = path.split(".")
        target = nested
        for parent in parents:
            target = target.setdefault(parent, {})
        target[name] = PurePath(value).name if isinstance(value, str) and value.startswith("/") else value
    return nested
