"""What a person types, in this process: toys, no cluster."""

import contextlib
import importlib.metadata
import io
import json
import re
import shlex
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from pyarrow import fs

from orchestrator.cli import main
from orchestrator.results import publish
from orchestrator.study.layout import Layout
from orchestrator.study.lease import Lease
from orchestrator.study.storage import Storage
from orchestrator.study.sweep import Sweep
from orchestrator.study.value import Value
from orchestrator.tracking import tracker as tracking
from tests.toy.recipe import Toy
from tests.toy.sweep import Options
from tests.toy.sweep import study as toys
from trainables.config import explain


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def study(*arguments: str) -> int:
    return main(Options, toys, explain, ["--seconds", "0", *arguments])


def listing(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() if p.is_file() else b"" for p in sorted(folder.rglob("*"))}


def remote(storage: Storage) -> dict[str, bytes]:
    found = storage.filesystem.get_file_info(fs.FileSelector(storage.path, recursive=True, allow_not_found=True))
    files = [info for info in found if info.type == fs.FileType.File]
    return {info.path: storage.filesystem.open_input_stream(info.path).read() for info in files}


def test_a_study_again_and_with_more_cells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert study("--local") == 0
    told = capsys.readouterr().out
    assert "toy: 4 trials, 0 finished, 4 to run" in told
    assert "cs data: made" in told
    assert "ro 0.5: finished, test CER" in told
    assert "(4 of 4)" in told
    table = (tmp_path / "runs" / "toy" / "table1.csv").read_bytes()
    results = {p: p.stat().st_mtime_ns for p in (tmp_path / "runs" / "toy" / "trials").glob("*/result.json")}
    assert len(results) == 4

    assert study("--local") == 0
    assert "toy: 4 trials, 4 finished, 0 to run" in capsys.readouterr().out
    assert (tmp_path / "runs" / "toy" / "table1.csv").read_bytes() == table

    assert study("--local", "--languages", "cs", "ro", "fi", "--weights", "0", "0.5", "1") == 0
    assert "toy: 9 trials, 4 finished, 5 to run" in capsys.readouterr().out
    assert all(path.stat().st_mtime_ns == when for path, when in results.items())
    client = MlflowClient(tracking.default_uri(tmp_path / "runs"))
    (experiment,) = client.search_experiments(filter_string="name = 'toy'")
    runs = client.search_runs([experiment.experiment_id])
    assert (len(runs), {run.info.status for run in runs}) == (10, {"FINISHED"})
    assert not list((tmp_path / "runs" / "toy").glob("submitter-*"))


@pytest.mark.usefixtures("database")
def test_what_another_submitter_finishes_meanwhile_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes, and goes, after this one has looked for results and before it holds the study."""
    acquire, log = Lease._acquire, str(tmp_path / "log")

    def late(self: Lease, told: Callable[[str], None]) -> None:
        monkeypatch.setattr(Lease, "_acquire", acquire)
        assert study("--local", "--languages", "cs", "--log", log) == 0
        acquire(self, told)

    monkeypatch.setattr(Lease, "_acquire", late)
    assert study("--local", "--log", log) == 0
    ends = [line.split()[1:3] for line in Path(log).read_text().splitlines() if line.startswith("end")]
    assert ends == [["cs", "0"], ["cs", "0.5"], ["ro", "0"], ["ro", "0.5"]]


@pytest.mark.usefixtures("database")
def test_the_table_is_shown_while_the_study_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    write = Storage.write

    def watched(self: Storage, name: str, content: str | bytes) -> None:
        if name == "table1.md":
            written.append(str(content))
        write(self, name, content)

    monkeypatch.setattr(Storage, "write", watched)
    arguments = ["--local", "--languages", "cs", "--weights", "0", "0.5", "1", "--length", "4"]
    assert main(Options, toys, explain, [*arguments, "--seconds", "0.5", "--update-every", "0.2"]) == 0
    unfinished = [text.count("…") for text in written]
    assert len(written) >= 3
    assert unfinished == sorted(unfinished, reverse=True)
    assert 0 == unfinished[-1] < unfinished[0]
    (run,) = [r for r in runs_of(tmp_path) if "l2s.study" in r.data.tags]
    assert run.data.tags["mlflow.note.content"] == written[-1].removeprefix("# ")
    client = MlflowClient(tracking.default_uri(tmp_path / "runs"))
    names = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"table1.html", "report.html", "figures"} <= names


@pytest.mark.usefixtures("database")
def test_a_table_that_cannot_be_rendered_meanwhile_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sheets, calls = publish.sheets, []

    def broken(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 1:
            raise ValueError("The weather must be fine, but is not.")
        return sheets(*arguments)

    monkeypatch.setattr(publish, "sheets", broken)
    arguments = ["--local", "--languages", "cs", "--weights", "0", "--seconds", "0.2", "--update-every", "0.1"]
    assert main(Options, toys, explain, arguments) == 0
    assert "The table could not be rendered: The weather must be fine, but is not." in capsys.readouterr().out


@pytest.mark.usefixtures("database")
def test_an_error_of_a_local_study_is_for_the_debugger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError, match="this recipe always raises"):
        study("--local", "--trouble", "raise")
    (run,) = [r for r in runs_of(tmp_path) if "l2s.study" in r.data.tags]
    assert run.info.status == "FAILED"
    assert study("--local") == 0  # what `trouble` says is no part of a recipe's identity
    assert {r.info.status for r in runs_of(tmp_path)} == {"FINISHED"}


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("what", ["run", "probe"])
def test_so_is_a_value_error_of_its_recipe(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's for shapes: as a sentence it would not say where."""

    def mistaken(self: Toy, *_: Any) -> None:
        raise ValueError("Expected input batch_size (4) to match target batch_size (3).")

    monkeypatch.setattr(Toy, what, mistaken)
    with pytest.raises(ValueError, match="to match target batch_size") as error:
        study("--local", *(["--plan"] if what == "probe" else []))
    assert error.traceback[-1].name == "mistaken"


@pytest.mark.usefixtures("finished")
def test_a_damaged_result_is_said_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (result,) = (tmp_path / "runs" / "toy" / "trials").glob("*/result.json")
    result.write_text("{")
    refused(["--local"], "result.json must be as this program wrote it, but is damaged", capsys)


def runs_of(tmp_path: Path) -> list:
    client = MlflowClient(tracking.default_uri(tmp_path / "runs"))
    (experiment,) = client.search_experiments(filter_string="name = 'toy'")
    return list(client.search_runs([experiment.experiment_id]))


def test_a_plan_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert study("--local", "--plan") == 0
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == []
    told = capsys.readouterr().out
    assert "toy: 4 trials, 0 finished, 4 to run\n" in told
    assert re.search(r"  cs 0: 8 steps, about 0 s\n", told)
    lines = dict(re.findall(r"^(\w[\w ]+): +(.+)$", told, flags=re.MULTILINE))
    assert lines["Preparations"].startswith("2,")
    assert lines["Resources"] == "1 × (1 CPU) per trial, 1 at once"
    assert re.fullmatch(r"about 0 s by a probe of \w\w [\d.]+; training steps alone", lines["Time"])
    assert lines["GPU hours"] == "none"
    assert re.fullmatch(r"about 0 MiB, of [\d.]+ GiB free", lines["Disk"])
    assert lines["Storage"] == str(tmp_path / "runs" / "toy")


@pytest.mark.usefixtures("database")
def test_an_output_without_such_letters_gets_escapes(ascii_output: Callable[[], io.BytesIO]) -> None:
    printed = ascii_output()
    assert study("--local", "--plan") == 0
    assert rb"Resources:    1 \xd7 (1 CPU) per trial" in printed.getvalue()
    assert study("--local", "--languages", "cs") == 0
    assert rb"\u03bb = 0" in printed.getvalue()


@pytest.mark.usefixtures("database")
def test_a_plan_goes_by_what_is_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert study("--local", "--languages", "cs") == 0
    for path in (tmp_path / "runs" / "toy" / "trials").glob("*/result.json"):
        result = json.loads(path.read_text())
        path.write_text(json.dumps(result | {"seconds": 600.0}))
    before = listing(tmp_path / "runs")
    capsys.readouterr()
    assert study("--local", "--plan", "--languages", "cs", "ro", "fi", "--gpus", "1") == 0
    told = capsys.readouterr().out
    assert "toy: 6 trials, 2 finished, 4 to run" in told
    assert "  ro 0.5: 8 steps, about 10 min\n" in told
    assert re.search(r"^Time: +about 40 min by the ledger$", told, flags=re.MULTILINE)
    assert re.search(r"^GPU hours: +0\.67$", told, flags=re.MULTILINE)
    assert study("--local", "--plan", "--languages", "cs") == 0
    assert re.search(r"^Time: +none$", capsys.readouterr().out, flags=re.MULTILINE)
    assert listing(tmp_path / "runs") == before


def test_a_plan_of_a_study_on_an_object_store_writes_nothing(s3: str) -> None:
    arguments = ["--local", "--plan", "--storage", f"{s3}/runs", "--tracking-uri", "sqlite:///mlflow.db"]
    assert study(*arguments) == 0
    assert remote(Storage.at(s3)) == {}
    assert not Path("mlflow.db").exists()


def refused(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2, one sentence, and no secret in it."""
    capsys.readouterr()
    assert study(*arguments) == 2
    told = capsys.readouterr()
    assert told.err.count("\n") == 1, told.err
    assert re.search(sentence, told.err), told.err
    assert "Traceback" not in told.out + told.err
    assert "swordfish" not in told.out + told.err


@pytest.mark.parametrize("release", ["2.53.0", "1.13.0", "3.0.0.dev0"])
@pytest.mark.parametrize("more", [[], ["--plan"]], ids=["run", "plan"])
def test_another_release_of_ray(
    release: str, more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: {"ray": release}[name])
    refused(more, f"^Ray must be at least 2.54 and below 3, but is {re.escape(release)} instead", capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def two_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster, as far as input is checked against it."""
    monkeypatch.setattr("orchestrator.cluster.runner.join", lambda address, **_: None)
    monkeypatch.setattr("orchestrator.cluster.runner.nodes", lambda: [{"CPU": 2.0, "node:__internal_head__": 1.0}])


@pytest.mark.usefixtures("two_cpus")
@pytest.mark.parametrize("more", [[], ["--plan"]], ids=["run", "plan"])
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--gpus", "1"], "The cluster must have at least 1 GPU for one trial, but has 0"),
        (["--workers", "3"], "The cluster must have at least 3 CPU for one trial, but has 2"),
        (["--pin", "steady"], "`pin` must be a resource of some node, but no node has 'steady'"),
    ],
)
def test_what_the_cluster_lacks(
    arguments: list[str], more: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused([*arguments, *more], sentence, capsys)
    assert not (tmp_path / "runs").exists()


def test_a_recipe_that_no_worker_could_import(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a worker, `__main__` is Ray's own."""
    monkeypatch.setattr(Toy, "__module__", "__main__")
    refused([], "A recipe must be in a module that workers can import, but Toy is in the script itself", capsys)
    assert list(tmp_path.iterdir()) == []
    assert study("--local", "--languages", "cs", "--weights", "0", "--plan") == 0


@pytest.mark.parametrize("more", [[], ["--plan"]], ids=["run", "plan"])
def test_tables_that_cannot_be(more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Refused before anything is trained or written."""

    def unreported(options: Options) -> tuple[Sweep, Layout]:
        """A table of a value that the recipe does not have."""
        sweep, layout = toys(options)
        return sweep, replace(layout, tables=[replace(layout.tables[0], value=Value("test/per"))])

    def unjudged(options: Options) -> tuple[Sweep, Layout]:
        """Nothing that a scheduler could go by."""
        sweep, layout = toys(options)
        return replace(sweep, metric=None), layout

    for made, arguments, sentence in (
        (
            unreported,
            [],
            "A value must be one that the recipes report, test/cer, valid/cer, but table1 has 'test/per'.",
        ),
        (unjudged, ["--scheduler", "asha"], "The sweep must name the `metric` that `scheduler` asha goes by, but"),
    ):
        assert main(Options, made, explain, ["--local", *arguments, *more]) == 2
        told = capsys.readouterr().err
        assert told.startswith(sentence)
        assert told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("more", [[], ["--plan"]], ids=["run", "plan"])
def test_a_cluster_seen_from_outside(more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(["--address", "ray://127.0.0.1:10001", *more], r"`address` must be HOST:PORT of a cluster's head", capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--tracking-uri", "http://me:swordfish@127.0.0.1:9"],
            r"MLflow must answer at http://127\.0\.0\.1:9, but does not: .*Connection refused",
        ),
        (["--tracking-uri", "nonsense://x"], "MLflow must answer at nonsense://x, but does not"),
        (["--storage", "nosuch://x", "--tracking-uri", "http://x"], "must be a folder or a URL, but nosuch://x is not"),
        (["--storage", "memory://runs"], "`tracking_uri` must be given where the storage is no folder, but is not"),
        (["--tracking-uri", ""], "`tracking_uri` must be an MLflow server or a database, but is empty"),
        (["--tracking-uri", "mlruns"], "MLflow at mlruns must take the study, but does not: The filesystem tracking"),
        (
            ["--tracking-uri", "postgresql://u:swordfish/@127.0.0.1:9/db"],
            r"must answer at postgresql://127\.0\.0\.1:9/db, but",
        ),
        (
            ["--storage", "file://u:swordfish@host/runs"],
            "must have an absolute path on this machine, .* file://host/runs has",
        ),
        (["--workers", "0"], "`workers` must be at least 1, but is 0 instead"),
        (["--workers", "2", "--most-workers", "1"], "`most_workers` must be at least `workers`, which is 2, but is 1"),
    ],
)
def test_options_that_cannot_be_used(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(["--local", *arguments], sentence, capsys)
    assert [path.name for path in tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        (
            "RAY_ADDRESS",
            "127.0.0.1:9",
            r"A Ray cluster must run at 127\.0\.0\.1:9, but none does: .*; RAY_ADDRESS names it",
        ),
        (
            "RAY_ADDRESS",
            "ray://me:swordfish@h:1",
            "RAY_ADDRESS must be HOST:PORT of a cluster's head, .* but is ray://h:1",
        ),
        (
            "RAY_ADDRESS",
            "127.0.0.1",
            r"RAY_ADDRESS must be HOST:PORT of a cluster's head, .* but is 127\.0\.0\.1 instead",
        ),
        (
            "MLFLOW_TRACKING_URI",
            "http://me:swordfish@127.0.0.1:9",
            r"MLflow must answer at http://127\.0\.0\.1:9, but does ",
        ),
        (
            "MLFLOW_TRACKING_URI",
            "nonsense://x",
            "MLflow must answer at nonsense://x, but .*; MLFLOW_TRACKING_URI names it",
        ),
        (
            "MLFLOW_TRACKING_URI",
            "file:///mlruns",
            "MLflow at file:///mlruns must take the study, but does not: The file",
        ),
        (
            "MLFLOW_TRACKING_URI",
            "sqlite:////proc/a",
            "MLflow's database must be in a folder that can be written, but /pro",
        ),
        ("L2S_CACHE", "/proc/cache", "L2S_CACHE must be a folder that can be written, but /proc/cache is not"),
        ("L2S_CACHE", "/dev/null", "L2S_CACHE must be a folder that can be written, but /dev/null is not"),
        ("HF_HOME", "/dev/null/hub", "HF_HOME must be a folder that can be written, but /dev/null/hub is not"),
        ("HF_HOME", "~nobody-of-that-name", "HF_HOME must be a folder, but is ~nobody-of-that-name instead"),
    ],
)
def test_a_variable_is_checked_like_an_option(
    variable: str,
    value: str,
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, value)
    begun = time.monotonic()
    refused([] if variable == "RAY_ADDRESS" else ["--local"], sentence, capsys)
    assert time.monotonic() - begun < 10
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("database")
def test_empty_variables_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "HF_HOME"):
        monkeypatch.setenv(name, "")
    assert study("--local", "--languages", "cs", "--weights", "0") == 0
    assert len(runs_of(tmp_path)) == 2


def test_an_option_that_does_not_exist_is_told_without_the_password(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ["--trackng-uri", "http://me:swordfish@host"],
        ["--seconds", "s3://me:swordfish@host"],
        ["--trackng-uri=http://me:sword/fish@host"],
    ):
        with pytest.raises(SystemExit) as ended:
            study(*arguments)
        assert ended.value.code == 2
        told = capsys.readouterr().err
        assert "fish" not in told
        assert arguments[0].partition("=")[0] in told


def test_a_bucket_that_does_not_exist(s3: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--local", "--storage", f"{s3}-not/runs", "--tracking-uri", "sqlite:///mlflow.db"]
    refused(arguments, r"The storage must be in a bucket that exists, but 'bucket-\w+-not' does not", capsys)
    assert not Path("mlflow.db").exists()


@pytest.mark.usefixtures("denied")
@pytest.mark.parametrize("who", ["", "me:swordfish@"])
def test_a_storage_without_credentials(who: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--local", "--storage", f"s3://{who}bucket/runs", "--tracking-uri", "sqlite:///mlflow.db"]
    refused(arguments, "The storage must be readable, but s3://bucket/runs/?.* is not: .*ACCESS_DENIED", capsys)
    assert not Path("mlflow.db").exists()


@pytest.fixture
def database(empty_database: Path, tmp_path: Path) -> None:
    """Spares the study the second that it takes to make one."""
    (tmp_path / "runs").mkdir()
    shutil.copy(empty_database, tmp_path / "runs" / "mlflow.db")
    shutil.copy(empty_database, tmp_path / "mlflow.db")


@pytest.fixture
def finished(database: None) -> None:
    assert study("--local", "--languages", "cs", "--weights", "0") == 0


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
    from orchestrator.study.lease import Lease

    with Lease(Storage.at(str(tmp_path / "runs" / "toy"))).hold(print):
        before = listing(tmp_path / "runs")
        assert study("--local") == 1
        assert "must have one submitter at a time, but another one (on" in capsys.readouterr().err
        assert study("--local", "--plan") == 0  # to look is no harm
        assert {k: v for k, v in listing(tmp_path / "runs").items() if "submitter-" not in k} == {
            k: v for k, v in before.items() if "submitter-" not in k
        }


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
