"""What the recipes have kept about their data: `files/audit.json` of a trial (see `trainables.corpora.audit`)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.ledger import whole
from orchestrator.study import Study

FILE = "files/audit.json"


@dataclass(frozen=True)
class Audit:
    """Of the data of one row."""

    row: str
    language: str
    found: Mapping[str, Any]

    @property
    def hours(self) -> float | None:
        """Speech that was trained on, quarantined clips left out; None where the audit does not say."""
        train = self.found.get("train")
        seconds = train.get("seconds") if isinstance(train, Mapping) else None
        return seconds / 3600 if isinstance(seconds, int | float) else None


def audits(study: Study) -> list[Audit]:
    """Of each row of which a trial has kept one; the first stands for all.

    Raises ValueError when one is damaged.
    """
    texts = (study.ledger.storage / "trials").read_all([f"{t.signature}/{FILE}" for t in study.trials])
    found: dict[str, Audit] = {}
    for trial, text in zip(study.trials, texts, strict=True):
        row = trial.fields[study.layout.rows]
        if text is not None and row not in found:
            language = study.layout.published.rows.get(row, {}).get("language") or row
            content = whole(study.ledger.trial(trial.signature) / FILE, json.loads, text)
            found[row] = Audit(row, str(language), content)
    return list(found.values())
