import io
import json
import re
from pathlib import Path

import pytest

from trainables.__main__ import main
from trainables.recipes.distill_l2s import DistillL2S


def test_without_a_recipe_it_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err == "usage: python -m trainables RECIPE.json FOLDER\n"


def test_a_wrong_field_is_one_sentence(recipe: DistillL2S, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps({**recipe.model_dump(), "weight": -1}))
    assert main([str(tmp_path / "recipe.json"), str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == "`weight` must be greater than or equal to 0, but is -1 instead.\n"


def test_a_trials_recipe_runs_and_resumes(
    recipe: DistillL2S, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps({"type": "…", "fields": recipe.model_dump()}))
    results = []
    for _ in range(2):
        assert main([str(tmp_path / "recipe.json"), str(tmp_path / "run")]) == 0
        results.append(json.loads(capsys.readouterr().out))
    assert results[0] == results[1]
    assert results[0]["step"] == 20


def test_a_recipe_is_read_whatever_the_locale(
    recipe: DistillL2S, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By default Python reads files as the locale says."""
    monkeypatch.setattr(io, "text_encoding", lambda encoding, stacklevel=2: encoding or "ascii")
    fields = recipe.model_copy(update={"weight": -1.0}).model_dump_json()
    (tmp_path / "recipe.json").write_text(f'{{"type": "\u010de\u0161tina", "fields": {fields}}}', encoding="utf-8")
    assert main([str(tmp_path / "recipe.json"), str(tmp_path / "run")]) == 2
    assert "`weight` must be" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["{", "[]", '"text"'])
def test_a_damaged_recipe_is_one_sentence(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "recipe.json").write_text(content)
    assert main([str(tmp_path / "recipe.json"), str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_the_folder_of_another_recipe_is_refused(
    recipe: DistillL2S, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(recipe: DistillL2S) -> int:
        (tmp_path / "recipe.json").write_text(recipe.model_dump_json())
        return main([str(tmp_path / "recipe.json"), str(tmp_path / "run")])

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
