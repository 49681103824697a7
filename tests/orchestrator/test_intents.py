"""The second recipe: its study in this process, its table of test sets, its export, and what an interruption leaves."""

import csv
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from pyarrow import compute, parquet
from safetensors.torch import load_file
from typing_extensions import override

from orchestrator import report
from orchestrator.cli import main
from sweeps import export
from tests.toy.intents import ERROR, INTENTS, TEST_SETS, UTTERANCES, WEIGHTS, Ear, Intents
from tests.toy.intents_sweep import Options, study
from trainables.config import explain
from trainables.run import LocalRun

FORMS = ("intents.md", "intents.csv", "intents.tex", "intents.html", "report.html")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """The storage of the study, finished; its cells and its teacher are trained once for all tests."""
    folder = tmp_path_factory.mktemp("intents")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("L2S_CACHE", str(folder / "cache"))
        patched.delenv("MLFLOW_TRACKING_URI", raising=False)
        storage = folder / "runs"
        storage.mkdir()
        shutil.copy(empty_database, storage / "mlflow.db")
        assert main(Options, study, explain, ["--local", "--storage", str(storage)]) == 0
    return storage


def trials(runs: Path) -> dict[str, Path]:
    """The folders of its trials by their labels."""
    folders = (runs / "intents" / "trials").iterdir()
    return {json.loads((folder / "recipe.json").read_text())["label"]: folder for folder in folders}


def test_its_teacher_is_trained_once(runs: Path) -> None:
    students = [f"student, λ = {weight}, seed {seed}" for weight in (0, 1) for seed in (1, 2)]
    assert sorted(trials(runs)) == [*students, "teacher of width 8"]
    for folder in trials(runs).values():
        assert json.loads((folder / "result.json").read_text())["attempts"] == 1


def test_the_columns_of_its_table_are_test_sets(runs: Path) -> None:
    with (runs / "intents" / "intents.csv").open(newline="") as file:
        rows = {row["row"]: row for row in csv.DictReader(file)}
    for weight in (0, 1):
        for name in TEST_SETS:
            found = [rate(folder, name) for label, folder in trials(runs).items() if f"λ = {weight}," in label]
            assert float(rows[f"weight_{weight}"][name]) == pytest.approx(sum(found) / 2, abs=0.01)
    assert "over speakers" in (runs / "intents" / "intents.md").read_text()
    page = (runs / "intents" / "report.html").read_text()
    assert "new speakers" in page
    assert "short commands" in page


def rate(folder: Path, test_set: str) -> float:
    """The error in percent, from the utterances that a trial kept."""
    table = parquet.read_table(folder / "files" / UTTERANCES)
    errors = table.filter(compute.field("test_set") == test_set)[f"{ERROR}_errors"].to_pylist()
    assert len(errors) == 48
    return 100 * sum(errors) / len(errors)


def test_its_tables_are_rendered_again_without_it(runs: Path, tmp_path: Path) -> None:
    assert report.main([str(runs / "intents"), "--to", str(tmp_path / "again")]) == 0
    for name in FORMS:
        assert (tmp_path / "again" / name).read_bytes() == (runs / "intents" / name).read_bytes(), name


def test_it_is_exported_in_its_own_form(runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    assert export.main([str(runs / "intents"), "--weight", "1", "--seed", "1", "--to", str(folder)]) == 0
    card = (folder / "README.md").read_text()
    front = yaml.safe_load(card.split("---\n")[1])
    assert "library_name" not in front
    measured = {found["dataset"]["split"]: found["metrics"][0] for found in front["model-index"][0]["results"]}
    kept = trials(runs)["student, λ = 1, seed 1"]
    for name in TEST_SETS:
        assert measured[name] == {"type": ERROR, "value": pytest.approx(rate(kept, name), abs=0.01)}
        assert f"On the {name} split, 48 utterances, the likeliest intent:" in card

    description = json.loads((folder / "intents.json").read_text())
    assert description["intents"] == list(INTENTS)
    student = Ear(description["width"])
    student.load_state_dict(load_file(folder / WEIGHTS))
    loader = Intents().loader("speaker_test")
    (batch,) = loader.evaluation(seconds=60, rank=0, world_size=1)
    heard = [INTENTS[i] for i in student(batch.audio)[1].argmax(dim=1).tolist()]
    rows = parquet.read_table(kept / "files" / UTTERANCES, filters=[("test_set", "=", "speaker_test")]).to_pylist()
    assert dict(zip(batch.ids, heard, strict=True)) == {row["id"]: row["hypothesis"] for row in rows}


class Interrupted(Exception):
    """The end of a run that is not the recipe's fault."""


class Interrupting(LocalRun):
    """A run that is broken off after the checkpoint of a step."""

    at: int = 0

    @override
    def report(self, metrics: Mapping[str, float], *, step: int, checkpoint: Path | None = None) -> None:
        super().report(metrics, step=step, checkpoint=checkpoint)
        if step == self.at:
            raise Interrupted


@pytest.mark.parametrize("at", [8, 24, 32], ids=["in the first stage", "between", "in the second"])
def test_an_interruption_in_any_stage_changes_nothing(at: int, tmp_path: Path) -> None:
    recipe = Intents()
    need = LocalRun(tmp_path / "needs" / recipe.teacher.signature())
    need.finish(recipe.teacher.run(need))
    undisturbed = recipe.run(LocalRun(tmp_path / "undisturbed"))
    broken = Interrupting(tmp_path / "resumed")
    broken.at = at
    with pytest.raises(Interrupted):
        recipe.run(broken)
    assert recipe.run(LocalRun(tmp_path / "resumed")) == undisturbed
    for name in (WEIGHTS, UTTERANCES):
        assert (tmp_path / "resumed" / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()
    steps = [report["step"] for report in LocalRun(tmp_path / "resumed").metrics()]
    assert steps == [8, 16, 24, 32, 40, 48, 48]
