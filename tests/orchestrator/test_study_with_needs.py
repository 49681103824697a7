"""A study whose cells start from what other recipes have made, in this process."""

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.cli import main
from orchestrator.study.ledger import Ledger, Result
from orchestrator.study.storage import Storage
from orchestrator.study.stored_study import Study
from orchestrator.tracking.tracker import SIGNATURE, default_uri
from tests.toy.recipe import Toy
from tests.toy.sweep import Options
from tests.toy.sweep import study as toy_study
from trainables.config import explain

CELLS = ["--languages", "cs", "--weights", "0", "--start", "4", "--seconds", "0"]
NEED = Toy(language="cs", length=4)


@pytest.fixture(autouse=True)
def _place(empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "runs").mkdir()
    shutil.copy(empty_database, tmp_path / "runs" / "mlflow.db")


def study(*arguments: str) -> int:
    return main(Options, toy_study, explain, ["--local", *CELLS, *arguments])


def ledger() -> Ledger:
    return Ledger(Storage.at("runs/toy"))


def ends(log: Path) -> list[str]:
    """The trials that ended, in their order, without the processes and times."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [re.sub(r" \d+ \d+ [\d.]+$", "", line.removeprefix("end ")) for line in lines if line.startswith("end")]


def children() -> Sequence[str]:
    """Names of the trials' runs on MLflow, all of which are finished."""
    client = MlflowClient(default_uri(Path("runs")))
    (experiment,) = client.search_experiments(filter_string="name = 'toy'")
    runs = [run for run in client.search_runs([experiment.experiment_id]) if SIGNATURE in run.data.tags]
    assert {run.info.status for run in runs} == {"FINISHED"}
    return sorted(str(run.info.run_name) for run in runs)


def test_each_need_is_a_trial_that_runs_once_and_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    cells = ["--log", str(log), "--weights", "0", "0.5"]
    assert study(*cells) == 0
    told = capsys.readouterr().out
    assert "toy: 2 trials and 1 that they start from, 0 finished, 3 to run" in told
    assert "(3 of 3)" in told
    everything = ["cs 0", "cs 0 from cs 0", "cs 0.5 from cs 0"]
    assert ends(log) == children() == everything
    # The need would do for a cell: it has the language of the row and the weight of a column.
    assert shown() == everything[1:]
    result = ledger().result(NEED.signature())
    assert result is not None
    assert result.status == "finished"
    assert ledger().trial(NEED.signature()).names() == ["files", "history.json", "recipe.json", "result.json"]

    # More cells start from what is there.
    assert study(*cells, "1") == 0
    assert "toy: 3 trials and 1 that they start from, 3 finished, 1 to run" in capsys.readouterr().out
    assert ends(log)[3:] == ["cs 1 from cs 0"]


def shown() -> list[str]:
    return [trial.label for trial in Study.at("runs/toy").trials]


def test_a_need_that_was_listed_once_keeps_its_place_in_the_table() -> None:
    assert study("--length", "4") == 0
    assert shown() == ["cs 0 from cs 0"]
    assert study("--length", "4", "--start", "0") == 0
    assert "cs 0" in shown()
    assert study("--length", "4") == 0
    assert shown() == ["cs 0", "cs 0 from cs 0"]


def fail(need: Toy) -> None:
    """Leave a study in which this has been given up."""
    sweep, _ = toy_study(Options(languages=("cs",), weights=(0.0,), start=4, seconds=0))
    found = Ledger.of(Storage.at("runs"), sweep)
    found.open(sweep)
    found.finish(need.signature(), Result("failed", reason="MemoryError: too large"))


def test_a_need_that_has_failed_fails_its_cells_until_it_is_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    fail(NEED)
    assert study() == 1
    told = capsys.readouterr().out
    assert "1 trials and 1 that they start from, 0 finished, 1 failed, 1 to run" in told
    assert "cs 0 from cs 0: failed: It starts from cs 0, which has failed: MemoryError: too large" in told
    assert "2 of 2 trials have failed; --retry-failed tries them again." in told
    assert study("--retry-failed") == 0
    assert "0 finished, 2 to run" in capsys.readouterr().out
    assert children() == ["cs 0", "cs 0 from cs 0"]


def test_a_trial_that_was_stopped_early_goes_on_where_others_start_from_it() -> None:
    fail(NEED)
    ledger().finish(NEED.signature(), Result("stopped", {"step": 2}, reason="worse than others"))
    assert study("--scheduler", "asha") == 0
    result = ledger().result(NEED.signature())
    assert result is not None
    assert result.status == "finished"


def test_a_need_that_was_interrupted_goes_on_from_its_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--start", "8", "--trouble", "raise_once", "--log", str(tmp_path / "log")]
    with pytest.raises(ConnectionError):
        study(*arguments)
    assert study(*arguments) == 0
    assert "2 to run, 1 of them from a checkpoint" in capsys.readouterr().out
    found = ledger().results((ledger().storage / "trials").names())
    assert sorted(result.attempts for result in found.values()) == [1, 2]


def test_a_plan_has_the_time_of_the_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert study() == 0
    for path in Path("runs/toy/trials").glob("*/result.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"seconds": 600.0}))
    # 4 steps and 8 steps of 10 minutes: a step takes 113 seconds.
    capsys.readouterr()
    assert study("--plan", "--languages", "cs", "ro", "--weights", "0", "0.5", "1") == 0
    told = capsys.readouterr().out.splitlines()
    assert "6 trials and 2 that they start from, 2 finished, 6 to run" in told[0]
    assert told[1:4] == [
        "  ro 0: 4 steps, about 8 min, needed by 3",
        "  cs 0.5 from cs 0: 8 steps, about 15 min",
        "  cs 1 from cs 0: 8 steps, about 15 min",
    ]
    assert re.search(r"^Time: +about 82 min by the ledger$", "\n".join(told), flags=re.MULTILINE)


class Selfish(Toy):
    """A recipe that needs itself."""

    def needs(self) -> tuple[Toy, ...]:
        return (self,)


def test_a_recipe_that_needs_itself_is_refused_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def selfish(options: Options) -> tuple:
        sweep, layout = toy_study(options)
        recipes = [r.model_copy(update={"start": Selfish(language="fi")}) for r in sweep.recipes]  # pyright: ignore
        return replace(sweep, recipes=recipes), layout

    assert main(Options, selfish, explain, ["--local", *CELLS]) == 2
    assert capsys.readouterr().err == "A recipe must not need itself, but 'fi 0' does.\n"
    assert not (tmp_path / "runs" / "toy").exists()
