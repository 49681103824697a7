"""Where a study is recorded, and what becomes of it when MLflow or the ledger does not take it."""

import contextlib
import json
import re
import shlex
import shutil
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from orchestrator.study.lease import Lease
from orchestrator.study.storage import Storage
from orchestrator.tracking import tracker as tracking
from tests.orchestrator.cli.submitted import listing, refused, remote, runs_of, study


@pytest.mark.parametrize("name", ["per%41cent a", "a?b#c", "[b]it's[/b] :smile: žluť"])
@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_the_database_is_where_the_storage_is(
    form: str, name: str, tmp_path: Path, empty_database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "there" / name.replace("/", "-")
    folder.mkdir(parents=True)
    shutil.copy(empty_database, folder / "mlflow.db")
    where = form.format(folder if form == "{}" else str(folder).replace("%", "%25"))
    assert study("--local", "--languages", "cs", "--weights", "0", "--storage", where) == 0
    told = capsys.readouterr().out
    assert f"Table: {folder}/toy/table1.md" in told
    mlflow, *command, uri = shlex.split(told.rpartition("\nMLflow: ")[2])
    assert (mlflow, command) == (str(Path(sys.executable).parent / "mlflow"), ["ui", "--backend-store-uri"])
    client = MlflowClient(uri)
    (experiment,) = client.search_experiments(filter_string="name = 'toy'")
    (run,) = client.search_runs([experiment.experiment_id], "tags.`l2s.study` = 'toy'")
    assert "table1.md" in {file.path for file in client.list_artifacts(run.info.run_id)}
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert sorted(path.name for path in folder.iterdir()) == ["mlartifacts", "mlflow.db", "toy"]
    kept = json.loads((folder / "toy" / "layout.json").read_text())["command"]
    assert shlex.split(kept)[-2:] == ["--storage", where]


def damage(database: Path, how: str) -> list[str]:
    """Break MLflow; the arguments that lead there."""
    if how == "no server":
        return ["--tracking-uri", "http://me:swordfish@127.0.0.1:9"]
    if how == "no database":
        database.write_text("no database")
    elif how == "a folder":
        database.unlink()
        database.mkdir()
    else:
        newer = shutil.copy(database, database.with_name("newer.db"))  # MLflow looks once in a process's life
        with contextlib.closing(sqlite3.connect(newer)) as connection:
            connection.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
            connection.commit()
        return ["--tracking-uri", f"sqlite:///{newer}"]
    return []


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        (
            "no server",
            r"^MLflow must answer at http://127.0.0.1:9, but does not: .*Connection refused\. The results are",
        ),
        ("no database", r"^MLflow's database must be a file of SQLite's, but .*/mlflow\.db is none\. The results are"),
        (
            "a folder",
            r"^MLflow's database must be a file that can be written, but .*/mlflow\.db is none\. The results are",
        ),
        (
            "another version",
            r"^MLflow at sqlite:.* must take the study, but does not: Detected out-of-date database schema",
        ),
    ],
)
def test_a_finished_study_shows_its_table_whatever_mlflow_says(
    how: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--local", "--languages", "cs", *damage(tmp_path / "runs" / "mlflow.db", how)]
    capsys.readouterr()
    assert study(*arguments, "--weights", "0") == 1
    told = capsys.readouterr()
    assert "ours" in told.out
    assert "Table: " in told.out
    assert re.search(sentence, told.err), told.err
    assert told.err.count("\n") == 1
    assert "swordfish" not in told.out + told.err
    before = listing(tmp_path / "runs")
    refused([*arguments, "--weights", "0", "0.5"], sentence.replace(r"\. The results are", ""), capsys)
    after = listing(tmp_path / "runs")
    assert {name for name in after if name not in before} == set(), "nothing was begun"


def test_what_mlflow_refuses_in_the_end_is_said_below_the_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, database: None
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise MlflowException("no more files", INVALID_PARAMETER_VALUE)

    monkeypatch.setattr(MlflowClient, "log_artifact", refuse)
    assert study("--local", "--languages", "cs", "--weights", "0") == 1
    told = capsys.readouterr()
    assert "Table: " in told.out
    assert told.err == "MLflow has not recorded everything: no more files\n"


@pytest.mark.usefixtures("finished")
def test_a_deleted_experiment_is_restored_with_its_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    client = MlflowClient(tracking.default_uri(tmp_path / "runs"))
    before = {run.info.run_id for run in runs_of(tmp_path)}
    experiment = client.get_experiment_by_name("toy")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    capsys.readouterr()
    assert study("--local", "--languages", "cs", "--weights", "0") == 0
    told = capsys.readouterr().out
    assert "MLflow's experiment 'toy' was deleted; it is restored, with its runs." in told
    assert "Table: " in told
    assert {run.info.run_id for run in runs_of(tmp_path)} == before
    assert len(before) == 2
    for run in runs_of(tmp_path):  # one that a person has deleted is not brought back, but made again
        client.delete_run(run.info.run_id)
    assert study("--local", "--languages", "cs", "--weights", "0", "0.5") == 0
    assert len(runs_of(tmp_path)) == 3
    assert not before & {run.info.run_id for run in runs_of(tmp_path)}


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("more", [[], ["--plan"]], ids=["run", "plan"])
def test_another_recipe_under_the_same_name(
    more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = listing(tmp_path)
    sentence = r"recipes of study 'toy' must stay as they are .*: `length` is 9, but was 8\. Give another `name`"
    refused(["--local", "--length", "9", *more], sentence, capsys)
    assert listing(tmp_path) == before
    assert study("--local", "--languages", "cs", "--weights", "0", "--length", "9", "--name", "longer") == 0


@pytest.mark.usefixtures("finished")
def test_a_ledger_of_another_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "runs" / "toy" / "study.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 1}))
    before = listing(tmp_path)
    refused(["--local"], "ledger in .*runs/toy must have format 2, but has 1: another version of this program", capsys)
    path.unlink()
    before.pop(str(path))
    refused(["--local"], r"must have a study\.json, but has none; give another `name`", capsys)
    assert listing(tmp_path) == before


@pytest.mark.usefixtures("finished")
def test_a_study_that_runs_already(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:

    with Lease(Storage.at(str(tmp_path / "runs" / "toy"))).hold(print):
        before = listing(tmp_path / "runs")
        assert study("--local") == 1
        assert "must have one submitter at a time, but another one (on" in capsys.readouterr().err
        assert study("--local", "--plan") == 0  # to look is no harm
        assert {k: v for k, v in listing(tmp_path / "runs").items() if "submitter-" not in k} == {
            k: v for k, v in before.items() if "submitter-" not in k
        }


@pytest.mark.parametrize("secret", ["swordfish", "sword/fish ?#@'swordfish"])
@pytest.mark.parametrize("more", [[], ["--trouble", "raise"]], ids=["finished", "failed"])
def test_no_secret_is_written_anywhere(
    more: list[str],
    secret: str,
    s3: str,
    server: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "HF_TOKEN"):
        monkeypatch.setenv(name, "swordfish")
    arguments = ["--local", "--languages", "cs", "--storage", f"{s3}/runs".replace("://", "://me:sword%2Ffish@")]
    arguments += [f"--tracking-uri=http://me:{secret}@mlflow.example:5000?token=sword/fish", *more]
    if more:
        with pytest.raises(ZeroDivisionError):
            study(*arguments)
    else:
        assert study(*arguments) == 0
    told = capsys.readouterr()
    files = remote(Storage.at(s3)) | listing(server.parent)
    assert len(files) > 10
    assert [name for name, content in files.items() if b"fish" in content or "fish" in name] == []
    assert "fish" not in told.out + told.err
    if not more:
        assert "MLflow: http://mlflow.example:5000" in told.out
        assert f"Table: {s3}/runs/toy/table1.md (.tex, .csv, .html); report: {s3}/runs/toy/report.html" in told.out


@pytest.mark.usefixtures("database")
def test_a_study_on_an_object_store(s3: str, capsys: pytest.CaptureFixture[str]) -> None:
    cells = ["--local", "--languages", "cs", "--length", "4"]
    arguments = [*cells, "--storage", f"{s3}/runs", "--tracking-uri", "sqlite:///mlflow.db"]
    assert study(*arguments) == 0
    files = remote(Storage.at(s3))
    assert len([name for name in files if name.endswith("result.json")]) == 2
    assert not [name for name in files if "checkpoints" in name or "submitter-" in name or "/." in name]
    assert study(*cells) == 0
    folder = Path("runs/toy")
    assert Storage.at(f"{s3}/runs/toy").read("table1.csv") == (folder / "table1.csv").read_text()
    assert study(*arguments) == 0
    assert "2 finished, 0 to run" in capsys.readouterr().out.rpartition("toy: ")[2]
