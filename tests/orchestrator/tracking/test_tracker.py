from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.study.lease import Lease
from orchestrator.study.ledger import Attempt, Ledger, Result
from orchestrator.study.stored_run import StoredRun
from orchestrator.study.sweep import Sweep, Trial, grid
from orchestrator.tracking.tracker import Tracker, chosen_uri, default_uri
from tests.orchestrator.tracking.recorded import CURVE, FINISHED, STEPS, artifacts, curve, runs, superseded, tracker
from tests.toy.recipe import Toy


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


def test_a_password_in_a_reason_is_not_recorded(uri: str, toys: Sweep, ledger: Ledger) -> None:
    recording = tracker(uri, toys, ledger)
    recording.ended(toys.trials[0], Result("failed", reason="no http://me:sword/fish@host"))
    recording.close(status="FAILED")
    assert runs(uri)[1][toys.trials[0].signature].data.tags["l2s.reason"] == "no http://host"


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
