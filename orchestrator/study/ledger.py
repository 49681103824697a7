"""The truth about a study: JSON on its storage, in one folder per trial, named by the trial's signature.

<study>/study.json                       the format, and what all trials of the study have in common
<study>/layout.json                      how its tables and figures are laid out (see stored_study.py)
<study>/submitter-<id>.json              who is running the study now (see lease.py)
<study>/trials/<signature>/recipe.json   what was asked
                          /history.json  attempts and reports so far
                          /checkpoints/  the last two (see checkpoints.py)
                          /files/        what the recipe kept: its weights, its transcripts
                          /result.json   what came of it: finished, stopped or failed
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, TypeVar

from orchestrator.printing import printable
from orchestrator.redaction import first_line, public
from orchestrator.study.checkpoints import Checkpoints
from orchestrator.study.storage import AT_ONCE, Storage
from orchestrator.study.sweep import Sweep, Trial

FORMAT = 2
FORMER_NAME = re.compile(r"(?:best_)?(train|valid|test)_(\w+)")
"""The form of names before they were `<set>/<metric>`: of a set, an underscore and a metric."""
T = TypeVar("T")


def renamed(metrics: Mapping[str, float]) -> dict[str, float]:
    """The values of a report or a result by the names that they have now, whenever it was written."""
    return {FORMER_NAME.sub(r"\1/\2", name) if FORMER_NAME.fullmatch(name) else name: v for name, v in metrics.items()}


@dataclass(frozen=True)
class Result:
    """The outcome of a trial."""

    status: Literal["finished", "stopped", "failed"]
    """`stopped` by a scheduler that gave its place to better trials."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The values that a finished trial's recipe returned; the last report of a stopped trial."""
    reason: str = ""
    """The reason why a trial failed or was stopped."""
    seconds: float = 0.0
    """Seconds of training and testing, over all attempts."""
    gpu_hours: float = 0.0
    attempts: int = 1

    @classmethod
    def load(cls, text: str) -> "Result":
        """From JSON."""
        result = cls(**json.loads(text))
        # A reason may have in it what an exception says of a file, which goes on to tables, reports and MLflow.
        return replace(result, metrics=renamed(result.metrics), reason=printable(result.reason))


@dataclass
class Attempt:
    """One start of a trial's workers."""

    begun: str
    """UTC, ISO 8601."""
    host: str = ""
    hardware: str = ""
    workers: int = 1
    gpus: float = 0.0
    """GPUs of all workers together."""
    versions: dict[str, str] = field(default_factory=dict)
    commit: str = ""
    seconds: float = 0.0
    """Until its last report."""


@dataclass
class History:
    """The attempts at a trial, and what they reported."""

    attempts: list[Attempt] = field(default_factory=list)
    reports: list[dict[str, float]] = field(default_factory=list)
    """Metrics with their `step`, and `time` in seconds since 1970."""

    def add(self, metrics: Mapping[str, float], *, step: int, time: float) -> None:
        """A report. What an earlier attempt reported already, before a checkpoint was lost, stays as it is."""
        report = {**metrics, "step": step}
        if not any(report.keys() | {"time"} == old.keys() and old["step"] == step for old in self.reports):
            self.reports.append(report | {"time": time})

    @property
    def seconds(self) -> float:
        """Seconds of all attempts together."""
        return sum(attempt.seconds for attempt in self.attempts)

    @property
    def gpu_hours(self) -> float:
        """GPU hours of all attempts together."""
        return sum(attempt.seconds * attempt.gpus for attempt in self.attempts) / 3600

    def dump(self) -> str:
        """As JSON."""
        return json.dumps({"attempts": [asdict(a) for a in self.attempts], "reports": self.reports}, indent=1)

    @classmethod
    def load(cls, text: str) -> "History":
        """From JSON."""
        found = json.loads(text)
        return cls([Attempt(**attempt) for attempt in found["attempts"]], [renamed(r) for r in found["reports"]])


@dataclass(frozen=True)
class Ledger:
    """One study on its storage. Reading never changes anything; `open` makes what is not there."""

    storage: Storage
    """The study's own folder."""

    @classmethod
    def of(cls, storage: Storage, sweep: Sweep) -> "Ledger":
        """The ledger of a sweep, looked at and not changed.

        Raises ValueError when the storage cannot be used, when the study there was written by another version,
        or when it is made of other recipes.
        """
        storage.check()
        ledger = cls(storage / sweep.name)
        text = ledger.storage.read("study.json")
        if text is None and "trials" in ledger.storage.names():
            raise ValueError(
                f"The study in {ledger.storage} must have a study.json, but has none; give another `name`."
            )
        if text is not None:
            ledger._compare(ledger.check(text), sweep)
        return ledger

    def check(self, text: str) -> dict[str, Any]:
        """The content of a `study.json`, from its text.

        Raises ValueError when it is damaged, or when another version wrote it.
        """
        study = whole(self.storage / "study.json", json.loads, text)
        if study.get("format") != FORMAT:
            raise ValueError(
                f"The ledger in {self.storage} must have format {FORMAT}, but has {study.get('format')}: "
                "another version of this program wrote it; give another `name`."
            )
        return study

    def open(self, sweep: Sweep) -> None:
        """Write down what the study is.

        Raises ValueError when the storage cannot be written.
        """
        try:
            before = self.storage.read("study.json")
            models = (self.check(before).get("models", {}) if before else {}) | sweep.models
            study = {"format": FORMAT, "name": sweep.name, "common": sweep.common, "models": models}
            text = json.dumps(study, indent=1, ensure_ascii=False)
            if before != text:
                self.storage.write("study.json", text)
        except OSError as error:
            raise ValueError(f"The storage must be writable, but {self.storage} is not: {error}") from error

    def trial(self, signature: str) -> Storage:
        """Folder of one trial."""
        return self.storage / "trials" / signature

    def checkpoints(self, signature: str) -> Checkpoints:
        """The checkpoints of one trial."""
        return Checkpoints(self.trial(signature) / "checkpoints")

    def begin(self, trial: Trial) -> None:
        """Write down what will be run; what came of it before, if it stopped or failed, is forgotten."""
        self.trial(trial.signature).delete("result.json")
        self.trial(trial.signature).write("recipe.json", json.dumps(trial.describe(), indent=1, ensure_ascii=False))

    def description(self, signature: str) -> dict[str, Any]:
        """The description that `begin` wrote down, from which the recipe is made again.

        Raises ValueError when it is damaged or not there.
        """
        return whole(self.trial(signature) / "recipe.json", json.loads, self.trial(signature).read("recipe.json") or "")

    def begun(self, signatures: Sequence[str]) -> set[str]:
        """Signatures of the trials that have a checkpoint to go on from."""
        with ThreadPoolExecutor(AT_ONCE) as pool:  # one request each, or more
            steps = pool.map(lambda signature: self.checkpoints(signature).steps(), signatures)
            return {signature for signature, found in zip(signatures, steps, strict=True) if found}

    def finish(self, signature: str, result: Result) -> None:
        """Write down what came of a trial; a finished one needs its checkpoints no more."""
        kept = replace(result, reason=public(result.reason))
        self.trial(signature).write("result.json", json.dumps(asdict(kept), indent=1))
        if result.status == "finished":
            self.trial(signature).delete("checkpoints")

    def results(self, signatures: Sequence[str]) -> dict[str, Result]:
        """Results so far, by signature: of trials that are finished, stopped or failed."""
        texts = (self.storage / "trials").read_all([f"{signature}/result.json" for signature in signatures])
        found = {s: text for s, text in zip(signatures, texts, strict=True) if text}
        return {s: whole(self.trial(s) / "result.json", Result.load, text) for s, text in found.items()}

    def result(self, signature: str) -> Result | None:
        """The result of one trial, if it has one."""
        return self.results([signature]).get(signature)

    def history(self, signature: str) -> History:
        """The attempts and reports of one trial."""
        return self.histories([signature]).get(signature, History())

    def histories(self, signatures: Sequence[str]) -> dict[str, History]:
        """The attempts and reports of those trials that have any."""
        texts = (self.storage / "trials").read_all([f"{signature}/history.json" for signature in signatures])
        found = {s: text for s, text in zip(signatures, texts, strict=True) if text}
        return {s: whole(self.trial(s) / "history.json", History.load, text) for s, text in found.items()}

    def _compare(self, study: dict[str, Any], sweep: Sweep) -> None:
        known = study.get("models", {})  # those of the columns that were asked for; others may come
        models = {name: value for name, value in sweep.models.items() if name in known}
        changes = [
            f"`{name}` is {_short(now)}, but was {_short(before)}"
            for name, before, now in [
                *_differences(study["common"], sweep.common),
                *_differences({name: known[name] for name in models}, models),
            ]
        ]
        if changes:
            raise ValueError(
                f"The recipes of study {sweep.name!r} must stay as they are in what all its trials have in common: "
                f"{'; '.join(changes[:3])}{' …' if len(changes) > 3 else ''}. Give another `name`, or the old values."
            )


REMEDY = "delete it and give the study's command again, which makes what is missing."


def whole(file: Storage, load: Callable[[str], T], text: str) -> T:
    """A file's content, made of its text by `load`.

    Raises ValueError, naming the file, when that is not what this program wrote.
    """
    try:
        return load(text)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{file} must be as this program wrote it, but is damaged: {first_line(error)}; {REMEDY}"
        ) from error


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterable[tuple[str, Any, Any]]:
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            yield name, before.get(name), now.get(name)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}…"
