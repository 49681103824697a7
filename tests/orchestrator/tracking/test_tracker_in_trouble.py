"""A server that is away, refuses, or dies between an effect and its answer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE
from requests import HTTPError, Response

from orchestrator.study.failures import StudyFailed
from orchestrator.study.ledger import Ledger
from orchestrator.study.sweep import Sweep, Trial
from orchestrator.tracking.tracker import Tracker
from tests.orchestrator.tracking.recorded import CURVE, FINISHED, STEPS, Flaky, away, curve, runs, superseded, tracker


def answer(status: int, reason: str) -> HTTPError:
    """As MLflow's client raises it where a file is not taken."""
    response = Response()
    response.status_code, response.reason, response.url = status, reason, "http://mlflow/artifacts"
    with pytest.raises(HTTPError) as error:
        response.raise_for_status()
    return error.value


ANSWERS = [
    answer(429, "Too Many Requests"),
    answer(503, "Service Unavailable"),
    MlflowException("the database is locked", INTERNAL_ERROR),
    ConnectionError("connection refused"),
    TimeoutError("timed out"),
]


@pytest.mark.parametrize("error", ANSWERS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_what_comes_while_mlflow_is_away_is_recorded_later(
    error: Exception, after: bool, uri: str, toys: Sweep, ledger: Ledger, run: Callable[[Trial, int], None]
) -> None:
    told: list[str] = []
    recording = tracker(uri, toys, ledger, told)
    recording.client = Flaky(recording.client, away(error, 3), after=after)  # pyright: ignore
    trial = toys.trials[0]
    recording.started(trial)
    for step in STEPS:
        run(trial, step)
        recording.reported(trial, {"step": step})
    recording.ended(trial, FINISHED)
    recording.close(status="FINISHED")
    parent, children = runs(uri)
    assert curve(uri, children[trial.signature], "valid/cer") == CURVE
    assert {parent.info.status, children[trial.signature].info.status} == {"FINISHED"}
    assert [text.partition(";")[0] for text in told] == ["MLflow does not answer", "MLflow answers again."]
    assert told[0].partition("recorded later: ")[2] in str(error)


def test_a_report_whose_delivery_was_not_noted_is_there_once(
    uri: str, toys: Sweep, ledger: Ledger, run: Callable[[Trial, int], None]
) -> None:
    times = [0]

    def trouble(name: str, *values: Any, **_: Any) -> Exception | None:
        if name == "set_tag" and values[1] == "l2s.reports" and times[0] < 3:
            times[0] += 1
            return ConnectionError("lost")
        return None

    recording, trial = tracker(uri, toys, ledger), toys.trials[0]
    recording.client = Flaky(recording.client, trouble)  # pyright: ignore
    run(trial, 8)
    recording.reported(trial, {"step": 8})
    recording.close(status="FINISHED")
    assert times[0] == 3
    assert curve(uri, runs(uri)[1][trial.signature], "valid/cer") == CURVE


def test_who_does_not_wait_is_told_what_is_missing_and_records_it_later(
    uri: str, toys: Sweep, ledger: Ledger, run: Callable[[Trial, int], None]
) -> None:
    recording, trial = tracker(uri, toys, ledger, patience=0), toys.trials[0]
    recording.client = Flaky(recording.client, away(ConnectionError("connection refused"), 10**6))  # pyright: ignore
    run(trial, 8)
    ledger.finish(trial.signature, FINISHED)
    recording.ended(trial, FINISHED)
    with pytest.raises(StudyFailed, match=r"MLflow at sqlite:.* does not answer \(connection refused\)\. The results"):
        recording.close(status="FINISHED")
    assert runs(uri)[1] == {}

    recording = tracker(uri, toys, ledger)
    recording.ended(trial, FINISHED)
    recording.close(status="FINISHED")
    parent, children = runs(uri)
    assert curve(uri, children[trial.signature], "valid/cer") == CURVE
    assert {parent.info.status, children[trial.signature].info.status} == {"FINISHED"}


def test_a_file_that_the_server_refuses_blocks_nothing_else(
    uri: str, toys: Sweep, ledger: Ledger, run: Callable[[Trial, int], None]
) -> None:
    told: list[str] = []
    recording, trial = tracker(uri, toys, ledger, told, patience=1), toys.trials[0]

    def trouble(name: str, *_: Any, **__: Any) -> Exception | None:
        return answer(413, "Request Entity Too Large") if name == "log_artifact" else None

    recording.client = Flaky(recording.client, trouble)  # pyright: ignore
    recording.artifact("report.html", "a report")
    run(trial, 8)
    recording.reported(trial, {"step": 8})
    with pytest.raises(StudyFailed, match=r"MLflow has not recorded everything: 413 .*Request Entity Too Large"):
        recording.close(status="FINISHED")
    parent, children = runs(uri)
    assert parent.info.status == "FINISHED"
    assert curve(uri, children[trial.signature], "valid/cer") == CURVE
    assert told == []


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_run_is_superseded_once_however_often_mlflow_is_away(
    after: bool, uri: str, toys: Sweep, ledger: Ledger, run: Callable[[Trial, int], None]
) -> None:
    trial = toys.trials[0]
    recording = tracker(uri, toys, ledger)
    run(trial, 8)
    recording.reported(trial, {"step": 8})
    recording.close(status="FINISHED")
    ledger.storage.delete("trials")
    run(trial, 4)
    seen: set[str] = set()

    def trouble(*values: Any, **_: Any) -> Exception | None:
        """Each call is lost the first time; that of a file, by its kind: it comes from a new place each time."""
        before = len(seen)
        seen.add(str(values[:1] if values[0] == "log_artifact" else values))
        return ConnectionError("lost") if len(seen) > before else None

    recording = tracker(uri, toys, ledger)
    recording.client = Flaky(recording.client, trouble, after=after)  # pyright: ignore
    recording.reported(trial, {"step": 4})
    recording.ended(trial, FINISHED)
    recording.close(status="FINISHED")
    assert len(superseded(uri)) == 1
    assert len(runs(uri)[1]) == 2
    assert curve(uri, runs(uri)[1][trial.signature], "valid/cer") == CURVE[:2]


def test_what_mlflow_refuses_blocks_nothing_else(
    uri: str, toys: Sweep, ledger: Ledger, run: Callable[[Trial, int], None]
) -> None:
    recording = tracker(uri, toys, ledger)

    def trouble(name: str, *values: Any, **_: Any) -> Exception | None:
        if name == "log_batch" and values[0] == bad:
            return MlflowException("no such metric", INVALID_PARAMETER_VALUE)
        return None

    first, second = toys.trials[:2]
    bad = recording._child(first).info.run_id
    recording.client = Flaky(recording.client, trouble)  # pyright: ignore
    for trial in (first, second):
        run(trial, 8)
        recording.reported(trial, {"step": 8})
        recording.ended(trial, FINISHED)
    with pytest.raises(StudyFailed, match=r"MLflow has not recorded everything: .*no such metric"):
        recording.close(status="FINISHED")
    parent, children = runs(uri)
    assert parent.info.status == "FINISHED"
    assert curve(uri, children[second.signature], "valid/cer") == CURVE
    assert children[second.signature].info.status == "FINISHED"


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        (
            "http://me:swordfish@127.0.0.1:9",
            r"MLflow must answer at http://127\.0\.0\.1:9, but does not: .*Connection refused$",
        ),
        ("nonsense://x", "MLflow must answer at nonsense://x, but does not: .*unsupported URI"),
        ("postgresql+nonsense://me:swordfish@x/y", "MLflow must answer at postgresql.nonsense://x/y, but does not"),
    ],
)
def test_a_server_that_is_not_there_is_said(
    uri: str, sentence: str, toys: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ValueError, match=sentence) as error:
        Tracker(uri, toys).reach()
    assert "swordfish" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_password_is_not_told_when_the_server_leaves(toys: Sweep, ledger: Ledger, uri: str) -> None:
    told: list[str] = []
    recording = tracker(uri, toys, ledger, told, patience=0)
    secret = "http://me:swordfish@host:5000"
    recording.client = Flaky(recording.client, away(ConnectionError(f"no {secret}/api"), 10**6))  # pyright: ignore
    recording.uri = secret
    with pytest.raises(StudyFailed) as error:
        recording.close(status="FINISHED")
    assert "swordfish" not in f"{error.value} {told}"
    assert told


def test_who_could_not_connect_records_nothing_and_says_so_in_the_end(
    toys: Sweep, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = Tracker("http://127.0.0.1:9", toys)
    with pytest.raises(ValueError, match=r"must answer at http://127\.0\.0\.1:9, but does not: .*refused$"):
        recording.connect(ledger, print)
    recording.ended(toys.trials[0], FINISHED)
    recording.artifact("table1.md", "a table")
    with pytest.raises(
        StudyFailed, match=r"but does not: .*refused\. The results are on the study's storage; the same"
    ):
        recording.close(status="FINISHED")
