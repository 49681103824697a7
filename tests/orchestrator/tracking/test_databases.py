"""Databases lie where their URIs say, whatever signs are in the path."""

import os
import shutil
import socket
from pathlib import Path
from urllib.parse import quote

import pytest
from mlflow import MlflowClient

from orchestrator.tracking.databases import as_mlflow_takes_it, check_file, database_file, database_uri, knock
from orchestrator.tracking.tracker import default_uri

NAMES = ("a b", "per%41cent", "100%", "a?b=c&d", "a#b;c", "kůň", 'it\'s "a"', "[a]", "a:b@c", "a+b\\c", "a\nb")


@pytest.mark.parametrize("name", NAMES)
def test_database_and_artifacts_lie_in_the_folder_and_nowhere_else(
    name: str, empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    folder = tmp_path / "study" / name
    folder.mkdir(parents=True)
    shutil.copy(empty_database, folder / "mlflow.db")
    client = MlflowClient(default_uri(folder))
    experiment = client.create_experiment("toys", artifact_location=(folder / "mlartifacts").as_uri())
    run = client.create_run(experiment).info.run_id
    (tmp_path / "table.md").write_text("a table")
    client.log_artifact(run, str(tmp_path / "table.md"), "tables")
    assert [file.path for file in client.list_artifacts(run, "tables")] == ["tables/table.md"]
    (tmp_path / "down").mkdir()
    downloaded = client.download_artifacts(run, "tables/table.md", str(tmp_path / "down"))
    assert Path(downloaded).read_text() == "a table"
    assert [path.name for path in folder.parent.iterdir()] == [name]
    assert sorted(path.name for path in folder.iterdir()) == ["mlartifacts", "mlflow.db"]
    assert database_file(default_uri(folder)) == folder / "mlflow.db"


def test_a_new_database_is_made_in_the_folder_and_no_other_folder_is(tmp_path: Path) -> None:
    (tmp_path / "per%41cent").mkdir()
    MlflowClient(default_uri(tmp_path / "per%41cent")).search_experiments()
    assert [path.name for path in tmp_path.iterdir()] == ["per%41cent"]
    assert [path.name for path in (tmp_path / "per%41cent").iterdir()] == ["mlflow.db"]


@pytest.mark.parametrize(
    ("uri", "file"),
    [
        ("sqlite:////data/runs/mlflow.db", "/data/runs/mlflow.db"),
        ("sqlite:////data/my%20runs/mlflow.db?timeout=5", "/data/my runs/mlflow.db"),
        ("sqlite+pysqlite:////data/per%2541cent/a%3Fb.db", "/data/per%41cent/a?b.db"),
        ("sqlite:///relative.db", "{here}/relative.db"),
        ("sqlite+pysqlite:///file:/data/my%2520runs/mlflow.db?mode=ro&uri=true", "/data/my runs/mlflow.db"),
        ("sqlite:///:memory:", None),
        ("sqlite://", None),
        ("postgresql://me@host/data", None),
        ("postgresql://host:port/data", None),
        ("http://host:5000/a.db", None),
        ("databricks", None),
        ("/data/mlruns", None),
    ],
)
def test_the_file_of_a_database(uri: str, file: str | None) -> None:
    found = database_file(uri)
    assert found == (None if file is None else Path(file.format(here=Path.cwd())))
    assert database_file(as_mlflow_takes_it(uri)) == found


@pytest.mark.parametrize("path", ["/data/runs/mlflow.db", "/data/my runs/mlflow.db", "/data/a#b;[c]/mlflow.db"])
def test_where_nothing_must_be_escaped_the_uri_is_the_plain_one(path: str) -> None:
    assert database_uri(Path(path)) == as_mlflow_takes_it(f"sqlite:///{path}") == f"sqlite:///{path}"


def test_what_can_be_no_database_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no database")
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    for name, sentence in {
        "file": "MLflow's database must be a file of SQLite's, but {} is none.",
        "folder": "MLflow's database must be a file that can be written, but {} is none.",
        "file/mlflow.db": "MLflow's database must be in a folder that can be written, but {} is not.",
    }.items():
        with pytest.raises(ValueError, match=rf"^{sentence.format(tmp_path / name)}$"):
            check_file(f"sqlite:///{tmp_path / name}")
    for name in ("empty", "new/mlflow.db"):
        check_file(f"sqlite:///{quote(str(tmp_path / name))}")
    check_file("http://host:5000")
    assert sorted(os.listdir(tmp_path)) == ["empty", "file", "folder"]


def test_a_database_server_that_is_not_there_is_noticed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = "postgresql://me:se/cret@{}:{}/mlflow".format(*server.getsockname())
        knock(uri, 1)
    with pytest.raises(OSError, match="Connection refused"):
        knock(uri, 1)
    for other in ("sqlite:///nowhere/mlflow.db", "http://127.0.0.1:9", "postgresql:///mlflow", "databricks"):
        knock(other, 1)
