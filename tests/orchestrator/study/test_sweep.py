import shutil
from pathlib import Path

import pytest

from orchestrator.study.sweep import Resources, Sweep, Trial, grid, load
from tests.toy.recipe import Toy
from trainables.corpora.common_voice import CommonVoice
from trainables.recipes.distill_l2s import DistillL2S


def test_grid_is_the_product_of_its_axes(recipe: DistillL2S) -> None:
    cells = grid(recipe, {"corpus.language": ["cs", "ro"], "weight": [0.0, 0.5, 1.0]})
    assert [(c.corpus.language, c.weight) for c in cells] == [(lang, w) for lang in ("cs", "ro") for w in (0, 0.5, 1)]
    assert all(isinstance(c, DistillL2S) for c in cells)


def test_an_axis_must_be_a_field(recipe: DistillL2S) -> None:
    with pytest.raises(ValueError, match=r"must be a field of the recipe, but 'corpus\.locale' is none"):
        grid(recipe, {"corpus.locale": ["cs"]})


def test_a_signature_is_what_decides_the_result_and_nothing_else(recipe: DistillL2S, tmp_path: Path) -> None:
    assert isinstance(recipe.corpus, CommonVoice)
    shutil.copytree(recipe.corpus.root, tmp_path / "elsewhere")
    shutil.copytree(recipe.teacher.model, tmp_path / "teacher")
    moved = grid(
        recipe,
        {"corpus.root": [str(tmp_path / "elsewhere")], "teacher.model": [str(tmp_path / "teacher")]},
    )[0]
    assert moved.signature() == recipe.signature()
    others = [
        *grid(recipe, {"weight": [0.25]}),
        *grid(recipe, {"seed": [2]}),
        *grid(recipe, {"optimisation.steps": [21]}),
        *grid(recipe, {"corpus.language": ["ro"]}),
        *grid(recipe, {"normaliser": [{"kind": "letters_and_marks"}]}),
        *grid(recipe, {"student.encoder": [{"kind": "scratch", "model": recipe.student.encoder.model}]}),
    ]
    assert len({r.signature() for r in [recipe, *others]}) == 7


def test_other_data_is_another_trial(recipe: DistillL2S, tmp_path: Path) -> None:
    assert isinstance(recipe.corpus, CommonVoice)
    shutil.copytree(recipe.corpus.root, tmp_path / "release")
    changed = grid(recipe, {"corpus.root": [str(tmp_path / "release")]})[0]
    table = tmp_path / "release" / "cs" / "train.tsv"
    table.write_text(table.read_text().replace("Abba", "Acid"))
    assert changed.signature() != recipe.signature()


def test_a_description_loads_as_the_same_recipe(recipe: DistillL2S) -> None:
    assert load(Trial(recipe).describe()) == recipe


AXES = ("corpus.language", "weight", "student.encoder", "seed")


def test_equal_recipes_are_one_trial_and_share_preparations(recipe: DistillL2S) -> None:
    cells = grid(recipe, {"corpus.language": ["cs", "ro"], "weight": [0.0, 0.5, 1.0, 0.5]})
    sweep = Sweep("study", cells, axes=AXES)
    assert len(sweep.trials) == 6
    chains = [[str(p) for p in sweep.preparations(trial)] for trial in sweep.trials]
    splits = [["cs train", "cs valid", "cs test"], ["ro train", "ro valid", "ro test"]]
    assert chains[::3] == splits
    assert chains[1] == chains[2] == [*splits[0], "cs train teacher"]
    assert sweep.preparations(sweep.trials[1])[-1] == sweep.preparations(sweep.trials[2])[-1]


def test_what_all_trials_have_in_common_is_all_but_the_axes(recipe: DistillL2S) -> None:
    scratch = {"kind": "scratch", "model": recipe.student.encoder.model}
    cells = grid(recipe, {"corpus.language": ["cs", "ro"], "weight": [0.0, 0.5], "seed": [1, 2]})
    cells += grid(recipe, {"student.encoder": [scratch], "weight": [0.0]})
    common = Sweep("study", cells, axes=AXES).common
    assert all(Sweep("study", [cell], axes=AXES).common == common for cell in cells)
    assert common["type"] == "trainables.recipes.distill_l2s:DistillL2S"
    assert common["optimisation.steps"] == 20
    assert common["teacher.fingerprint"] == recipe.teacher.fingerprint()
    assert not {"corpus.language", "corpus.fingerprint", "corpus.root", "weight", "seed"} & common.keys()
    assert not [path for path in common if path.startswith("student.encoder")]


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(("changes", "told"), [
    ({"optimisation.steps": [21]}, "'optimisation.steps' is 2[01] in .* and 2[01] in "),
    ({"normaliser": [{"kind": "letters_and_marks"}]}, "'normaliser.kind' is 'letters"),
    ({"distillation": [{"kind": "optimal_transport"}]}, "'distillation."),
    ({"teacher.layer": [-1]}, "'teacher.layer' is "),
])  # fmt: skip
def test_recipes_that_differ_in_what_is_no_axis_are_refused(
    changes: dict[str, list[object]], told: str, order: int, recipe: DistillL2S
) -> None:
    cells = grid(recipe, {"corpus.language": ["cs", "ro"], "weight": [0.5]})
    scratch = {"kind": "scratch", "model": recipe.student.encoder.model}
    cells += grid(recipe, {"student.encoder": [scratch], "weight": [0.0]})
    others = [*cells, *grid(cells[1], changes)][::order]
    axes = ("corpus.language", "weight", "student.encoder.kind", "seed")
    assert len(Sweep("study", cells, axes=axes).trials) == 3
    with pytest.raises(ValueError, match=f"must differ in its axes alone, corpus.language, .*, but {told}"):
        _ = Sweep("study", others, axes=axes).trials


def test_types_that_an_axis_chooses_may_have_other_fields_but_not_unlike_ones(recipe: DistillL2S) -> None:
    axes = ("teacher.kind", "teacher.seed")
    random = {"kind": "random_language_model", "model": recipe.teacher.model, "layer": recipe.teacher.layer}
    kinds = grid(recipe, {"teacher": [random, {**random, "seed": 2}]})
    assert len(Sweep("study", [recipe, *kinds], axes=axes).trials) == 3
    unlike = grid(recipe, {"teacher": [{**random, "layer": -1}]})
    for cells in ([recipe, *unlike], [*unlike, recipe], [recipe, *kinds, *unlike]):
        with pytest.raises(ValueError, match=r"'teacher\.layer' is "):
            _ = Sweep("study", cells, axes=axes).trials


def test_a_trial_knows_its_fields_and_the_digests_of_what_they_point_to(recipe: DistillL2S) -> None:
    trial = Trial(recipe)
    assert trial.fields["corpus.language"] == "cs"
    assert trial.fields["student.encoder.kind"] == "pretrained"
    assert trial.fingerprints == {
        "corpus.fingerprint": recipe.corpus.fingerprint(),
        "student.encoder.fingerprint": recipe.student.encoder.fingerprint(),
        "teacher.fingerprint": recipe.teacher.fingerprint(),
    }


FIRST = Toy(language="fi", length=2)
SHARED = Toy(language="fi", length=4, weight=7, start=FIRST)
STARTED = [Toy(language="cs", weight=weight, start=SHARED) for weight in (0.0, 0.5)]
"""They need one recipe, which needs another; both differ from them in fields that are no axes."""


def toys(recipes: list[Toy]) -> Sweep:
    return Sweep("toys", recipes, axes=("language", "weight", "start"))


def test_needs_come_once_and_before_what_starts_from_them() -> None:
    sweep = toys([*STARTED, Toy(language="ro")])
    assert [trial.recipe for trial in sweep.everything] == [FIRST, SHARED, *STARTED, Toy(language="ro")]
    assert [trial.recipe for trial in sweep.trials] == [*STARTED, Toy(language="ro")]
    assert sweep.needed == {FIRST.signature(), SHARED.signature()}
    assert [need.recipe for need in sweep.trials[0].needs] == [SHARED]


def test_a_need_that_is_listed_is_one_trial_with_its_own_places() -> None:
    listed = Toy(language="ro", seconds=3)
    sweep = toys([Toy(language="cs", start=Toy(language="ro", seconds=1)), listed])
    assert [trial.recipe for trial in sweep.everything] == [listed, sweep.trials[0].recipe]


def test_only_needs_of_what_is_missing_are_run() -> None:
    sweep = toys([*STARTED, Toy(language="ro")])
    names = {recipe: recipe.signature() for recipe in (FIRST, SHARED, *STARTED)}

    def missing(*settled: Toy) -> list[object]:
        return [trial.recipe for trial in sweep.missing({names[recipe] for recipe in settled})]

    assert missing() == [FIRST, SHARED, *STARTED, Toy(language="ro")]
    assert missing(*STARTED) == [Toy(language="ro")]
    assert missing(SHARED, STARTED[0]) == [STARTED[1], Toy(language="ro")]
    assert missing(FIRST) == [SHARED, *STARTED, Toy(language="ro")]


def test_what_a_recipe_starts_from_is_part_of_its_name() -> None:
    others = [Toy(language="cs"), *STARTED, Toy(language="cs", start=FIRST)]
    assert len({recipe.signature() for recipe in others}) == 4
    assert Trial(STARTED[0]).describe()["needs"] == [SHARED.signature()]
    assert load(Trial(STARTED[0]).describe()) == STARTED[0]
    assert "needs" not in Trial(FIRST).describe()


class Selfish(Toy):
    """Needs what needs it: the same, but for how it is computed."""

    between: bool = False

    def needs(self) -> tuple[Toy, ...]:
        return (Toy(language="fi"), self.model_copy(update={"between": not self.between, "seconds": 9.0}))


def test_a_recipe_that_needs_itself_is_refused() -> None:
    sweep = Sweep("toys", [Toy(language="cs", start=Selfish(language="ro"))], axes=("language",))
    with pytest.raises(ValueError, match=r"^A recipe must not need itself, but 'ro 0' does\.$"):
        _ = sweep.everything


@pytest.mark.parametrize("name", ["workers", "cpus", "gpus"])
def test_resources_must_be_possible(name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}` must be at least"):
        Resources(**{name: -1})


def test_most_workers_must_not_be_fewer() -> None:
    with pytest.raises(ValueError, match="`most_workers` must be at least `workers`, which is 4, but is 2 instead"):
        Resources(workers=4, most_workers=2)


@pytest.mark.parametrize(
    ("resources", "text"),
    [
        (Resources(), "1 × (1 CPU)"),
        (Resources(2, 4, 0.5), "2 × (4 CPU and 0.5 GPU)"),
        (Resources(1, 0, 0, 4), "1 to 4 × (nothing)"),
    ],
)
def test_resources_for_a_person(resources: Resources, text: str) -> None:
    assert str(resources) == text
