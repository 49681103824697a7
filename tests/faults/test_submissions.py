"""Submissions that overlap, that ask for more, and that MLflow does not hear of at once."""

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


def test_two_submitters_at_the_same_moment(local: Study, reference: Study) -> None:
    both = [local.submit("--seconds", "0.2") for _ in range(2)]
    codes = sorted(each.process.wait(120) for each in both)
    texts = "\n".join(each.text for each in both)
    assert codes == [0, 1], texts
    assert texts.count("must have one submitter at a time") == 1, texts
    assert_undisturbed(local, reference)
    assert len(local.events()) == 2 * len(CELLS)


def test_a_language_and_a_weight_more(study: Study, reference: Study) -> None:
    """The new cells on the cluster; what was finished without it stays as it is."""
    study.submit("--local", "--seconds", "0").ends(0)
    more = ("--seconds", "0", "--languages", "cs", "ro", "el", "--weights", "0", "0.5", "1")
    assert "9 trials, 4 finished, 5 to run\n" in study.submit(*more).ends(0)
    new = ["cs 1", "ro 1", "el 0", "el 0.5", "el 1"]
    assert sorted(e.cell for e in study.events()[2 * len(CELLS) :]) == sorted(2 * new)
    assert_ran_once(study, (*CELLS, *new))
    assert len(study.in_mlflow()) == 10
    assert set(study.in_mlflow().values()) == {"FINISHED"}
    assert "9 finished, 0 to run" in study.submit(*more).ends(0)
    # Asked for less, the study still has them all.
    study.submit().ends(0)
    lines = (study.study / "table1.md").read_text().splitlines()
    assert set((reference.study / "table1.md").read_text().splitlines()) < set(lines)
    assert any("Greek" in line for line in lines)


def test_mlflow_is_away_for_a_while(study: Study, reference: Study) -> None:
    (port,) = free_ports(1)
    uri = f"http://127.0.0.1:{port}"
    with mlflow_server(study, port):
        submission = study.submit("--seconds", "0.5", "--tracking-uri", uri)
        submission.says("cs 0: step 4 of 8")
    submission.says("MLflow does not answer; the study goes on, and is recorded later")
    submission.says("cs 0.5: step 6 of 8")
    with mlflow_server(study, port):
        output = submission.ends(0)
        assert "MLflow answers again" in output
    assert_undisturbed(study, reference)


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
