"""The audits that recipes have kept of their data: `files/audit.json` of a trial, which tells of each split."""

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.study.ledger import whole
from orchestrator.study.stored_study import AUDIT, Study
from orchestrator.study.table import Table

UNSEEN = re.compile(r"[\u034f\u180b-\u180f\u2800\ufe00-\ufe0f\U000e0100-\U000e01ef]")
"""Marks that show nothing, such as variation selectors, and blank Braille; Python calls them printable."""
CONTROLS = {
    unicodedata.lookup(name): name
    for name in ("CHARACTER TABULATION", "LINE FEED", "FORM FEED", "CARRIAGE RETURN", "NEXT LINE")
}
"""Controls have no names in Unicode but these aliases."""


@dataclass(frozen=True)
class Audit:
    """The audit of the data of one row of a table."""

    row: str
    label: str
    found: Mapping[str, Any]

    def number(self, path: str) -> float | None:
        """The number at a dotted path; None where there is nothing, or something else."""
        found: Any = self.found
        for name in path.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        return found if isinstance(found, int | float) else None


def audits(study: Study, table: Table) -> list[Audit]:
    """The audit of each row of which a trial has kept one; the first stands for all.

    Raises ValueError when one is damaged.
    """
    found: dict[str, Audit] = {}
    for trial in study.trials:
        for row, _ in table.places(trial)[:1]:
            if trial.signature in study.audits and row not in found:
                content = whole(study.ledger.trial(trial.signature) / AUDIT, json.loads, study.audits[trial.signature])
                found[row] = Audit(row, table.label(row), content)
    return list(found.values())


def legible(character: str) -> str:
    """A character as a reader can see it: itself, a mark on a dotted circle, and what shows nothing by its name."""
    if character.isprintable() and not UNSEEN.match(character):
        return f"◌{character}" if unicodedata.category(character).startswith("M") else character
    name = CONTROLS.get(character) or unicodedata.name(character, "")
    return f"U+{ord(character):04X} {name}".rstrip()
