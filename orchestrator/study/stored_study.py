"""A study as its ledger has it: what tables and reports are made of, at any time and without a recipe."""

import contextlib
import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from orchestrator.printing import printable
from orchestrator.redaction import public, public_arguments
from orchestrator.study.layout import Layout
from orchestrator.study.ledger import REMEDY, History, Ledger, Result, whole
from orchestrator.study.storage import Storage
from orchestrator.study.sweep import AnyTrial, StoredTrial, Sweep

FILE = "layout.json"


@dataclass(frozen=True)
class Submission:
    """How the last submission laid the study out, as it stands in `layout.json`."""

    name: str
    layout: Layout
    notes: tuple[str, ...]
    """What a reader must know to read the numbers."""
    command: str
    """What makes the study again: a line for each submission that was not the same as one before."""
    trials: tuple[StoredTrial, ...]
    """Those that were asked for; of their fields, what tells them apart."""
    replaced: tuple[str, ...] = ()
    """Signatures of trials that are out of date: what was asked for since is the same but for its data."""
    needs: tuple[str, ...] = ()
    """Signatures of trials that were never asked for: others start from them, and no table shows them."""

    @classmethod
    def of(cls, sweep: Sweep, layout: Layout, notes: Sequence[str], command: str) -> "Submission":
        """Of a submission."""
        paths = {layout.rows, *sweep.axes, *(path for column in layout.columns for path in column.where)}
        trials = [StoredTrial(t.signature, t.label, _within(t.fields, paths)) for t in sweep.trials]
        # These have names of files in them.
        told = replace(layout, data=printable(layout.data), reasons=[printable(reason) for reason in layout.reasons])
        needs = tuple(sorted(sweep.needed - {trial.signature for trial in trials}))
        return cls(sweep.name, told, tuple(map(printable, notes)), printable(command), tuple(trials), needs=needs)

    def write(self, storage: Storage) -> None:
        """Keep it beside the ledger, with the commands of submissions before, and what all of them replaced."""
        before = replace(self, command="")
        with contextlib.suppress(ValidationError):  # a damaged one is written anew
            before = _SUBMISSION.validate_json(storage.read(FILE) or "")
        commands = [*(line for line in before.command.splitlines() if line != self.command), self.command]
        asked = {trial.signature for trial in self.trials}
        known = _described(Ledger(storage))
        old = {t.signature for t in known if self._replaces(t)} | {*before.replaced}
        asked_before = {t.signature for t in known} - {*before.needs}
        needs = ({*before.needs, *self.needs} - asked_before) - asked
        kept = replace(
            self,
            command="\n".join(commands),
            replaced=tuple(sorted(old - asked)),
            needs=tuple(sorted(needs)),
        )
        storage.write(FILE, _SUBMISSION.dump_json(kept, indent=1).decode())

    def _replaces(self, trial: StoredTrial) -> bool:
        """Whether one that is asked for is like this one in all that may differ in the study: its data has changed."""
        return any(all(trial.fields.get(path) == value for path, value in t.fields.items()) for t in self.trials)


_SUBMISSION = TypeAdapter(Submission)


@dataclass(frozen=True)
class Study:
    """The last submission's layout over all trials that the ledger has."""

    ledger: Ledger
    submission: Submission
    trials: tuple[StoredTrial, ...]
    """Those that were asked for last, and earlier ones that none of them replaces, in an order that does not depend on
    when they were run."""
    results: Mapping[str, Result]

    @classmethod
    def at(cls, where: str) -> "Study":
        """The study in a folder or at a URL, read and not changed.

        Raises ValueError when there is none, when another version wrote it, or when a file of it is damaged.
        """
        storage = Storage.at(where)
        text = storage.read("study.json")
        if text is None:
            raise ValueError(f"A study must have a study.json, but {public(where)} has none.")
        ledger = Ledger(storage)
        ledger.check(text)
        return cls.read(ledger)

    @classmethod
    def read(cls, ledger: Ledger) -> "Study":
        """What the ledger has now.

        Raises ValueError when it has no `layout.json`, or a damaged file.
        """
        text = ledger.storage.read(FILE)
        if text is None:
            raise ValueError(
                f"The study in {ledger.storage} must have a {FILE}, but has none: an older version wrote it. "
                "Give the command that made it again; what is finished is not run again."
            )
        try:
            submission = _SUBMISSION.validate_json(text)
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            raise ValueError(
                f"{ledger.storage / FILE} must be as this program wrote it, but is damaged: "
                f"{error.errors()[0]['msg']}{f' ({where})' if where else ''}; {REMEDY}"
            ) from error
        trials = _trials(ledger, submission)
        results = ledger.results([trial.signature for trial in trials])
        asked = {trial.signature for trial in submission.trials}
        # What an earlier submission asked for and never got is nobody's wish any more.
        wanted = asked | (results.keys() - {*submission.replaced})
        return cls(ledger, submission, tuple(t for t in trials if t.signature in wanted), results)

    @property
    def layout(self) -> Layout:
        """See `Submission`."""
        return self.submission.layout

    @cached_property
    def rows(self) -> list[str]:
        """The rows of its table, as the paper orders them."""
        return self.layout.published.order({trial.fields[self.layout.rows] for trial in self.trials})

    @cached_property
    def histories(self) -> Mapping[str, History]:
        """The attempts and reports of those trials that have any."""
        return self.ledger.histories([trial.signature for trial in self.trials])


def _trials(ledger: Ledger, submission: Submission) -> list[StoredTrial]:
    """Those that the ledger describes or the submission asks for, in the order of the table whoever ran first."""
    asked = {trial.signature: trial for trial in submission.trials}
    described = {trial.signature: trial for trial in _described(ledger)}
    found = [trial for trial in (asked | described).values() if trial.signature not in submission.needs]
    columns, rows = submission.layout.columns, submission.layout.rows
    shown = [trial for trial in found if rows in trial.fields and any(c.holds(trial) for c in columns)]
    order = submission.layout.published.order({trial.fields[rows] for trial in shown})
    places = {row: i for i, row in enumerate(order)}

    def place(trial: AnyTrial) -> tuple[Any, ...]:
        column = next(i for i, c in enumerate(columns) if c.holds(trial))
        return places[trial.fields[rows]], column, [int(d) for d in re.findall(r"\d+", trial.label)], trial.signature

    return sorted(shown, key=place)


def _described(ledger: Ledger) -> list[StoredTrial]:
    """Trials whose recipes the ledger has."""
    names = sorted((ledger.storage / "trials").names())
    texts = (ledger.storage / "trials").read_all([f"{name}/recipe.json" for name in names])
    return [
        whole(ledger.trial(name) / "recipe.json", lambda t, n=name: StoredTrial.of(n, json.loads(t)), text)
        for name, text in zip(names, texts, strict=True)
        if text is not None
    ]


def _within(fields: Mapping[str, Any], paths: set[str]) -> dict[str, Any]:
    return {k: v for k, v in fields.items() if any(k == path or k.startswith(f"{path}.") for path in paths)}


def command_line(arguments: Sequence[str] | None) -> str:
    """The command line of this process, without credentials and without the place of its interpreter."""
    script = Path(sys.argv[0])
    here = script.relative_to(Path.cwd()) if script.is_absolute() and script.is_relative_to(Path.cwd()) else script
    # Each argument by itself: quoted for a shell, a credential with a quote in it would be in pieces.
    return shlex.join(["python", str(here), *public_arguments(sys.argv[1:] if arguments is None else arguments)])
