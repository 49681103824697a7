"""Faults for which no cluster is needed: of the submitter, of its checkpoints, of MLflow."""

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.cluster import ROOT, free_ports
from tests.faults.processes import kill, marked, until
from tests.faults.study import CELLS, Study, assert_ran_once, assert_undisturbed


def test_a_truncated_checkpoint_and_a_dead_submitter(local: Study, reference: Study) -> None:
    first = local.submit("--seconds", "0.3")
    until(lambda: local.at("cs 0.5", 6), "cs 0.5 has its third checkpoint")
    first.kill()
    kept = sorted((local.trial("cs 0.5") / "checkpoints").iterdir())
    assert [path.name for path in kept] == ["step-00000004", "step-00000006"]
    state = kept[-1] / "state.npz"
    state.write_bytes(state.read_bytes()[:100])
    output = local.submit().ends(0)
    assert "4 trials, 1 finished, 3 to run, 1 of them from a checkpoint" in output
    assert f"(pid {first.process.pid}) is dead; this one goes on in its place" in output
    again = output.partition("cs 0.5: started")[2].partition("finished")[0]
    assert "step 6 of 8" in again, "it went on from the checkpoint before the truncated one"
    assert "step 4 of 8" not in again
    assert_undisturbed(local, reference)


def test_two_submitters_at_the_same_moment(local: Study, reference: Study) -> None:
    both = [local.submit("--seconds", "0.2") for _ in range(2)]
    codes = sorted(each.process.wait(120) for each in both)
    texts = "\n".join(each.text for each in both)
    assert codes == [0, 1], texts
    assert texts.count("must have one submitter at a time") == 1, texts
    assert_undisturbed(local, reference)
    assert len(local.events()) == 2 * len(CELLS)


def test_a_language_and_a_weight_more(local: Study, reference: Study) -> None:
    local.submit("--seconds", "0").ends(0)
    more = ("--seconds", "0", "--languages", "cs", "ro", "el", "--weights", "0", "0.5", "1")
    assert "9 trials, 4 finished, 5 to run\n" in local.submit(*more).ends(0)
    new = ["cs 1", "ro 1", "el 0", "el 0.5", "el 1"]
    assert sorted(e.cell for e in local.events()[2 * len(CELLS) :]) == sorted(2 * new)
    assert_ran_once(local, (*CELLS, *new))
    assert len(local.in_mlflow()) == 10
    assert set(local.in_mlflow().values()) == {"FINISHED"}
    assert "9 finished, 0 to run" in local.submit(*more).ends(0)
    # And the smaller study is still what it was.
    local.submit().ends(0)
    assert (local.study / "table1.md").read_text() == (reference.study / "table1.md").read_text()


def test_mlflow_is_away_for_a_while(local: Study, reference: Study) -> None:
    (port,) = free_ports(1)
    uri = f"http://127.0.0.1:{port}"
    with mlflow_server(local, port):
        study = local.submit("--seconds", "0.5", "--tracking-uri", uri)
        study.says("cs 0: step 4 of 8")
    study.says("MLflow does not answer; the study goes on, and is recorded later")
    study.says("cs 0.5: step 6 of 8")
    with mlflow_server(local, port):
        output = study.ends(0)
        assert "MLflow answers again" in output
    assert_undisturbed(local, reference)


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
