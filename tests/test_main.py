import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.toy.intents import SHORT, Intents, Teacher
from tests.toy.recipe import Toy
from trainables.__main__ import main
from trainables.config import Config
from trainables.recipes.distill_l2s import DistillL2S
from trainables.run import LocalRun


def write(folder: Path, recipe: Config) -> Path:
    """The recipe as a trial's folder has it."""
    fields = recipe.model_dump_json()
    (folder / "recipe.json").write_text(f'{{"type": "{recipe.type_name()}", "fields": {fields}}}', encoding="utf-8")
    return folder / "recipe.json"


def test_without_a_recipe_it_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err == "usage: python -m trainables RECIPE.json FOLDER\n"


def test_a_wrong_field_is_one_sentence(recipe: DistillL2S, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, recipe.model_copy(update={"weight": -1}))
    assert main([str(file), str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == "`weight` must be greater than or equal to 0, but is -1.0 instead.\n"


def test_a_trials_recipe_runs_and_resumes(
    recipe: DistillL2S, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, recipe)
    results = []
    for _ in range(2):
        assert main([str(tmp_path / "recipe.json"), str(tmp_path / "run")]) == 0
        results.append(json.loads(capsys.readouterr().out))
    assert results[0] == results[1]
    assert results[0]["step"] == 20


def test_two_workers_of_torchrun_train_what_it_needs_and_then_itself(tmp_path: Path) -> None:
    short = SHORT.model_copy(update={"shares": 2})
    teacher = Teacher(optimisation=short)
    recipe = Intents(teacher=teacher, front_end=short, optimisation=short)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "-m", "trainables"]
    done = subprocess.run(
        [*command, str(write(tmp_path, recipe)), str(tmp_path / "together")],
        env=os.environ | {"PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    alone = LocalRun(tmp_path / "alone")
    need = LocalRun(alone.needs / teacher.signature())
    assert need.finished, "it lies where the other run looks for it too"
    assert json.loads(done.stdout) == pytest.approx(recipe.run(alone))


def test_a_recipe_is_read_whatever_the_locale(
    recipe: DistillL2S, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By default Python reads files as the locale says."""
    monkeypatch.setattr(io, "text_encoding", lambda encoding, stacklevel=2: encoding or "ascii")
    text = write(tmp_path, recipe.model_copy(update={"weight": -1.0})).read_text(encoding="utf-8")
    text = text.replace('{"type"', '{"label": "\u010de\u0161tina", "type"')
    (tmp_path / "recipe.json").write_text(text, encoding="utf-8")
    assert main([str(tmp_path / "recipe.json"), str(tmp_path / "run")]) == 2
    assert "`weight` must be" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [
        "{", "[]", '"text"', '{"weight": 0.5}', '{"type": "no.module:Recipe", "fields": {}}',
        '{"type": "json:Recipe", "fields": {}}', '{"type": "pathlib:Path", "fields": {}}', '{"type": "", "fields": {}}',
    ],
)  # fmt: skip
def test_a_damaged_recipe_is_one_sentence(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "recipe.json").write_text(content)
    assert main([str(tmp_path / "recipe.json"), str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_the_folder_of_another_recipe_is_refused(
    recipe: DistillL2S, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(recipe: DistillL2S) -> int:
        return main([str(write(tmp_path, recipe)), str(tmp_path / "run")])

    assert run(recipe) == 0
    result, metrics = capsys.readouterr().out, (tmp_path / "run" / "metrics.jsonl").read_text()
    for changes in ({"seed": 7}, {"weight": 50.0}, {"weight": 0.0}):
        assert run(recipe.model_copy(update=changes)) == 2
        told = capsys.readouterr()
        assert told.out == ""
        sentence = r".*/run must be new or of this recipe, [0-9a-f]{12}, but is of [0-9a-f]{12} instead\.\n"
        assert re.fullmatch(sentence, told.err)
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == metrics
    # How it is computed is no part of what it is.
    assert run(recipe.model_copy(update={"evaluation_seconds": 3.0})) == 0
    assert capsys.readouterr().out == result


FIRST = Toy(language="fi", length=2, seconds=0)
SHARED = Toy(language="fi", length=4, seconds=0, start=FIRST)


def test_what_a_recipe_needs_is_trained_first_and_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = str(tmp_path / "log")
    shared = SHARED.model_copy(update={"log": log, "start": FIRST.model_copy(update={"log": log})})
    for language in ("cs", "ro"):
        file = write(tmp_path, Toy(language=language, seconds=0, start=shared, log=log))
        assert main([str(file), str(tmp_path / language)]) == 0
        assert json.loads(capsys.readouterr().out)["step"] == 8
    ends = [line.split()[1] for line in Path(log).read_text().splitlines() if line.startswith("end")]
    assert ends == ["fi", "fi", "cs", "ro"]
    assert {path.name for path in (tmp_path / "needs").iterdir()} == {FIRST.signature(), SHARED.signature()}


def test_a_need_that_was_interrupted_is_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    need = Toy(language="fi", seconds=0, trouble="raise_once", log=str(tmp_path / "log"))
    file = write(tmp_path, Toy(language="cs", seconds=0, start=need))
    with pytest.raises(ConnectionError):
        main([str(file), str(tmp_path / "run")])
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    assert main([str(file), str(tmp_path / "run")]) == 0
    assert "cs 0 from fi 0 starts from fi 0, which is trained first, in " in capsys.readouterr().err
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert steps == [2, 4, 6, 8, 8]


class Selfish(Toy):
    """A recipe that needs itself."""

    def needs(self) -> tuple[Toy, ...]:
        return (SHARED, self)


def test_a_recipe_that_needs_itself_is_refused_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(write(tmp_path, Selfish(language="cs"))), str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == "A recipe must not need itself, but cs 0 does.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.json"]
