"""What the report says of each cell and of each row of the table."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from orchestrator.results.evidence import Cell, Evidence, utterances
from orchestrator.results.report.transcripts import Confusion, Recognised, Transcripts
from orchestrator.results.tables import Entry, Table
from orchestrator.study.estimates import duration
from orchestrator.study.layout import Column
from orchestrator.study.stored_study import Study
from orchestrator.study.sweep import AnyTrial

RATES = ("cer", "wer")
"""Metrics whose values are percent, by the last word of their names."""


@dataclass(frozen=True)
class Detail:
    """One cell."""

    anchor: str
    heading: str
    entry: Entry
    facts: Mapping[str, str]
    shown: str
    """Which trial the utterances are of."""
    worst: list[Recognised]
    changed: list[Recognised]
    confusions: list[Confusion]
    recipe: str
    """Its fields as JSON."""


def details(study: Study, evidence: Evidence, table: Table, row: str) -> list[Detail]:
    """The cells of a row of the table that have trials, in the order of its columns."""
    entries = next(found for found in table.rows if found.name == row).lines[0].entries
    baseline = evidence.cells.get((row, study.layout.baseline or ""))
    found = []
    for column, entry in zip(study.layout.columns, entries, strict=True):
        cell = evidence.cells.get((row, column.name))
        if cell is not None and cell.trials:
            found.append(_detail(study, row, column, entry, cell, None if cell is baseline else baseline))
    return found


def _detail(study: Study, row: str, column: Column, entry: Entry, cell: Cell, baseline: Cell | None) -> Detail:
    trial = _shown(study, cell)
    mine = _transcripts(study, trial)
    theirs = _transcripts(study, _partner(study, trial, baseline))
    return Detail(
        f"cell-{row}-{column.name}",
        column.heading,
        entry,
        _facts(study, entry, cell),
        trial.label,
        mine.worst() if mine else [],
        mine.changed(theirs) if mine and theirs else [],
        mine.confusions() if mine else [],
        json.dumps(_nested(trial.fields), indent=1, ensure_ascii=False),
    )


def _finished(study: Study, trial: AnyTrial) -> bool:
    return trial.signature in study.results and study.results[trial.signature].status == "finished"


def _shown(study: Study, cell: Cell) -> AnyTrial:
    """The first that is finished stands for all."""
    return next((trial for trial in cell.trials if _finished(study, trial)), cell.trials[0])


def _partner(study: Study, trial: AnyTrial, baseline: Cell | None) -> AnyTrial | None:
    """The baseline's trial under like conditions."""
    same = study.layout.repetition
    candidates = baseline.trials if baseline else ()
    return next((t for t in candidates if t.fields.get(same) == trial.fields.get(same)), None)


def _transcripts(study: Study, trial: AnyTrial | None) -> Transcripts | None:
    if trial is None or not _finished(study, trial):
        return None
    table = utterances(study.ledger, trial.signature)
    return None if table is None else Transcripts(table.to_pylist())


def _facts(study: Study, entry: Entry, cell: Cell) -> dict[str, str]:
    metric, facts = study.layout.metric.upper(), {}
    if entry.value is not None:
        facts[metric] = f"{entry.number} %"
    if entry.range and cell.counts:
        unit, blocks = cell.counts.unit, int(cell.counts.blocks.max()) + 1
        facts["95 % interval"] = f"{entry.range} %, by bootstrap over {blocks} {unit}s"
    if cell.deviation is not None:
        facts["deviation over seeds"] = f"{cell.deviation:.2f} points"
    if comparison := cell.comparison:
        ends = ", ".join(f"{end:+.2f}" for end in comparison.interval or ())
        difference = f"{comparison.difference:+.2f} points" + (f" [{ends}]" if ends else "")
        facts["difference to the baseline"] = difference.replace("-", "−")
        facts["probability of improvement"] = f"{comparison.improvement:.3f}"
        facts["p"] = f"{comparison.p:.4f}; Holm-adjusted {cell.adjusted:.4f}"
    finished = [result for result in cell.results if result.status == "finished"]
    for name in sorted({name for result in finished for name in result.metrics} - {f"test_{study.layout.metric}"}):
        spoken, unit = _spoken(name)
        facts[spoken] = ", ".join(f"{r.metrics[name]:.6g}{unit}" for r in finished if name in r.metrics)
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


def _spoken(metric: str) -> tuple[str, str]:
    """A metric's name in words, and its unit."""
    words = [word.upper() if word in RATES else word for word in metric.split("_")]
    return " ".join(words), " %" if words[-1].lower() in RATES else ""


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
