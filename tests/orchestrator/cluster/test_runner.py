import os
import socket
from types import SimpleNamespace

import pytest
import ray

from orchestrator.cluster.runner import concurrency, join, leave
from orchestrator.study.sweep import Resources


@pytest.mark.parametrize(
    ("resources", "nodes", "expected"),
    [
        (Resources(), [{"CPU": 2}], 2),
        (Resources(workers=2, cpus=2), [{"CPU": 9}], 2),
        (Resources(gpus=1), [{"CPU": 64, "GPU": 8}], 8),
        (Resources(workers=2, gpus=1), [{"CPU": 64, "GPU": 8}], 4),
        (Resources(gpus=0.25), [{"CPU": 64, "GPU": 2}], 8),
        (Resources(gpus=1, cpus=16), [{"CPU": 32, "GPU": 8}], 2),
        (Resources(cpus=0.1), [{"CPU": 0.3}], 3),
        (Resources(cpus=3), [{"CPU": 4}, {"CPU": 4}, {"CPU": 4}], 3),
        (Resources(workers=2, gpus=1), [{"CPU": 8, "GPU": 1}, {"CPU": 8, "GPU": 1}, {"CPU": 64}], 1),
    ],
)
def test_as_many_trials_as_the_nodes_hold(resources: Resources, nodes: list[dict[str, float]], expected: int) -> None:
    assert concurrency(resources, nodes) == expected


def test_what_the_cluster_lacks_is_named() -> None:
    with pytest.raises(ValueError, match="must have at least 2 GPU for one trial, but has 1"):
        concurrency(Resources(workers=2, gpus=1), [{"CPU": 64, "GPU": 1}])
    with pytest.raises(ValueError, match=r"must have room for 1 × \(3 CPU\), but no such nodes"):
        concurrency(Resources(cpus=3), [{"CPU": 2}, {"CPU": 2}])


def test_a_cluster_that_is_not_there_is_said_at_once() -> None:
    with pytest.raises(ValueError, match=r"A Ray cluster must run at 127\.0\.0\.1:9, but none does"):
        join("127.0.0.1:9")


@pytest.mark.parametrize("how", ["given", "RAY_ADDRESS"])
@pytest.mark.parametrize("address", ["ray://127.0.0.1:9", "http://127.0.0.1:9"])
def test_who_is_no_part_of_the_cluster_is_told_what_to_do(
    how: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over Ray's client Tune would run elsewhere, with a copy of what tells it which trial is next."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("it was joined"))
    if how == "RAY_ADDRESS":
        monkeypatch.setenv(how, address)
    with pytest.raises(ValueError, match=rf"HOST:6379, but is {address} instead: give it on a node .* submit a job"):
        join(address if how == "given" else None)


def test_who_leaves_a_cluster_that_has_ended_does_not_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    leave()
    assert codes == [], "there is no cluster"
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = "{}:{}".format(*server.getsockname())
        monkeypatch.setattr(ray, "is_initialized", lambda: True)
        monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(gcs_address=address))
        leave()
        assert codes == [], "it answers"
    leave()
    assert codes == [130]
