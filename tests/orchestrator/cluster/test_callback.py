"""What becomes of the placement groups of killed Tune actors, told without a cluster."""

from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.util.state.exception import ServerUnavailable

from orchestrator.cluster import callback as callbacks
from orchestrator.cluster.callback import StudyCallback
from orchestrator.study.events import Listener
from orchestrator.study.ledger import Ledger
from orchestrator.study.sweep import Resources, Sweep

TUNES, FIRST, SECOND, OTHER = (f"{number:036x}" for number in range(4))
"""Groups: one of Tune's own, two of this job's workers, and one of another job's."""


class Job:
    """A job on a cluster, and the groups that it removes."""

    def __init__(self) -> None:
        self.removed: list[str] = []
        self.dashboard = True
        self.table = {
            TUNES: {"bundles": {0: {"node:head": 0.001}}},
            **{group: {"bundles": {0: {"CPU": 1.0}, 1: {"CPU": 1.0}}} for group in (FIRST, SECOND, OTHER)},
        }

    def list_groups(self, filters: list[Any], **_: Any) -> list[Any]:
        """This job's."""
        assert filters[0] == ("creator_job_id", "=", "01000000")
        if not self.dashboard:
            raise ServerUnavailable
        return [SimpleNamespace(placement_group_id=group) for group in (TUNES, FIRST, SECOND)]


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Job:
    job = Job()
    context = SimpleNamespace(gcs_address="head:6379", get_job_id=lambda: "01000000")
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(callbacks, "list_placement_groups", job.list_groups)
    monkeypatch.setattr(callbacks, "placement_group_table", lambda: job.table)
    monkeypatch.setattr(callbacks, "remove_placement_group", lambda group: job.removed.append(group.id.hex()))
    return job


@pytest.fixture
def callback(toys: Sweep, ledger: Ledger, job: Job) -> StudyCallback:
    return StudyCallback({trial.signature: trial for trial in toys.trials}, ledger, Listener(), Resources(gpus=0))


@pytest.fixture
def tunes(toys: Sweep) -> list[Any]:
    """Tune's side of the trials."""
    return [SimpleNamespace(config={"signature": trial.signature}) for trial in toys.trials]


def test_the_group_of_a_killed_actor_is_removed_at_once(callback: StudyCallback, job: Job, tunes: list[Any]) -> None:
    callback.on_trial_start(0, [], tunes[0])
    callback.on_trial_result(0, [], tunes[0], {"placement_group": FIRST})
    callback.on_trial_recover(0, [], tunes[0])
    assert job.removed == [FIRST]
    callback.on_trial_start(0, [], tunes[0])
    assert job.removed == [FIRST]


@pytest.mark.parametrize("attempt", ["first", "second"])
def test_a_group_that_no_worker_has_told_of_yet_is_found(
    attempt: str, callback: StudyCallback, job: Job, tunes: list[Any]
) -> None:
    """Neither another running trial's, nor that in which a Tune actor is, nor another job's."""
    killed, running = tunes[:2]
    callback.on_trial_result(0, [], running, {"placement_group": SECOND})
    callback.on_trial_start(0, [], killed)
    before = [] if attempt == "first" else [f"{9:036x}"]
    for group in before:
        callback.on_trial_result(0, [], killed, {"placement_group": group})
        callback.on_trial_result(0, [], killed, {"noted": "goes on after a worker was lost"})
    callback.on_trial_recover(0, [], killed)
    assert job.removed == before, "what makes it may still run"
    callback.on_trial_start(0, [], killed)
    assert job.removed == [*before, FIRST]


@pytest.mark.parametrize("told", [True, False])
def test_the_group_of_a_controller_that_was_killed_alone_is_removed(
    told: bool, callback: StudyCallback, job: Job, tunes: list[Any]
) -> None:
    callback.on_trial_result(0, [], tunes[1], {"placement_group": SECOND})
    if told:
        callback.on_trial_result(0, [], tunes[0], {"placement_group": FIRST})
    callback.on_trial_result(0, [], tunes[0], {"noted": "goes on after a worker was lost"})
    assert job.removed == [FIRST]


def test_a_cluster_without_a_dashboard_keeps_it(callback: StudyCallback, job: Job, tunes: list[Any]) -> None:
    job.dashboard = False
    callback.on_trial_recover(0, [], tunes[0])
    callback.on_trial_start(0, [], tunes[0])
    assert job.removed == []


def test_the_workers_of_a_stopped_trial_end_with_its_group(callback: StudyCallback, job: Job, tunes: list[Any]) -> None:
    callback.on_trial_result(0, [], tunes[0], {"placement_group": FIRST})
    callback.on_trial_complete(0, [], tunes[0])
    assert job.removed == [FIRST]
