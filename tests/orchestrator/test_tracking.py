from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.events import StudyFailed
from orchestrator.sweep import Sweep, grid
from orchestrator.tracking import Tracker, default_uri
from trainables.recipes.distill_l2s import DistillL2S

RESULT = {"metrics": {"step": 20.0, "test_cer": 12.5, "test_wer": 30.0}, "seconds": 3.0}


@pytest.fixture
def sweep(recipe: DistillL2S) -> Sweep:
    return Sweep("study", grid(recipe, {"weight": [0.0, 0.5]}))


def record(sweep: Sweep, storage: Path) -> None:
    tracker = Tracker(default_uri(storage), storage, sweep)
    for trial in sweep.trials:
        tracker.reported(trial, {"step": 5, "valid_cer": 50.0, "train_loss": 1.5})
        tracker.finished(trial, RESULT)
    (storage / "table1.md").write_text("a table")
    tracker.artifact(storage / "table1.md")
    tracker.describe("a table")
    tracker.close(status="FINISHED")


def test_one_parent_and_a_child_per_trial_however_often(sweep: Sweep, tmp_path: Path) -> None:
    record(sweep, tmp_path)
    tracker = Tracker(default_uri(tmp_path), tmp_path, sweep)
    for trial in sweep.trials:
        tracker.finished(trial, RESULT)
    tracker.close(status="FINISHED")

    client = MlflowClient(default_uri(tmp_path))
    (experiment,) = client.search_experiments(filter_string="name = 'study'")
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run not in parents]
    assert len(parents) == 1
    assert {run.data.tags["l2s.signature"] for run in children} == {t.signature for t in sweep.trials}
    assert len(children) == 2
    assert {run.info.status for run in runs} == {"FINISHED"}
    for child in children:
        assert child.data.tags["mlflow.parentRunId"] == parents[0].info.run_id
        assert child.data.params["corpus.language"] == "cs"
        assert child.data.metrics["test_cer"] == 12.5
        assert [(m.step, m.value) for m in client.get_metric_history(child.info.run_id, "valid_cer")] == [(5, 50.0)]
        assert [(m.step, m.value) for m in client.get_metric_history(child.info.run_id, "test_cer")] == [(20, 12.5)]
        assert [a.path for a in client.list_artifacts(child.info.run_id)] == ["recipe.json"]
    assert parents[0].data.tags["mlflow.note.content"] == "a table"
    assert {run.data.params["weight"] for run in children} == {"0.0", "0.5"}
    assert [a.path for a in client.list_artifacts(parents[0].info.run_id)] == ["table1.md"]


def test_a_failed_trial_says_why(sweep: Sweep, tmp_path: Path) -> None:
    tracker = Tracker(default_uri(tmp_path), tmp_path, sweep)
    tracker.failed(sweep.trials[0], "The loss must be a finite number, but was nan by step 5.")
    tracker.close(status="FAILED")
    (run,) = tracker.client.search_runs([tracker.experiment], "tags.`l2s.failure` LIKE '%nan%'")
    assert run.info.status == "FAILED"


def test_a_server_that_is_not_there_is_said(sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ValueError, match=r"MLflow must answer at http://127\.0\.0\.1:9, but does not"):
        Tracker("http://127.0.0.1:9", tmp_path, sweep)


def test_what_could_not_be_recorded_is_told(sweep: Sweep, tmp_path: Path) -> None:
    tracker = Tracker(default_uri(tmp_path), tmp_path, sweep)
    tracker.artifact(tmp_path / "nowhere.md")
    with pytest.raises(StudyFailed, match="MLflow has not recorded everything"):
        tracker.close(status="FINISHED")
