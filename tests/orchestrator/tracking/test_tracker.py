import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE
from requests import HTTPError, Response

from orchestrator.study.failures import StudyFailed
from orchestrator.study.lease import Lease
from orchestrator.study.ledger import Attempt, Ledger, Result
from orchestrator.study.stored_run import StoredRun
from orchestrator.study.sweep import Sweep, Trial, grid
from orchestrator.tracking import tracker as tracking
from orchestrator.tracking.tracker import Tracker, chosen_uri, default_uri
from tests.toy.recipe import Toy

FINISHED = Result("finished", {"test/cer": 12.5}, seconds=3.0, gpu_hours=0.5, attempts=2)
STEPS = (2, 4, 6, 8)


@pytest.fixture
def uri(empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(tracking, "FIRST_WAIT", 0.01)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return default_uri(tmp_path)


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


@pytest.fixture
def run(ledger: Ledger, toys: Sweep, lease: Lease, tmp_path: Path) -> Callable[[Trial, int], None]:
    """Reports of a trial on its storage, up to a step; and what it keeps."""

    def run(trial: Trial, upto: int) -> None:
        here = Attempt("2026-01-01T00:00:00+00:00", "host", "H100", 2, 2, {"ray": "2.60"}, "abc")
        stored = StoredRun(ledger, trial.signature, attempt=here, rank=0, lease=lease, told=lambda _: None)
        for step in STEPS:
            if step <= upto:
                stored.report({"valid/cer": 50 + step, "loss": 1 / step}, step=step)
        for name in ("utterances.parquet", "student.safetensors"):
            (tmp_path / name).write_text(name)
            stored.keep(tmp_path / name)

    return run


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


def test_one_parent_and_a_child_per_trial_however_often(
    uri: str, toys: Sweep, ledger: Ledger, run: Callable[[Trial, int], None]
) -> None:
    for _ in range(2):
        recording = tracker(uri, toys, ledger)
        for trial in toys.trials[:2]:
            if ledger.result(trial.signature) is None:
                recording.started(trial)
                for step in (*STEPS, 8, 8):  # told late, and told twice
                    run(trial, step)
                    recording.reported(trial, {"step": step})
                ledger.finish(trial.signature, FINISHED)
            recording.ended(trial, FINISHED)
        recording.artifact("table1.md", "a table")
        recording.artifact("figures/curve.png", b"\x89PNG")
        recording.describe(["a table"])
        recording.close(status="FINISHED")

    parent, children = runs(uri)
    assert children.keys() == {trial.signature for trial in toys.trials[:2]}
    assert {found.info.status for found in (parent, *children.values())} == {"FINISHED"}
    assert parent.data.tags["mlflow.note.content"] == "a table"
    assert parent.data.tags["mlflow.source.git.commit"]
    assert artifacts(uri, parent) == ["figures", "table1.md"]
    child = children[toys.trials[1].signature]
    assert curve(uri, child, "valid/cer") == CURVE
    assert curve(uri, child, "gpu_hours") == [(8, 0.5)]
    assert {k: child.data.metrics[k] for k in ("trial_seconds", "attempts")} == {"trial_seconds": 3, "attempts": 2}
    assert (child.data.params["language"], child.data.params["weight"]) == ("cs", "0.5")
    assert child.info.run_name == "cs 0.5"
    tags = {"l2s.hardware": "H100, 2 workers", "mlflow.source.git.commit": "abc", "l2s.versions": "ray 2.60"}
    assert tags.items() <= child.data.tags.items()
    assert artifacts(uri, child) == ["history.json", "recipe.json", "utterances.parquet"]


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


def superseded(uri: str) -> list[Run]:
    """Children that stand for no trial any more."""
    return [run for run in runs(uri)[1].values() if run.data.tags.get("l2s.status") == "superseded"]


@pytest.mark.parametrize("lost", ["trials", "trials/{}/history.json", "trials/{}/history.json and no report"])
def test_a_study_that_begins_anew_does_not_inherit_the_curves_of_the_old(
    lost: str, uri: str, toys: Sweep, ledger: Ledger, run: Callable[[Trial, int], None]
) -> None:
    trial = toys.trials[0]
    recording = tracker(uri, toys, ledger)
    run(trial, 8)
    recording.ended(trial, FINISHED)
    recording.close(status="FINISHED")

    ledger.storage.delete(lost.format(trial.signature).partition(" ")[0])
    for _ in range(2):
        recording = tracker(uri, toys, ledger)
        if "no report" not in lost:
            run(trial, 4)
            recording.started(trial)
        recording.ended(trial, FINISHED)
        recording.close(status="FINISHED")
    (old,) = superseded(uri)
    assert curve(uri, old, "valid/cer") == CURVE
    assert (old.info.run_name, old.info.status) == ("cs 0 (superseded)", "FINISHED")
    child = runs(uri)[1][trial.signature]
    assert curve(uri, child, "valid/cer") == ([] if "no report" in lost else CURVE[:2])
    assert (child.info.run_name, child.info.status) == ("cs 0", "FINISHED")


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


def test_a_failed_trial_says_why_and_may_finish_later(
    uri: str, toys: Sweep, ledger: Ledger, run: Callable[[Trial, int], None]
) -> None:
    trial = toys.trials[0]
    recording = tracker(uri, toys, ledger)
    recording.ended(trial, Result("failed", reason="the loss was nan"))
    recording.ended(toys.trials[1], Result("stopped", {"step": 4}, reason="worse than others"))
    recording.close(status="FAILED")
    parent, children = runs(uri)
    assert [parent.info.status, children[trial.signature].info.status] == ["FAILED", "FAILED"]
    assert children[trial.signature].data.tags["l2s.reason"] == "the loss was nan"
    assert children[toys.trials[1].signature].info.status == "KILLED"

    recording = tracker(uri, toys, ledger)
    recording.started(trial)
    run(trial, 8)
    recording.reported(trial, {"step": 8})
    recording.ended(trial, FINISHED)
    recording.close(status="FINISHED")
    parent, again = runs(uri)
    assert again.keys() == children.keys()
    child = again[trial.signature]
    assert [parent.info.status, child.info.status] == ["FINISHED", "FINISHED"]
    assert (child.data.tags["l2s.status"], child.data.tags.get("l2s.reason", "")) == ("finished", "")
    assert curve(uri, child, "valid/cer") == CURVE


def test_what_no_database_takes_is_recorded_as_escapes(uri: str, toys: Sweep, ledger: Ledger) -> None:
    """As the bytes of a file's name in an exception."""
    trial = Trial(toys.trials[0].recipe.model_copy(update={"trouble": "a\x00b"}))  # pyright: ignore
    recording = tracker(uri, toys, ledger)
    recording.describe(["| caf\udce9 |\n"])
    recording.artifact("report.html", "<p>caf\udce9</p>")
    recording.ended(trial, Result("failed", reason="OSError: caf\udce9\x00"))
    recording.close(status="FAILED")
    parent, children = runs(uri)
    assert parent.data.tags["mlflow.note.content"] == "| caf\\udce9 |\n"
    child = children[trial.signature]
    assert (child.info.status, child.data.tags["l2s.reason"]) == ("FAILED", "OSError: caf\\udce9\\x00")
    assert child.data.params["trouble"] == "a\\x00b"


class Many(Toy):
    """A recipe of many fields."""

    numbers: dict[str, int]
    text: str = "x" * 7000


def test_a_recipe_may_have_many_fields(uri: str, ledger: Ledger) -> None:
    cell = Many(language="cs", numbers={f"number{i}": i for i in range(250)})
    sweep = Sweep("toys", [cell], axes=("language",))
    recording = tracker(uri, sweep, ledger)
    recording.ended(sweep.trials[0], FINISHED)
    recording.close(status="FINISHED")
    child = runs(uri)[1][sweep.trials[0].signature]
    assert child.data.params["numbers.number249"] == "249"
    assert len(child.data.params) > 250
    assert child.data.params["text"] == "x" * 6000


def test_many_metrics_in_one_report(uri: str, toys: Sweep, ledger: Ledger, lease: Lease) -> None:
    trial = toys.trials[0]
    stored = StoredRun(
        ledger, trial.signature, attempt=Attempt("now"), rank=0, lease=lease, told=lambda _: None
    )  # fmt: skip
    stored.report({f"m{i}": float(i) for i in range(250)}, step=1)
    recording = tracker(uri, toys, ledger)
    recording.reported(trial, {"step": 1})
    recording.close(status="FINISHED")
    assert runs(uri)[1][trial.signature].data.metrics == {f"m{i}": float(i) for i in range(250)}


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


def test_a_password_in_a_reason_is_not_recorded(uri: str, toys: Sweep, ledger: Ledger) -> None:
    recording = tracker(uri, toys, ledger)
    recording.ended(toys.trials[0], Result("failed", reason="no http://me:sword/fish@host"))
    recording.close(status="FAILED")
    assert runs(uri)[1][toys.trials[0].signature].data.tags["l2s.reason"] == "no http://host"


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


@pytest.mark.parametrize(
    ("given", "variable", "folder", "expected"),
    [
        ("http://host", "http://other", "/data", "http://host"),
        (None, "http://other", "/data", "http://other"),
        (None, "", "/data", "sqlite:////data/mlflow.db"),
        (None, None, "/data/100%", "sqlite+pysqlite:////data/100%25/mlflow.db"),
        (None, " http://other ", None, "http://other"),
        ("sqlite:///a%20b/mlflow.db", None, None, "sqlite+pysqlite:///a%20b/mlflow.db"),
    ],
)
def test_an_option_comes_before_the_environment_and_that_before_a_file(
    given: str | None, variable: str | None, folder: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if variable is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", variable)
    assert chosen_uri(given, Path(folder) if folder else None) == expected


def test_nothing_is_written_before_the_study_is_recorded(toys: Sweep, tmp_path: Path) -> None:
    Tracker(default_uri(tmp_path / "runs"), toys).reach()
    assert list(tmp_path.iterdir()) == []


def test_cells_added_later_are_children_of_the_same_study(uri: str, toys: Sweep, ledger: Ledger, toy: Toy) -> None:
    more = Sweep("toys", [*toys.recipes, *grid(toy, {"language": ["fi"]})], axes=toys.axes)
    for sweep in (toys, more):
        recording = tracker(uri, sweep, ledger)
        for trial in sweep.trials:
            recording.ended(trial, FINISHED)
        recording.close(status="FINISHED")
    assert len(runs(uri)[1]) == 5
