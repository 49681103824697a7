"""What a person types, in this process: toys, no cluster."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from orchestrator.cli import main
from orchestrator.results import publish
from orchestrator.study.lease import Lease
from orchestrator.study.storage import Storage
from orchestrator.tracking import tracker as tracking
from tests.orchestrator.cli.submitted import listing, refused, remote, runs_of, study
from tests.toy.recipe import Toy
from tests.toy.sweep import Options
from tests.toy.sweep import study as toys
from trainables.config import explain


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
