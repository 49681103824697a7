"""What becomes of a trial's reports and failures, without a cluster."""

import json
import pickle
import queue
import socket
import threading
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import ray
import ray.train
import ray.tune
from ray.exceptions import ActorDiedError, RayTaskError

from orchestrator.cluster import trial as trials
from orchestrator.cluster.trial import Budget, GivenUp, Pause, Reports, StudyContext, run_trial
from orchestrator.study.lease import Lease
from orchestrator.study.ledger import Ledger
from orchestrator.study.storage import Storage
from orchestrator.study.sweep import Resources, Sweep
from trainables.training import NonFiniteLoss


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the trial reports to Tune."""
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(ray.tune, "report", told.append)
    return told


def context(ledger: Ledger, retries: int = 0) -> StudyContext:
    return StudyContext(ledger, Lease(ledger.storage), Resources(), retries, commit="")


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> Reports:
    """What the attempts at a trial report through."""
    shared: Any = queue.Queue()
    monkeypatch.setattr(trials, "_queue", lambda: shared)
    return Reports("now", shared)


class OnAnotherNode:
    """A trainer whose worker has a folder of its own where the study should be."""

    def __init__(self, folder: Path) -> None:
        self.config = {"signature": "a", "study": context(Ledger(Storage.at(str(folder))))}

    def fit(self) -> None:
        try:
            trials._train(self.config)
        except Exception as error:
            raise ray.train.WorkerGroupError("a worker failed", {0: error}) from error


@pytest.mark.parametrize("node", ["the worker's", "the steering process's"])
def test_a_node_that_does_not_see_the_study_pauses_it_and_writes_nothing(
    node: str,
    ledger: Ledger,
    told: list[dict[str, Any]],
    reports: Reports,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elsewhere = tmp_path / "elsewhere" / "toys"
    monkeypatch.setattr(trials, "_trainer", lambda config, study, reports: OnAnotherNode(elsewhere))
    seen = ledger if node == "the worker's" else Ledger(Storage.at(str(elsewhere)))
    run_trial({"signature": "a"}, context(seen))
    sentence = f"must be a folder that all nodes share, but {socket.gethostname()} does not see {elsewhere}."
    assert told == [{"paused": f"The storage {sentence}"}]
    assert not elsewhere.exists()
    assert ledger.result("a") is None


def test_ray_repeats_no_attempt_by_itself(
    toys: Sweep, ledger: Ledger, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would, after a preemption, with as many workers as before: on nodes that may not come back."""
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 4.0})
    config = {"signature": toys.trials[0].signature, "most_workers": 2}
    failures = trials._trainer(config, context(ledger), reports).run_config.failure_config
    assert failures is not None
    limits = {each.name: getattr(failures, each.name) for each in fields(failures) if each.name.startswith("max_")}
    assert limits.pop("max_failures") == 0
    assert set(limits.values()) <= {0}, "of preemptions, where Ray counts them by themselves"


class Trainer:
    """One that reports, and then ends or fails."""

    def __init__(self, reports: Reports, *metrics: dict[str, float], error: Exception | None = None) -> None:
        self.reports, self.metrics, self.error = reports, metrics, error
        self.ended = threading.Event()

    def fit(self) -> None:
        for metrics in self.metrics:
            self.reports.after_report(None, [metrics, {"of": 2}], None)
        self.ended.wait(10)
        if self.error:
            raise self.error


def test_all_that_was_reported_reaches_tune_before_an_attempt_is_over(
    reports: Reports, told: list[dict[str, Any]]
) -> None:
    trainer: Any = Trainer(reports, {"step": 1}, {"step": 2}, error=ray.train.WorkerGroupError("lost", {}))
    trainer.ended.set()
    Reports("before", reports.queue).put({"step": 9})
    Reports("before", reports.queue).put(None)
    with pytest.raises(ray.train.WorkerGroupError):
        trials._fit(trainer, reports)
    assert told == [{"step": 1}, {"step": 2}], "and nothing of an attempt that was stopped"


class OfRay(Exception):
    """A class of Ray's that hides the error of a recipe, as in Ray 2.54."""


OfRay.__module__ = "ray.train.x"


def test_what_a_worker_raises_is_told_whatever_ray_makes_of_it(
    reports: Reports, told: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = Ledger(Storage.at(str(tmp_path / "nowhere")))

    class Training:
        """A trainer whose second worker raises, and whose first is lost with it."""

        def fit(self) -> None:
            with pytest.raises(Pause, match="must be a folder that all nodes share"):
                trials._train({"signature": "a", "study": context(nowhere), "reports": reports})
            raise ray.train.WorkerGroupError("failed", {0: ActorDiedError(), 1: OfRay("a text")})

    rank = type("Context", (), {"get_world_rank": lambda self: 1})()
    monkeypatch.setattr(ray.train, "get_context", lambda: rank)
    trainer: Any = Training()
    with pytest.raises(ray.train.WorkerGroupError) as caught:
        trials._fit(trainer, reports)
    assert isinstance(caught.value.worker_failures[0], ActorDiedError)
    assert isinstance(caught.value.worker_failures[1], Pause)
    assert told == []


def test_a_trial_that_tune_stops_does_not_wait_for_its_workers(
    reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the Tune actor could not be used again for the next trial, which Tune would then give up."""

    def stop(metrics: dict[str, Any]) -> None:
        raise SystemExit

    monkeypatch.setattr(ray.tune, "report", stop)
    trainer: Any = Trainer(reports, {"step": 1})
    with pytest.raises(SystemExit):
        trials._fit(trainer, reports)
    assert not trainer.ended.is_set()
    trainer.ended.set()


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ray.train.WorkerGroupError("failed", {0: ZeroDivisionError("no")}), "tried again after ZeroDivisionError: no"),
        (ray.train.WorkerGroupError("lost", {0: ActorDiedError(), 1: OSError("reset")}), "goes on after a worker was"),
        (ray.train.ControllerError(ActorDiedError()), "goes on after a worker was lost"),
        (ray.train.ControllerError(type("OfRay", (Exception,), {"__module__": "ray.train.x"})()), "goes on after"),
        (RayTaskError("fit", "", ValueError("x")), "goes on after a worker was lost"),
        (OSError("away"), "tried again after OSError: away"),
    ],
)
def test_what_ray_raises_is_a_lost_worker_and_what_a_recipe_raises_is_not(
    error: Exception, sentence: str, ledger: Ledger
) -> None:
    assert Budget(1).after_failure(error, ledger, "a").startswith(sentence)


def test_what_would_only_come_again_is_not_tried_again(ledger: Ledger) -> None:
    """A loss that is no number is seen by one worker first; those that wait for it are ended, or miss it."""
    cause = NonFiniteLoss("The loss must be a finite number, but was nan by step 5.")
    for others in ({}, {1: ActorDiedError()}, {1: ConnectionError("reset by peer")}):
        error = ray.train.WorkerGroupError("failed", {**others, 0: cause})
        travelled = pickle.loads(pickle.dumps(error))  # noqa: S301
        with pytest.raises(
            GivenUp, match=r"^NonFiniteLoss: The loss must be a finite number, but was nan by step 5\.$"
        ):
            Budget(5).after_failure(travelled, ledger, "a")


def test_a_recipe_is_what_the_ledger_says(toys: Sweep, ledger: Ledger) -> None:
    trial = toys.trials[0]
    with pytest.raises(ValueError, match=r"recipe\.json must be as this program wrote it, but is damaged"):
        ledger.description(trial.signature)
    ledger.begin(trial)
    assert ledger.description(trial.signature) == json.loads(json.dumps(trial.describe()))


def test_a_full_storage_pauses(ledger: Ledger) -> None:
    with pytest.raises(Pause, match="the storage is full"):
        Budget(0).after_failure(ray.train.WorkerGroupError("failed", {0: OSError(28, "No space")}), ledger, "a")


class FailsToConnect:
    """A trainer whose worker raises what other programs say of an address."""

    def fit(self) -> None:
        try:
            raise ConnectionError("no answer from 's3://me:sword/fish@bucket/a'\n")
        except ConnectionError as error:
            raise ray.train.WorkerGroupError("a worker failed", {0: error}) from error


def test_why_a_trial_has_failed_is_kept_without_credentials(
    toys: Sweep, ledger: Ledger, told: list[dict[str, Any]], reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "_trainer", lambda *_: FailsToConnect())
    signature = toys.trials[0].signature
    ledger.begin(toys.trials[0])
    run_trial({"signature": signature}, context(ledger, retries=1))
    result = ledger.result(signature)
    assert result is not None
    assert result.reason == "ConnectionError: no answer from 's3://bucket/a'"
    text = ledger.trial(signature).read("error.txt")
    assert text is not None
    assert "raise ConnectionError(" in text
    assert "ConnectionError: no answer from 's3://bucket/a'" in text
    assert "fish" not in f"{text} {told}".replace("raise ConnectionError(\"no answer from 's3://me:sword/fish@", "")
