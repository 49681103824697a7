"""Models in MLflow's registry."""

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

from orchestrator.tracking.model_registry import register
from orchestrator.tracking.tracker import SIGNATURE, default_uri


@pytest.fixture
def uri(tmp_path: Path, empty_database: Path) -> str:
    """A database with the run of one trial."""
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    client = MlflowClient(default_uri(tmp_path))
    experiment = client.create_experiment("study", artifact_location=(tmp_path / "artifacts").as_uri())
    client.create_run(experiment, tags={SIGNATURE: "abc"})
    return default_uri(tmp_path)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def test_versions_of_a_model_are_counted_and_can_be_downloaded(
    uri: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = [
        register(uri, "czech", study="study", signature="abc", folder=model, description="cs, 20 %") for _ in range(2)
    ]
    assert versions == ["1", "2"]
    found = MlflowClient(uri).get_model_version("czech", "2")
    assert found.tags == {SIGNATURE: "abc"}
    assert found.description == "cs, 20 %"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", uri)
    (tmp_path / "downloaded").mkdir()
    downloaded = download_artifacts("models:/czech/2", dst_path=str(tmp_path / "downloaded"))
    assert (Path(downloaded) / "config.json").read_text() == "{}"


def test_a_trial_that_mlflow_does_not_know(uri: str, model: Path) -> None:
    for study, signature in (("study", "other"), ("other", "abc")):
        with pytest.raises(ValueError, match=f"must have a run of the trial {signature} of the study '{study}', but"):
            register(uri, "czech", study=study, signature=signature, folder=model, description="")
    assert not MlflowClient(uri).search_registered_models()


def test_a_deleted_experiment_is_named(uri: str, model: Path) -> None:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("study")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    with pytest.raises(
        ValueError, match="experiment 'study' must not be deleted, but is; the study's command restores"
    ):
        register(uri, "czech", study="study", signature="abc", folder=model, description="")


def test_a_server_that_is_not_there_is_said_at_once(model: Path) -> None:
    with pytest.raises(ValueError, match=r"MLflow must answer at http://127\.0\.0\.1:9, but does not: .*refused$"):
        register("http://127.0.0.1:9", "czech", study="study", signature="abc", folder=model, description="")


def test_a_file_that_is_no_database_is_said(model: Path, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("no database")
    with pytest.raises(ValueError, match=r"database must be a file of SQLite.s, but .* is none"):
        register(default_uri(tmp_path), "czech", study="study", signature="abc", folder=model, description="")


def test_a_model_lies_in_a_folder_of_any_name(empty_database: Path, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "per%41cent a?b#c"
    folder.mkdir()
    shutil.copyfile(empty_database, folder / "mlflow.db")
    client = MlflowClient(default_uri(folder))
    experiment = client.create_experiment("study", artifact_location=(folder / "artifacts").as_uri())
    run = client.create_run(experiment, tags={SIGNATURE: "abc"})
    register(default_uri(folder), "czech", study="study", signature="abc", folder=model, description="")
    assert (folder / "artifacts" / run.info.run_id / "artifacts" / "model" / "config.json").read_text() == "{}"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == ["model", folder.name]


def test_a_name_that_mlflow_refuses(uri: str, model: Path) -> None:
    with pytest.raises(ValueError, match="must take the model, but does not"):
        register(uri, "a/b", study="study", signature="abc", folder=model, description="")


def test_a_database_that_is_not_there_is_not_made(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^MLflow's database must be there, but sqlite:///.*/mlflow\.db is not\.$"):
        register(default_uri(tmp_path), "czech", study="study", signature="abc", folder=model, description="")
    assert not (tmp_path / "mlflow.db").exists()
