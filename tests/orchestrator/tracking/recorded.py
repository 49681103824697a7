"""What trials report in these tests, and what MLflow has of it."""

from collections.abc import Callable
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from orchestrator.study.ledger import Ledger, Result
from orchestrator.study.sweep import Sweep
from orchestrator.tracking.tracker import Tracker

FINISHED = Result("finished", {"test/cer": 12.5}, seconds=3.0, gpu_hours=0.5, attempts=2)


STEPS = (2, 4, 6, 8)


class Flaky:
    """A client whose calls raise what `trouble` says, before or after they have their effect."""

    def __init__(self, client: MlflowClient, trouble: Callable[..., Exception | None], *, after: bool = False) -> None:
        self.client, self.trouble, self.after = client, trouble, after

    def __getattr__(self, name: str) -> Any:
        def call(*values: Any, **named: Any) -> Any:
            if not self.after and (error := self.trouble(name, *values, **named)):
                raise error
            answer = getattr(self.client, name)(*values, **named)
            if self.after and (error := self.trouble(name, *values, **named)):
                raise error
            return answer

        return call


def away(error: Exception, times: int) -> Callable[..., Exception | None]:
    """Trouble of the first calls."""
    left = [times]

    def trouble(*_: Any, **__: Any) -> Exception | None:
        left[0] -= 1
        return error if left[0] >= 0 else None

    return trouble


def tracker(uri: str, sweep: Sweep, ledger: Ledger, told: list[str] | None = None, patience: float = 20.0) -> Tracker:
    tracker = Tracker(uri, sweep, patience)
    tracker.connect(ledger, (told if told is not None else []).append)
    return tracker


def runs(uri: str) -> tuple[Run, dict[str, Run]]:
    """The study's run, and those of its trials by signature."""
    client = MlflowClient(uri)
    (experiment,) = client.search_experiments(filter_string="name = 'toys'")
    found = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in found if run is not parent]
    assert all(child.data.tags["mlflow.parentRunId"] == parent.info.run_id for child in children)
    by_signature = {child.data.tags["l2s.signature"]: child for child in children}
    assert len(by_signature) == len(children)
    return parent, by_signature


def curve(uri: str, child: Run, name: str) -> list[tuple[int, float]]:
    return [(m.step, m.value) for m in MlflowClient(uri).get_metric_history(child.info.run_id, name)]


def artifacts(uri: str, run: Run) -> list[str]:
    return sorted(a.path for a in MlflowClient(uri).list_artifacts(run.info.run_id))


CURVE = [(step, 50.0 + step) for step in STEPS]


def superseded(uri: str) -> list[Run]:
    """Children that stand for no trial any more."""
    return [run for run in runs(uri)[1].values() if run.data.tags.get("l2s.status") == "superseded"]
