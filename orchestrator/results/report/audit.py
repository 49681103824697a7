"""What the recipes have kept about their data: `files/audit.json` of a trial (see `trainables.corpora.audit`)."""

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.study.ledger import whole
from orchestrator.study.stored_study import Study

FILE = "files/audit.json"
UNSEEN = re.compile(r"[\u034f\u180b-\u180f\u2800\ufe00-\ufe0f\U000e0100-\U000e01ef]")
"""Marks that show nothing, such as variation selectors, and blank Braille; Python calls them printable."""
CONTROLS = {
    unicodedata.lookup(name): name
    for name in ("CHARACTER TABULATION", "LINE FEED", "FORM FEED", "CARRIAGE RETURN", "NEXT LINE")
}
"""Controls have no names in Unicode but these aliases."""


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


def legible(character: str) -> str:
    """A character as a reader can see it: itself, a mark on a dotted circle, and what shows nothing by its name."""
    if character.isprintable() and not UNSEEN.match(character):
        return f"◌{character}" if unicodedata.category(character).startswith("M") else character
    name = CONTROLS.get(character) or unicodedata.name(character, "")
    return f"U+{ord(character):04X} {name}".rstrip()
