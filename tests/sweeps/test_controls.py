"""The controls as a person runs them, on tiny models, and what their plan is made of."""

import csv
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.study.ledger import Ledger
from orchestrator.study.storage import Storage
from orchestrator.study.sweep import Sweep
from orchestrator.study.table import Table
from sweeps.controls import Options, study
from trainables import testing
from trainables.config import explain
from trainables.recipes.distill_l2s import DistillL2S


@pytest.fixture
def tiny(release: Path, models: Path) -> Options:
    return Options(preset="mini", data=release, student=str(models / "whisper"), teacher=str(models / "bert"), steps=30)


def made(options: Options) -> tuple[Sweep, Table]:
    """The sweep and its one table."""
    sweep, layout = study(options)
    layout.check(sweep)
    (table,) = layout.tables
    return sweep, table


def recipes(sweep: Sweep) -> list[DistillL2S]:
    return [recipe for recipe in sweep.recipes if isinstance(recipe, DistillL2S)]


def names(table: Table) -> list[str]:
    return [column.name for column in table.columns]


def test_the_study_runs_to_its_table(tiny: Options, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--preset", "mini", "--steps", "10", "--languages", "ro", "--weights", "0", "0.5", "--seeds", "1",
        "--data", str(tiny.data), "--student", str(tiny.student), "--teacher", str(tiny.teacher),
        "--storage", str(tmp_path), "--local",
    ]  # fmt: skip
    assert main(Options, study, explain, arguments) == 0
    told = capsys.readouterr().out
    assert "5 trials, 0 finished, 5 to run" in told
    assert "ro, distilled, λ = 0.5, random teacher, seed 1: finished" in told
    with (tmp_path / "teachers-mini" / "table1.csv").open() as file:
        (row,) = csv.DictReader(file)
    ours = ("finetune_0", "distill_0.5", "random_0.5", "shuffled_0.5", "released_0.5")
    assert all(float(row[name]) >= 0 for name in ours)
    assert (row["paper_finetune_0"], row["paper_distill_0.5"], row["paper_random_0.5"]) == ("6.7", "6.81", "")
    assert main(Options, study, explain, arguments) == 0
    assert "5 finished, 0 to run" in capsys.readouterr().out


def test_the_first_study(tiny: Options) -> None:
    sweep, table = made(tiny)
    assert names(table) == [
        "finetune_0", "distill_0.5", "distill_1.0", "random_0.5", "random_1.0", "shuffled_0.5", "shuffled_1.0",
        "released_0.5", "released_1.0",
    ]  # fmt: skip
    assert len(sweep.trials) == 2 * 3 * 9
    assert sweep.axes[0] == table.rows == "corpus.language"
    assert {recipe.corpus.language for recipe in recipes(sweep)} == {"cs", "ro"}
    # With one seed the whole table, before the next.
    assert [recipe.seed for recipe in recipes(sweep)] == [seed for seed in (1, 2, 3) for _ in range(18)]
    assert any(note.startswith("rand: ") for note in table.notes)
    assert table.baseline == "finetune_0"
    controls = ["random", "shuffled", "released"]
    assert list(table.contrasts) == [(f"distill_{w}", f"{c}_{w}") for w in ("0.5", "1.0") for c in controls]
    assert table.reasons
    # Headings in two lines of at most seven characters.
    assert max(len(part) for c in table.columns for part in c.heading.replace(" λ", "\nλ").split("\n")) <= 7


@pytest.mark.parametrize("compare", ["teachers", "losses"])
def test_every_trial_is_in_one_column_and_every_cell_has_one_trial_per_seed(tiny: Options, compare: str) -> None:
    sweep, table = made(Options.model_validate({**tiny.model_dump(), "compare": compare}))
    for trial in sweep.trials:
        assert sum(column.holds(trial) for column in table.columns) == 1
    for column in table.columns:
        inside = [t for t in sweep.trials if column.holds(t)]
        assert sorted((t.fields["corpus.language"], t.fields["seed"]) for t in inside) == [
            (language, seed) for language in ("cs", "ro") for seed in (1, 2, 3)
        ]


def test_a_teachers_seed_is_the_trials(tiny: Options) -> None:
    seeds = [(recipe.seed, recipe.teacher) for recipe in recipes(made(tiny)[0])]
    drawn = [(seed, teacher.seed) for seed, teacher in seeds if teacher.kind != "language_model"]
    assert len(drawn) == 2 * 3 * 6
    assert all(seed == teachers for seed, teachers in drawn)


def test_the_released_code_has_no_bias_and_its_teacher_is_trained(tiny: Options) -> None:
    biases = {(recipe.teacher.kind, recipe.distillation.model_dump()["bias"]) for recipe in recipes(made(tiny)[0])}
    assert biases == {
        ("language_model", True), ("random_language_model", True), ("shuffled_transcripts", True),
        ("trained_along", False),
    }  # fmt: skip


def test_losses_are_compared_at_one_weight(tiny: Options) -> None:
    sweep, table = made(tiny.model_copy(update={"compare": "losses"}))
    assert names(table) == [
        "finetune_0", "distill_0.5", "all_frames_0.5", "linear_0.5", "l1_0.5", "smooth_l1_0.5", "cosine_0.5",
        "transport_0.5",
    ]  # fmt: skip
    assert {recipe.teacher.kind for recipe in recipes(sweep)} == {"language_model"}
    assert sweep.name == "losses-mini"


def test_what_all_trials_have_in_common_does_not_depend_on_which_are_asked_for(tiny: Options) -> None:
    common = made(tiny)[0].common
    part = tiny.model_copy(update={"weights": (1.0,), "seeds": (2,), "languages": ("ro",)})
    assert made(part)[0].common == common
    assert common["student.encoder.kind"] == "pretrained"


def test_another_teacher_under_the_same_name_is_refused(tiny: Options, models: Path, tmp_path: Path) -> None:
    first, storage = made(tiny)[0], Storage.at(str(tmp_path / "runs"))
    Ledger.of(storage, first).open(first)
    more = made(tiny.model_copy(update={"seeds": (4,)}))[0]
    Ledger.of(storage, more).open(more)
    other = made(tiny.model_copy(update={"teacher": str(testing.bert(tmp_path / "bert", width=24))}))[0]
    with pytest.raises(ValueError, match=r"`teacher\.fingerprint \(language_model\)` is .*, but was .* another `name`"):
        Ledger.of(storage, other)


def test_the_baseline_and_the_papers_teacher_are_trials_of_table_1_too(tiny: Options) -> None:
    from sweeps import commonvoice20

    options = commonvoice20.Options.model_validate(tiny.model_dump(exclude={"compare", "weights"}))
    table_1 = {trial.signature for trial in commonvoice20.study(options)[0].trials}
    sweep, table = made(tiny)
    shared = [
        column.name for column in table.columns for t in sweep.trials if column.holds(t) and t.signature in table_1
    ]
    assert set(shared) == {"finetune_0", "distill_0.5", "distill_1.0"}
    assert len(shared) == 18


def test_evaluations_are_spread_over_the_steps(tiny: Options) -> None:
    changed = tiny.model_copy(update={"steps": 1000, "evaluations": 8})
    assert {recipe.optimisation.evaluate_every for recipe in recipes(made(changed)[0])} == {125}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"weights": ()}, "`weights` must have at least one value, but is empty"),
        ({"weights": (-1.0,)}, "`weights` must be at least 0, but has -1"),
        ({"seeds": ()}, "`seeds` must have at least one value, but is empty"),
        ({"evaluations": 0}, "`evaluations` must be at least 1, but is 0 instead"),
        ({"languages": ("xx",)}, "`languages` must be among cs, .* but 'xx' is neither"),
    ],
)
def test_bad_options_are_one_sentence(tiny: Options, changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        made(tiny.model_copy(update=changes))
