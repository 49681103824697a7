"""MLflow: one parent run for the study, one child per trial, looked up by tag before they are made.

MLflow is the ledger's shadow. What a trial has reported lies on the study's storage before anybody hears of it, with
its time. An event of the study becomes a task of one thread of the driver: read the trial's history, send the reports
beyond those that the run's tag `l2s.reports` counts, count them there. A report that is sent twice, as by a driver
that was killed in between, has the same step and time, and is one to MLflow. No step and no scheduler waits for MLflow.

An outage: a call fails in a way that may pass (answers.py), and its task is tried again after 1, 2, 4, … 30 s. Tasks
queue up behind it; when MLflow answers, the first of a trial sends all of its reports and the others find nothing left.
A refusal will not pass: that record is left out, and the study goes on. At the end `close` waits `patience` seconds,
then says what is missing; the next submission tells of every settled trial again, and so makes up for it.

A trial whose history has begun anew, because its files were deleted, gets a new run: the old curve is not its own.
"""

import contextlib
import os
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import LifecycleStage, Metric, Param, Run
from typing_extensions import override

from orchestrator import provenance
from orchestrator.printing import printable
from orchestrator.redaction import public
from orchestrator.study.events import Listener
from orchestrator.study.failures import StudyFailed
from orchestrator.study.ledger import History, Ledger, Result
from orchestrator.study.sweep import Sweep, Trial
from orchestrator.tracking.answers import VARIABLE, configure, passing, reaching, taking, why
from orchestrator.tracking.databases import as_mlflow_takes_it, database_file, database_uri

STUDY, SIGNATURE, PARENT = "l2s.study", "l2s.signature", "mlflow.parentRunId"
DELIVERED, HISTORY = "l2s.reports", "l2s.history"
"""Tags: how many reports MLflow has, and when the first was made, by which one history is told from another."""
VERSIONS = "l2s.versions"
DESCRIPTION, COMMIT, SOURCE = "mlflow.note.content", "mlflow.source.git.commit", "mlflow.source.name"
NAME = "mlflow.runName"
WHAT = "the study"
KEPT = "The results are on the study's storage; the same command records them."
AT_MOST = 100
"""Entries in one batch: as many parameters as MLflow takes at once, and a tenth of its metrics."""
LONGEST_TAG = 8_000
"""Characters that MLflow keeps of a tag; the description is one."""
LONGEST_PARAMETER = 6_000
"""Characters that MLflow keeps of a parameter."""
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0
"""Seconds between tries while MLflow is away: twice as many each time."""


def default_uri(storage: Path) -> str:
    """A database file under the storage folder."""
    return database_uri(storage.absolute() / "mlflow.db")


def chosen_uri(given: str | None, folder: Path | None) -> str:
    """The tracking URI that is given, or else MLFLOW_TRACKING_URI, or else that of a database in `folder`.

    Raises ValueError when the one given is empty, or when there is none and no folder either. An empty variable is
    none, as to MLflow itself.
    """
    if given is not None:
        if not given.strip():
            raise ValueError("`tracking_uri` must be an MLflow server or a database, but is empty.")
        return as_mlflow_takes_it(given.strip())
    if variable := os.environ.get(VARIABLE, "").strip():
        return as_mlflow_takes_it(variable)
    if folder is None:
        raise ValueError("`tracking_uri` must be given where the storage is no folder, but is not.")
    return default_uri(folder)


class Tracker(Listener):
    """Records a study in MLflow. `connect` comes before all else; `close` waits until all is recorded."""

    def __init__(self, uri: str, sweep: Sweep, patience: float = 60.0) -> None:
        """`patience` is the number of seconds that `close` waits for MLflow."""
        self.uri, self.sweep, self.patience = uri, sweep, patience
        configure()
        self.children: dict[str, Run] = {}
        self.statuses: dict[str, str] = {}
        self.unconnected: ValueError | None = None
        self.refused: Exception | None = None
        self.away: Exception | None = None
        self._tasks: queue.Queue[Callable[[], object] | None] = queue.Queue()
        self._deadline = float("inf")
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)

    @cached_property
    def client(self) -> MlflowClient:
        """MLflow's client, made when it is first needed: of a database file, it makes the file."""
        if file := database_file(self.uri):
            file.parent.mkdir(parents=True, exist_ok=True)
        return MlflowClient(tracking_uri=self.uri)

    def reach(self) -> None:
        """Look whether MLflow is there, without changing anything.

        Raises ValueError when it does not answer within seconds, or when it refuses.
        """
        with reaching(self.uri, WHAT):
            file = database_file(self.uri)
            if file is None or (file.exists() and file.stat().st_size):  # otherwise a client would make one
                self.client.search_experiments(max_results=1)

    def connect(self, ledger: Ledger, told: Callable[[str], None]) -> None:
        """Find or make the study's run, and begin to record.

        Raises ValueError when MLflow does not answer, or refuses. Then nothing is recorded, and `close` says so again.
        """
        self.ledger, self.told = ledger, told
        try:
            self.reach()
            self._open()
        except ValueError as error:
            self.unconnected = error
            raise
        self._thread.start()

    def _open(self) -> None:
        with taking(self.uri, WHAT):
            self.experiment = self._experiment(self.sweep.name)
            self.parent = self._run({STUDY: self.sweep.name}, name=self.sweep.name)
            self._tag(self.parent, COMMIT, provenance.commit())
            self._tag(self.parent, SOURCE, Path(sys.argv[0]).name)
            self._tag(self.parent, VERSIONS, _listed(provenance.versions()))
            self._status(self.parent, "RUNNING")

    @override
    def started(self, trial: Trial) -> None:
        self._tasks.put(lambda: self._status(self._deliver(trial), "RUNNING"))

    @override
    def reported(self, trial: Trial, metrics: Mapping[str, float]) -> None:
        self._tasks.put(lambda: self._deliver(trial))

    @override
    def ended(self, trial: Trial, result: Result) -> None:
        """A trial that MLflow has with this end already is left as it is."""
        self._tasks.put(lambda: self._end(trial, result))

    @override
    def paused(self, trial: Trial, reason: str) -> None:
        self._tasks.put(lambda: self._status(self._deliver(trial), "KILLED"))

    def artifact(self, name: str, content: str | bytes) -> None:
        """Put a file on the study's page."""
        self._tasks.put(lambda: self._artifact(name, content))

    def describe(self, texts: Sequence[str]) -> None:
        """Put the first of `texts` that MLflow keeps whole, in Markdown, on top of the study's page."""
        longest = next(text for text in texts if len(text) <= LONGEST_TAG)
        self._tasks.put(lambda: self._tag(self.parent, DESCRIPTION, longest))

    def close(self, *, status: str) -> None:
        """End the study's run and wait until all is recorded.

        Raises StudyFailed when something could not be: for a server that is away, what is missing is on the
        study's storage and recorded by the next submission.
        """
        if self.unconnected:
            sentence = str(self.unconnected).removesuffix(".")
            raise StudyFailed(f"{sentence}. {KEPT}") from self.unconnected
        self._tasks.put(lambda: self._close(status))
        self._tasks.put(None)
        self._deadline = time.monotonic() + self.patience
        self._closing.set()
        self._thread.join()
        if self.refused:
            raise StudyFailed(f"MLflow has not recorded everything: {why(self.refused, self.uri)}") from self.refused
        if self.away:
            raise StudyFailed(
                f"MLflow at {public(self.uri)} has not recorded everything, because it does not answer "
                f"({why(self.away, self.uri)}). {KEPT}"
            ) from self.away

    def _work(self) -> None:
        """Do the tasks in order, each until it is done or refused, or until `close` has waited long enough."""
        while (task := self._tasks.get()) is not None:
            wait = FIRST_WAIT
            while not self._done(task):
                if time.monotonic() + wait > self._deadline:
                    return  # `away` says why
                # Not a sleep: whoever closes should not wait for the end of a long one.
                if not self._closing.wait(wait):
                    wait = min(2 * wait, LONGEST_WAIT)
                else:
                    time.sleep(FIRST_WAIT)

    def _done(self, task: Callable[[], object]) -> bool:
        try:
            task()
        except Exception as error:
            if not passing(error):
                self.refused = error  # the study goes on without this record; `close` tells
                return True
            if self.away is None:
                self.told(f"MLflow does not answer; the study goes on, and is recorded later: {why(error, self.uri)}")
            self.away = error
            return False
        if self.away is not None:
            self.told("MLflow answers again.")
            self.away = None
        return True

    def _close(self, status: str) -> None:
        for child in self.children.values():
            if self.statuses.get(child.info.run_id) == "RUNNING":  # interrupted
                self._status(child, "KILLED")
        self._status(self.parent, status)

    def _deliver(self, trial: Trial) -> Run:
        """Send what the ledger has and MLflow does not."""
        child, history = self._current(trial)
        sent = int(child.data.tags.get(DELIVERED, "0"))
        for report in history.reports[sent:]:
            moment, step = int(1000 * report["time"]), int(report["step"])
            metrics = [Metric(k, float(v), moment, step) for k, v in report.items() if k not in ("step", "time")]
            for start in range(0, len(metrics), AT_MOST):
                self.client.log_batch(child.info.run_id, metrics=metrics[start : start + AT_MOST])
            sent += 1
            self._tag(child, DELIVERED, str(sent))
        return child

    def _end(self, trial: Trial, result: Result) -> None:
        child, history = self._current(trial)
        status = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}[result.status]
        if self.statuses.get(child.info.run_id, child.info.status) == status:
            return
        self._deliver(trial)
        self._tag_attempts(child, history)
        self._tag(child, "l2s.status", result.status)
        self._tag(child, "l2s.reason", public(result.reason))
        cost = {"trial_seconds": result.seconds, "gpu_hours": result.gpu_hours, "attempts": result.attempts}
        # At a time that every delivery of this result has in common.
        report = history.reports[-1] if history.reports else {"time": 0.0, "step": 0}
        moment, step = int(1000 * report["time"]), int(report["step"])
        self.client.log_batch(child.info.run_id, metrics=[Metric(k, float(v), moment, step) for k, v in cost.items()])
        self._files(trial, child)
        self._status(child, status)

    def _files(self, trial: Trial, child: Run) -> None:
        """The curves and what the recipe kept, but for the weights: those stay on the study's storage."""
        folder = self.ledger.trial(trial.signature)
        names = [name for name in (folder / "files").names() if not name.endswith(".safetensors")]
        with tempfile.TemporaryDirectory() as scratch:
            for name in ["history.json", *(f"files/{name}" for name in names)]:
                with contextlib.suppress(FileNotFoundError):  # of a trial that failed before its first report
                    path = folder.download(name, Path(scratch) / Path(name).name)
                    self.client.log_artifact(child.info.run_id, str(path))

    def _artifact(self, name: str, content: str | bytes) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            folder, _, base = name.rpartition("/")
            path = Path(scratch) / base
            path.write_bytes(content.encode(errors="backslashreplace") if isinstance(content, str) else content)
            self.client.log_artifact(self.parent.info.run_id, str(path), folder or None)

    def _tag_attempts(self, child: Run, history: History) -> None:
        if history.attempts:
            last = history.attempts[-1]
            hardware = f"{last.hardware}, {last.workers} workers" if last.workers > 1 else last.hardware
            self._tag(child, "l2s.hardware", hardware)
            self._tag(child, COMMIT, last.commit)
            self._tag(child, SOURCE, Path(sys.argv[0]).name)
            self._tag(child, VERSIONS, _listed(last.versions))

    def _child(self, trial: Trial) -> Run:
        if trial.signature not in self.children:
            tags = {SIGNATURE: trial.signature, PARENT: self.parent.info.run_id}
            run = self._run(tags, name=trial.label)
            if "l2s.described" not in run.data.tags:
                fields = {**trial.fields, **trial.fingerprints}
                params = [Param(k, printable(str(v))[:LONGEST_PARAMETER]) for k, v in fields.items()]
                for start in range(0, len(params), AT_MOST):
                    self.client.log_batch(run.info.run_id, params=params[start : start + AT_MOST])
                self.client.log_dict(run.info.run_id, trial.describe(), "recipe.json")
                self._tag(run, "l2s.described", "yes")
            self.children[trial.signature] = run
        return self.children[trial.signature]

    def _current(self, trial: Trial) -> tuple[Run, History]:
        """The trial's run and its history. A run of another one, as of a study that was deleted, gives way to a new."""
        child, history = self._child(trial), self.ledger.history(trial.signature)
        begun = str(history.reports[0]["time"]) if history.reports else ""
        if child.data.tags.get(HISTORY, begun) != begun:
            self._supersede(trial, child)
            child = self._child(trial)
        self._tag(child, HISTORY, begun)  # before any report is sent
        return child, history

    def _supersede(self, trial: Trial, child: Run) -> None:
        """Keep a run for who wants to compare, but let nobody find it as the trial's."""
        if self.statuses.get(child.info.run_id, child.info.status) == "RUNNING":
            self._status(child, "KILLED")
        self._tag(child, "l2s.status", "superseded")
        self._tag(child, NAME, f"{trial.label} (superseded)")
        self._tag(child, SIGNATURE, f"{trial.signature} (superseded)")
        del self.children[trial.signature]

    def _status(self, run: Run, status: str) -> None:
        if self.statuses.get(run.info.run_id, run.info.status) != status:
            if status == "RUNNING":  # again
                self.client.update_run(run.info.run_id, status)
            else:
                self.client.set_terminated(run.info.run_id, status)
        self.statuses[run.info.run_id] = status

    def _tag(self, run: Run, key: str, value: str) -> None:
        value = printable(value)  # a database takes nothing else
        if run.data.tags.get(key, "") != value:
            self.client.set_tag(run.info.run_id, key, value)
            run.data.tags[key] = value

    def _run(self, tags: Mapping[str, str], *, name: str) -> Run:
        wanted = " and ".join(f"tags.`{k}` = '{v}'" for k, v in tags.items())
        found = self.client.search_runs([self.experiment], wanted, max_results=1)
        if found:
            return found[0]
        # With its tags from the start: a run without them, left by a server that died, would be made again.
        return self.client.create_run(self.experiment, run_name=printable(name), tags=dict(tags))

    def _experiment(self, name: str) -> str:
        if found := self.client.get_experiment_by_name(name):
            if found.lifecycle_stage == LifecycleStage.DELETED:
                self.client.restore_experiment(found.experiment_id)
                self.told(f"MLflow's experiment {name!r} was deleted; it is restored, with its runs.")
            return found.experiment_id
        location = None
        if file := database_file(self.uri):  # a server has its own place; a database's is the working directory
            location = (file.parent / "mlartifacts").as_uri()
        return self.client.create_experiment(name, artifact_location=location)


def _listed(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{library} {version}" for library, version in versions.items())
