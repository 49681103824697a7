"""What becomes of a trial's failures, without a cluster."""

import socket
from pathlib import Path
from typing import Any

import pytest
import ray
import ray.train
import ray.tune
from ray.exceptions import ActorDiedError
from ray.train.v2._internal.execution.failure_handling import DefaultFailurePolicy, FailureDecision

from orchestrator import trial as trials
from orchestrator.claim import Claim
from orchestrator.ledger import Ledger
from orchestrator.storage import Storage
from orchestrator.sweep import Resources, Sweep
from orchestrator.trial import Budget, run_trial


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the trial reports to Tune."""
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(ray.tune, "report", told.append)
    return told


class OnAnotherNode:
    """A trainer whose worker has a folder of its own where the study should be."""

    def __init__(self, folder: Path) -> None:
        self.config = {"ledger": Ledger(Storage.at(str(folder)))}

    def fit(self) -> None:
        try:
            trials._train(self.config)
        except Exception as error:
            raise ray.train.WorkerGroupError("a worker failed", {0: error}) from error


@pytest.mark.parametrize("node", ["the worker's", "the steering process's"])
def test_a_node_that_does_not_see_the_study_pauses_it_and_writes_nothing(
    node: str, ledger: Ledger, told: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere" / "toys"
    monkeypatch.setattr(trials, "_trainer", lambda config, name: OnAnotherNode(elsewhere))
    seen = ledger if node == "the worker's" else Ledger(Storage.at(str(elsewhere)))
    run_trial({"signature": "a", "ledger": seen, "budget": Budget(0)})
    sentence = f"must be a folder that all nodes share, but {socket.gethostname()} does not see {elsewhere}."
    assert told == [{"paused": f"The storage {sentence}"}]
    assert not elsewhere.exists()
    assert ledger.result("a") is None


@pytest.mark.parametrize("preempted", [False, True])
def test_ray_repeats_no_attempt_by_itself(
    preempted: bool, toys: Sweep, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would, after a preemption, with as many workers as before: on nodes that may not come back."""
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 4.0})
    trial = toys.trials[0]
    config = {
        "signature": trial.signature, "ledger": ledger, "claim": Claim(ledger.storage), "commit": "",
        "recipes": {trial.signature: trial.describe()}, "resources": Resources(), "most_workers": 2,
    }  # fmt: skip
    trainer = trials._trainer(config, "attempt")
    lost = ActorDiedError()
    lost._preempted = preempted
    assert lost.preempted == preempted
    assert trainer.run_config.failure_config is not None
    decision = DefaultFailurePolicy(trainer.run_config.failure_config).make_decision(
        ray.train.WorkerGroupError("a worker was lost", {0: lost})
    )
    assert decision == FailureDecision.RAISE


class FailsToConnect:
    """A trainer whose worker raises what other programs say of an address."""

    def fit(self) -> None:
        try:
            raise ConnectionError("no answer from 's3://me:sword/fish@bucket/a'\n")
        except ConnectionError as error:
            raise ray.train.WorkerGroupError("a worker failed", {0: error}) from error


def test_why_a_trial_has_failed_is_kept_without_credentials(
    toys: Sweep, ledger: Ledger, told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "_trainer", lambda config, name: FailsToConnect())
    signature = toys.trials[0].signature
    ledger.begin(toys.trials[0])
    run_trial({"signature": signature, "ledger": ledger, "budget": Budget(1)})
    result = ledger.result(signature)
    assert result is not None
    assert result.reason == "ConnectionError: no answer from 's3://bucket/a'"
    text = ledger.trial(signature).read("error.txt")
    assert text is not None
    assert "raise ConnectionError(" in text
    assert "ConnectionError: no answer from 's3://bucket/a'" in text
    assert "fish" not in f"{text} {told}".replace("raise ConnectionError(\"no answer from 's3://me:sword/fish@", "")
