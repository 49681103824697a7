import shutil
from pathlib import Path

import pytest

from orchestrator.sweep import Resources, Sweep, Trial, grid, load, signature
from trainables.recipes.distill_l2s import DistillL2S


def test_grid_is_the_product_of_its_axes(recipe: DistillL2S) -> None:
    cells = grid(recipe, {"corpus.language": ["cs", "ro"], "weight": [0.0, 0.5, 1.0]})
    assert [(c.corpus.language, c.weight) for c in cells] == [(lang, w) for lang in ("cs", "ro") for w in (0, 0.5, 1)]
    assert all(isinstance(c, DistillL2S) for c in cells)


def test_an_axis_must_be_a_field(recipe: DistillL2S) -> None:
    with pytest.raises(ValueError, match=r"must be a field of the recipe, but 'corpus\.locale' is none"):
        grid(recipe, {"corpus.locale": ["cs"]})


def test_a_signature_is_what_decides_the_result_and_nothing_else(recipe: DistillL2S, tmp_path: Path) -> None:
    shutil.copytree(recipe.corpus.root, tmp_path / "elsewhere")
    shutil.copytree(recipe.teacher.model, tmp_path / "teacher")
    moved = grid(
        recipe,
        {"corpus.root": [str(tmp_path / "elsewhere")], "teacher.model": [str(tmp_path / "teacher")]},
    )[0]
    assert signature(moved) == signature(recipe)
    others = [
        *grid(recipe, {"weight": [0.25]}),
        *grid(recipe, {"seed": [2]}),
        *grid(recipe, {"optimisation.steps": [21]}),
        *grid(recipe, {"corpus.language": ["ro"]}),
        *grid(recipe, {"normaliser": [{"kind": "letters_and_marks"}]}),
        *grid(recipe, {"student.encoder": [{"kind": "scratch", "model": recipe.student.encoder.model}]}),
    ]
    assert len({signature(r) for r in [recipe, *others]}) == 7


def test_other_data_is_another_trial(recipe: DistillL2S, tmp_path: Path) -> None:
    shutil.copytree(recipe.corpus.root, tmp_path / "release")
    changed = grid(recipe, {"corpus.root": [str(tmp_path / "release")]})[0]
    table = tmp_path / "release" / "cs" / "train.tsv"
    table.write_text(table.read_text().replace("Abba", "Acid"))
    assert signature(changed) != signature(recipe)


def test_a_description_loads_as_the_same_recipe(recipe: DistillL2S) -> None:
    assert load(Trial(recipe).describe()) == recipe


def test_equal_recipes_are_one_trial_and_share_preparations(recipe: DistillL2S) -> None:
    cells = grid(recipe, {"corpus.language": ["cs", "ro"], "weight": [0.0, 0.5, 1.0, 0.5]})
    sweep = Sweep("study", cells)
    assert len(sweep.trials) == 6
    chains = sweep.preparations(sweep.trials)
    assert [[str(p) for p in chain] for chain in chains] == [
        ["cs train", "cs valid", "cs test", "cs train teacher"],
        ["ro train", "ro valid", "ro test", "ro train teacher"],
    ]


@pytest.mark.parametrize("name", ["workers", "cpus", "gpus"])
def test_resources_must_be_possible(name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}` must be at least"):
        Resources(**{name: -1})
