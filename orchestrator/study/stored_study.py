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
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from orchestrator.printing import printable
from orchestrator.redaction import first_line, public, public_arguments
from orchestrator.study.former import upgraded
from orchestrator.study.layout import Layout
from orchestrator.study.ledger import History, Ledger, Result, whole
from orchestrator.study.storage import Storage
from orchestrator.study.sweep import StoredTrial, Sweep

FILE = "layout.json"
AUDIT = "files/audit.json"
"""The audit of a recipe's data, in the folder of a trial that has kept one."""


@dataclass(frozen=True)
class Submission:
    """How the last submission laid the study out, as it stands in `layout.json`."""

    name: str
    layout: Layout
    command: str
    """Command lines that make the study again: one for each submission that was not the same as one before."""
    trials: tuple[StoredTrial, ...]
    """The trials that were asked for, with those of their fields that tell them apart."""
    replaced: tuple[str, ...] = ()
    """Signatures of trials that are out of date: what was asked for since is the same but for its data."""
    needs: tuple[str, ...] = ()
    """Signatures of trials that were never asked for: others start from them, and no table shows them."""
    format: Literal[2] = 2
    """The number of this form of the file. The form before had none."""

    @classmethod
    def of(cls, sweep: Sweep, layout: Layout, command: str) -> "Submission":
        """The submission of a sweep by a command line."""
        paths = {*sweep.axes}.union(*(table.paths for table in layout.tables))
        trials = [StoredTrial(t.signature, t.label, _within(t.fields, paths)) for t in sweep.trials]
        # These have names of files in them.
        told = [
            replace(
                table,
                data=printable(table.data),
                reasons=[printable(reason) for reason in table.reasons],
                notes=[printable(note) for note in table.notes],
            )
            for table in layout.tables
        ]
        needs = tuple(sorted(sweep.needed - {trial.signature for trial in trials}))
        return cls(sweep.name, replace(layout, tables=told), printable(command), tuple(trials), needs=needs)

    @classmethod
    def load(cls, text: str) -> "Submission":
        """The submission that JSON of either form describes.

        Raises ValueError, which says what is wrong, where it is damaged.
        """
        try:
            found = json.loads(text)
            return _SUBMISSION.validate_python(found if "format" in found else upgraded(found))
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            raise ValueError(f"{error.errors()[0]['msg']}{f' ({where})' if where else ''}") from error
        except KeyError as error:
            raise ValueError(f"it has no {error}") from error
        except (TypeError, AttributeError) as error:
            raise ValueError(first_line(error)) from error

    def write(self, storage: Storage) -> None:
        """Keep it beside the ledger, with the commands of submissions before, and what all of them replaced."""
        before = replace(self, command="")
        with contextlib.suppress(ValueError):  # a damaged one is written anew
            before = Submission.load(storage.read(FILE) or "")
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
    """The trials that were asked for last, and earlier ones that none of them replaces, in the order of the tables,
    whenever they were run."""
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
        """The study as the ledger has it now.

        Raises ValueError when it has no `layout.json`, or a damaged file.
        """
        text = ledger.storage.read(FILE)
        if text is None:
            raise ValueError(
                f"The study in {ledger.storage} must have a {FILE}, but has none: an older version wrote it. "
                "Give the command that made it again; what is finished is not run again."
            )
        submission = whole(ledger.storage / FILE, Submission.load, text)
        trials = _trials(ledger, submission)
        results = ledger.results([trial.signature for trial in trials])
        asked = {trial.signature for trial in submission.trials}
        # What an earlier submission asked for and never got is nobody's wish any more.
        wanted = asked | (results.keys() - {*submission.replaced})
        return cls(ledger, submission, tuple(t for t in trials if t.signature in wanted), results)

    @property
    def layout(self) -> Layout:
        """Its tables and figures."""
        return self.submission.layout

    @cached_property
    def histories(self) -> Mapping[str, History]:
        """The attempts and reports of those trials that have any."""
        return self.ledger.histories([trial.signature for trial in self.trials])

    @cached_property
    def audits(self) -> Mapping[str, str]:
        """The texts of the audits of their data that trials have kept, by signature."""
        texts = (self.ledger.storage / "trials").read_all([f"{trial.signature}/{AUDIT}" for trial in self.trials])
        return {t.signature: text for t, text in zip(self.trials, texts, strict=True) if text is not None}


def _trials(ledger: Ledger, submission: Submission) -> list[StoredTrial]:
    """Trials that the ledger describes or the submission asks for, in the order of the tables whoever ran first."""
    asked = {trial.signature: trial for trial in submission.trials}
    described = {trial.signature: trial for trial in _described(ledger)}
    found = [
        (trial, submission.layout.place(trial))
        for trial in (asked | described).values()
        if trial.signature not in submission.needs
    ]
    shown = [(trial, *place) for trial, place in found if place]
    trials = [trial for trial, *_ in shown]
    orders = [([row.name for row in t.shown(trials)], t.named("columns")) for t in submission.layout.tables]

    def place(found: tuple[StoredTrial, int, str, str]) -> tuple[Any, ...]:
        trial, table, row, column = found
        rows, columns = orders[table]
        numbers = [int(digits) for digits in re.findall(r"\d+", trial.label)]
        return table, rows.index(row), columns.index(column), numbers, trial.signature

    return [trial for trial, *_ in sorted(shown, key=place)]


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
