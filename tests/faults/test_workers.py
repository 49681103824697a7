"""Lost workers, recipes that raise, a submitter that comes second and an MLflow server that is away, all at once."""

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.cluster import ROOT, free_ports
from tests.faults.processes import kill, marked, until
from tests.faults.study import Study, assert_undisturbed


def test_killed_workers_a_second_submitter_and_a_killed_server(study: Study, reference: Study) -> None:
    """One worker is killed from outside, one kills itself, one raises, each between two checkpoints."""
    study.options += ["--languages", "cs", "--weights", "0"]
    (port,) = free_ports(1)
    with mlflow_server(study, port):
        first = study.submit("--trouble", "die_once raise_once", "--tracking-uri", f"http://127.0.0.1:{port}")
        until(lambda: study.at("cs 0", 2), "cs 0 has its first checkpoint")
        kill([study.workers()["cs 0"].pid])
    begun = time.monotonic()
    second = study.submit("--local").ends(1)
    assert "must have one submitter at a time, but another one" in second
    assert f"pid {first.process.pid}" in second
    assert len(second.splitlines()) <= 2, second
    assert time.monotonic() - begun < 30
    first.says("MLflow does not answer; the study goes on, and is recorded later")
    first.says("cs 0: step 4 of 8")
    with mlflow_server(study, port):
        output = first.ends(0)
    assert "MLflow answers again" in output
    assert "goes on after a worker was lost" in output
    assert "tried again after ConnectionError: this recipe raises once" in output
    assert_undisturbed(study, reference, ("cs 0",))
    assert len([event for event in study.events() if event.what == "start"]) == 1 + 3


@contextmanager
def mlflow_server(study: Study, port: int) -> Iterator[None]:
    """A server on the study's database, killed with all its workers at the end."""
    study.folder.mkdir(exist_ok=True)
    command = [Path(sys.executable).parent / "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", study.uri, "--artifacts-destination", str(study.folder / "artifacts")]
    command += ["--workers", "1"]
    with (study.folder / "server").open("a") as log:
        process = subprocess.Popen(
            command, env=study.environment | {"L2S_NODE": "mlflow"}, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        until(lambda: healthy(port), "the MLflow server answers")
        yield
    finally:
        kill(marked(study.environment["L2S_FAULTS"], L2S_NODE="mlflow"))
        process.wait()


def healthy(port: int) -> bool:
    """Whether the server answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        time.sleep(0.2)
        return False
