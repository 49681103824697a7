"""MLflow: one parent run for the study, one child per trial, looked up by tag before they are made.

All calls go through one thread of the driver, so that no training step and no scheduler waits for MLflow.
"""

import logging
import os
import queue
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.time import get_current_time_millis

from orchestrator.events import StudyFailed
from orchestrator.sweep import Sweep, Trial

STUDY, SIGNATURE, PARENT = "l2s.study", "l2s.signature", "mlflow.parentRunId"
DESCRIPTION = "mlflow.note.content"
IMPATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""By default a server that is not there takes MLflow minutes to notice."""
LONGEST_PARAMETER = 6_000
"""Characters that MLflow keeps of a parameter."""


def default_uri(storage: Path) -> str:
    """A database file under the storage folder."""
    return f"sqlite:///{storage.absolute() / 'mlflow.db'}"


class Tracker:
    """Records a study. It is a listener of its events; `close` waits until all is written."""

    def __init__(self, uri: str, storage: Path, sweep: Sweep) -> None:
        """Raises ValueError when the tracking server cannot be reached."""
        self.uri = uri
        for name, value in IMPATIENCE.items():
            os.environ.setdefault(name, value)
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of every migration of a new database
        self.client = MlflowClient(tracking_uri=uri)
        try:
            self.experiment = self._experiment(sweep.name, storage)
            self.parent = self._run({STUDY: sweep.name}, name=sweep.name)
        except (MlflowException, OSError) as error:
            raise ValueError(f"MLflow must answer at {uri}, but does not: {error}") from error
        self.children: dict[str, Run] = {}
        self.failure: Exception | None = None
        self._tasks: queue.Queue[Callable[[], object] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def started(self, trial: Trial) -> None:
        """See `Listener`."""
        self._tasks.put(lambda: self._child(trial))

    def reported(self, trial: Trial, metrics: Mapping[str, float]) -> None:
        """See `Listener`."""
        self._tasks.put(lambda: self._log(trial, metrics, int(metrics["step"])))

    def finished(self, trial: Trial, result: Mapping[str, Any]) -> None:
        """See `Listener`. A trial that MLflow already has as finished is left as it is."""
        self._tasks.put(lambda: self._finish(trial, result))

    def failed(self, trial: Trial, reason: str) -> None:
        """See `Listener`."""
        self._tasks.put(lambda: self._fail(trial, reason))

    def artifact(self, path: Path) -> None:
        """Put a file on the study's page."""
        self._tasks.put(lambda: self.client.log_artifact(self.parent.info.run_id, str(path)))

    def describe(self, markdown: str) -> None:
        """Put a text on top of the study's page."""
        self._tasks.put(lambda: self.client.set_tag(self.parent.info.run_id, DESCRIPTION, markdown))

    def close(self, *, status: str) -> None:
        """Write all that waits, and end the study's run.

        Raises StudyFailed when something could not be written.
        """
        self._tasks.put(lambda: self.client.set_terminated(self.parent.info.run_id, status))
        self._tasks.put(None)
        self._thread.join()
        if self.failure:
            raise StudyFailed(f"MLflow has not recorded everything: {self.failure}") from self.failure

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                task()
            except Exception as error:  # the study goes on without its record; `close` tells
                self.failure = error

    def _log(self, trial: Trial, metrics: Mapping[str, float], step: int) -> None:
        now = get_current_time_millis()
        values = [Metric(k, float(v), now, step) for k, v in metrics.items() if k != "step"]
        self.client.log_batch(self._child(trial).info.run_id, metrics=values)

    def _finish(self, trial: Trial, result: Mapping[str, Any]) -> None:
        child = self._child(trial)
        if child.info.status == "FINISHED":
            return
        metrics = result["metrics"]
        self._log(trial, metrics | {"trial_seconds": result["seconds"]}, int(metrics["step"]))
        self.client.set_terminated(child.info.run_id, "FINISHED")

    def _fail(self, trial: Trial, reason: str) -> None:
        run_id = self._child(trial).info.run_id
        self.client.set_tag(run_id, "l2s.failure", reason)
        self.client.set_terminated(run_id, "FAILED")

    def _child(self, trial: Trial) -> Run:
        if trial.signature not in self.children:
            tags = {SIGNATURE: trial.signature, PARENT: self.parent.info.run_id}
            self.children[trial.signature] = run = self._run(tags, name=trial.label)
            if not run.data.params:
                params = [Param(k, str(v)[:LONGEST_PARAMETER]) for k, v in trial.fields.items()]
                self.client.log_batch(run.info.run_id, params=params[:100])
                self.client.log_dict(run.info.run_id, trial.describe(), "recipe.json")
        return self.children[trial.signature]

    def _run(self, tags: Mapping[str, str], *, name: str) -> Run:
        wanted = " and ".join(f"tags.`{k}` = '{v}'" for k, v in tags.items())
        found = self.client.search_runs([self.experiment], wanted, max_results=1)
        if found:
            return found[0]
        run = self.client.create_run(self.experiment, run_name=name)
        self.client.log_batch(run.info.run_id, tags=[RunTag(k, v) for k, v in tags.items()])
        return run

    def _experiment(self, name: str, storage: Path) -> str:
        if found := self.client.get_experiment_by_name(name):
            return found.experiment_id
        local = self.client.tracking_uri.startswith("sqlite")
        location = (storage.absolute() / "mlartifacts").as_uri() if local else None
        return self.client.create_experiment(name, artifact_location=location)
