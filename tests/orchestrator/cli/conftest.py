"""The folder that a person stands in, and an MLflow database in it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.tracking import tracker as tracking
from tests.orchestrator.cli.submitted import study


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.fixture
def database(empty_database: Path, tmp_path: Path) -> None:
    """Spares the study the second that it takes to make one."""
    (tmp_path / "runs").mkdir()
    shutil.copy(empty_database, tmp_path / "runs" / "mlflow.db")
    shutil.copy(empty_database, tmp_path / "mlflow.db")


@pytest.fixture
def finished(database: None) -> None:
    assert study("--local", "--languages", "cs", "--weights", "0") == 0


@pytest.fixture
def server(empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An MLflow server behind a password: its database, for all clients whatever their URI."""
    database = tmp_path / "server" / "mlflow.db"
    database.parent.mkdir()
    shutil.copy(empty_database, database)

    def client(tracking_uri: str) -> MlflowClient:
        return MlflowClient(tracking_uri=f"sqlite:///{database}")

    monkeypatch.setattr(tracking, "MlflowClient", client)
    monkeypatch.chdir(tmp_path / "server")  # where such a database keeps its artifacts
    yield database
    shutil.rmtree(database.parent)
