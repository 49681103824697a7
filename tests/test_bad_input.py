"""Studies that cannot be: one sentence each, before anything is trained, and nothing of them on the storage."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest

from orchestrator.cli import main
from orchestrator.study.layout import Layout
from orchestrator.study.sweep import Sweep, grid
from orchestrator.study.table import Column
from orchestrator.study.value import Value
from tests.toy.intents import TEST_SETS, Intents, Teacher
from tests.toy.intents_sweep import Options, study
from trainables.config import explain
from trainables.corpora.hf_dataset import HFDataset

Made = tuple[Sweep, Layout]
SPLITS = ("train", "valid", *TEST_SETS)


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def submit(change: Callable[[Sweep, Layout], Made]) -> int:
    def changed(options: Options) -> Made:
        """The study of commands, but for something."""
        return change(*study(options))

    return main(Options, changed, explain, ["--local"])


def with_recipes(sweep: Sweep, axes: dict[str, list[Any]]) -> Sweep:
    """All recipes of a sweep, each with all values of further fields."""
    return replace(sweep, recipes=[found for recipe in sweep.recipes for found in grid(recipe, axes)])


def one_differs(sweep: Sweep, layout: Layout) -> Made:
    return replace(sweep, recipes=[*sweep.recipes, *grid(sweep.recipes[0], {"optimisation.steps": [32]})]), layout


class Selfish(Teacher):
    """A recipe that starts from itself."""

    def needs(self) -> tuple[Teacher, ...]:
        return (self,)


def needs_itself(sweep: Sweep, layout: Layout) -> Made:
    return replace(sweep, recipes=[Intents(teacher=Selfish())]), layout


def unreported_metric(sweep: Sweep, layout: Layout) -> Made:
    return replace(sweep, metric=Value("valid/cer")), layout


def unreported_value(sweep: Sweep, layout: Layout) -> Made:
    (table,) = layout.tables
    columns = [*table.columns, Column("noisy", "noisy test", value=Value("noisy_test/intent_error"))]
    return sweep, replace(layout, tables=[replace(table, columns=columns)])


def empty_subset(sweep: Sweep, layout: Layout) -> Made:
    return with_recipes(sweep, {"subset": [{"share": 0}]}), layout


def stage_without_end(sweep: Sweep, layout: Layout) -> Made:
    return with_recipes(sweep, {"front_end.warmup": [24]}), layout


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (one_differs, "The recipes of a study must differ in its axes alone, weight, seed, but 'optimisation.steps' is "
         "24 in 'student, λ = 0, seed 1' and 32 in 'student, λ = 0, seed 1'."),
        (needs_itself, "A recipe must not need itself, but 'teacher of width 8' does."),
        (unreported_metric, "A value must be one that the recipes report, speaker_test/intent_error, "
         "utterance_test/intent_error, valid/intent_error, but the sweep's `metric` has 'valid/cer'."),
        (unreported_value, "A value must be one that the recipes report, speaker_test/intent_error, "
         "utterance_test/intent_error, valid/intent_error, but intents has 'noisy_test/intent_error'."),
        (empty_subset, "`subset.share` must be greater than 0, but is 0 instead."),
        (stage_without_end, "`warmup` must be less than `steps`, which is 24, but is 24 instead."),
    ],
)  # fmt: skip
def test_a_study_that_cannot_be(
    change: Callable[[Sweep, Layout], Made], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(change) == 2
    told = capsys.readouterr()
    assert told.err == f"{sentence}\n"
    assert list(tmp_path.iterdir()) == []


def folder_of(clips: dict[str, Any], folder: Path) -> HFDataset:
    """A data set in which each split has one row."""
    rows = datasets.Dataset.from_dict({"clip": [clips], "what": ["dim"], "which": ["lamp"]})
    datasets.DatasetDict(dict.fromkeys(SPLITS, rows)).save_to_disk(folder)
    names = {split: split for split in SPLITS}
    return HFDataset(
        language="en", root=str(folder), split_names=names, audio="clip", text=None, labels=("what", "which")
    )


def test_data_without_the_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = folder_of({"bytes": b"", "path": None}, tmp_path / "data")
    capsys.readouterr()
    for fields, missing in (
        ({"labels": ("what", "where", "why")}, "'where', 'why'"), ({"audio": "sound", "labels": ()}, "'sound'"),
    ):  # fmt: skip
        unlike = corpus.model_copy(update=fields)
        assert submit(lambda s, layout, c=unlike: (with_recipes(s, {"corpus": [c.model_dump()]}), layout)) == 2
        must = f"The columns of {tmp_path}/data must include {missing}, but are 'clip', 'what', 'which' instead.\n"
        assert capsys.readouterr().err == must
        assert [path.name for path in tmp_path.iterdir()] == ["data"]


def left_by_training() -> dict[str, set[str]]:
    """What training has left in the folder of each trial, by the trial's label."""
    found = {}
    for trial in Path("runs/intents/trials").iterdir():
        files = [path.name for part in ("result.json", "checkpoints/*", "files/*") for path in trial.glob(part)]
        history = trial / "history.json"
        reports = json.loads(history.read_text())["reports"] if history.exists() else []
        found[json.loads((trial / "recipe.json").read_text())["label"]] = {*files, *(["reports"] if reports else [])}
    return found


def test_data_that_nobody_can_hear(tmp_path: Path, empty_database: Path) -> None:
    """That is found when it is prepared, before any trial begins; with --local the error is for the debugger."""
    begin(empty_database)
    corpus = folder_of({"bytes": b"no sound", "path": None}, tmp_path / "data").model_dump()
    sentence = r"^en train must have at least one usable clip, but has none: \{'undecodable clip': 1\}\.$"
    with pytest.raises(ValueError, match=sentence):
        submit(lambda s, layout: (with_recipes(s, {"corpus": [corpus], "teacher.corpus": [corpus]}), layout))
    assert left_by_training() == {"teacher of width 8": set()}


@pytest.mark.parametrize(
    ("subset", "sentence"),
    [
        ({"count": 200}, r"`subset.count` must be at most what the split has, 96 utterances, but is 200 instead\."),
        ({"count": 9}, r"A subset must have at least one batch, but 9 no\. 0 has 9 utterances of .* s\."),
        ({"share": 0.1}, r"A subset must have at least one batch, but 10 % no\. 0 has 10 utterances of .* s\."),
    ],
)
def test_a_subset_that_cannot_be(subset: dict[str, Any], sentence: str, empty_database: Path) -> None:
    """That is found when the split is there to be counted, before the first step of the trial."""
    begin(empty_database)
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        submit(lambda s, layout: (with_recipes(s, {"subset": [subset]}), layout))
    assert left_by_training()["student, λ = 0, seed 1"] == set()


def begin(database: Path) -> None:
    """Spare the study the second that MLflow takes to make a database."""
    Path("runs").mkdir()
    shutil.copy(database, "runs/mlflow.db")
