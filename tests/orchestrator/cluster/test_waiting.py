"""What a trial that does not begin is said to wait for, told without a cluster."""

from typing import Any

import pytest
import ray

from orchestrator.cluster import callback as callbacks
from orchestrator.cluster import preparations
from orchestrator.cluster.callback import StudyCallback
from orchestrator.cluster.preparations import Preparing
from orchestrator.study.events import Listener
from orchestrator.study.ledger import Ledger
from orchestrator.study.sweep import Resources, Sweep

TRIAL = {"state": "CREATED", "bundles": {0: {"CPU": 1.0}}}
PENDING = {"state": "PENDING", "bundles": {0: {"CPU": 1.0}}}


class Cluster:
    """One of four CPUs and a GPU, of which some are taken."""

    def __init__(self) -> None:
        self.free = {"CPU": 0.0, "GPU": 1.0}
        self.groups: list[dict[str, Any]] = [PENDING]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    cluster = Cluster()
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 4.0, "GPU": 1.0})
    monkeypatch.setattr(ray, "available_resources", lambda: cluster.free)
    monkeypatch.setattr(callbacks, "placement_group_table", lambda: dict(enumerate(cluster.groups)))
    return cluster


def told(toys: Sweep, ledger: Ledger, taking: dict[str, float], resources: Resources) -> str:
    """The note on a trial that has waited for too long."""
    lines: list[str] = []

    class Notes(Listener):
        def noted(self, text: str) -> None:
            lines.append(text)

    trial = toys.trials[0]
    callback = StudyCallback({trial.signature: trial}, ledger, Notes(), resources, lambda: taking)
    callback.starting[trial.signature] = -callbacks.PATIENCE - 1
    callback.on_step_end(1, [])
    (line,) = lines
    return line.removeprefix("cs 0: waits for ")


@pytest.mark.parametrize(
    ("preparing", "trials", "free", "sentence"),
    [
        (4, 0, 0, "1 × (1 CPU); free now: 0 of 4 CPU; the study's own preparations hold 4 CPU"),
        (9, 1, 0, "1 × (1 CPU); free now: 0 of 4 CPU; the study's own preparations hold 3 CPU"),
        (1, 3, 0, "1 × (1 CPU); free now: 0 of 4 CPU; the study's own preparations hold 1 CPU"),
        (2, 1, 1, "1 × (1 CPU); free now: 1 of 4 CPU; the study's own preparations hold 2 CPU"),
        (2, 4, 0, "1 × (1 CPU); free now: 0 of 4 CPU"),
        (0, 2, 0, "1 × (1 CPU); free now: 0 of 4 CPU"),
    ],
)
def test_who_holds_the_cpus_is_said(
    preparing: int, trials: int, free: float, sentence: str, cluster: Cluster, toys: Sweep, ledger: Ledger
) -> None:
    """Preparations that wait themselves hold nothing, and trials are no preparations."""
    cluster.free["CPU"] = free
    cluster.groups += [TRIAL] * trials
    assert told(toys, ledger, {"CPU": float(preparing), "GPU": 0.0}, Resources()) == sentence


def test_so_is_who_holds_a_gpu(cluster: Cluster, toys: Sweep, ledger: Ledger) -> None:
    cluster.free = {"CPU": 3.0, "GPU": 0.0}
    assert told(toys, ledger, {"CPU": 1.0, "GPU": 1.0}, Resources(gpus=1)) == (
        "1 × (1 CPU and 1 GPU); free now: 3 of 4 CPU, 0 of 1 GPU; the study's own preparations hold 1 CPU and 1 GPU"
    )


def test_preparations_take_what_those_take_that_could_be_built_now(
    toys: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that waits for another takes nothing yet, nor does one that is done."""
    done: set[str] = set()

    class Task:
        def options(self, **_: float) -> "Task":
            return self

        def remote(self, type_name: str, fields: str, before: str | None) -> str:
            return fields

    def wait(tasks: list[str], **_: Any) -> tuple[list[str], list[str]]:
        return [task for task in tasks if task in done], [task for task in tasks if task not in done]

    class Made:
        def __init__(self, name: str, accelerated: bool) -> None:
            self.name, self.accelerated = name, accelerated

        def model_dump_json(self) -> str:
            return self.name

        def type_name(self) -> str:
            return "somewhere:Made"

    chains = {"cs": [Made("train", False), Made("features", True)], "ro": [Made("other", False)]}
    monkeypatch.setattr(preparations, "_prepare", Task())
    monkeypatch.setattr(ray, "wait", wait)
    monkeypatch.setattr(Sweep, "preparations", lambda self, trial: chains[trial.recipe.language])
    preparing = Preparing(toys, toys.trials, gpus=0.5)
    assert preparing.taking() == {"CPU": 2.0, "GPU": 0.0}
    done.add("train")
    assert preparing.taking() == {"CPU": 2.0, "GPU": 0.5}
    done.update(("features", "other"))
    assert not preparing.taking()
