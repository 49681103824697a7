"""What can be known to be wrong with a study's tables and figures before anything is trained."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.study.layout import ByAxis, Curves, Drawn, Layout, Profile
from orchestrator.study.sweep import StoredTrial, Sweep
from orchestrator.study.table import Choice, Column, Fact, Head, Published, Row, Table
from orchestrator.study.value import Value

ERROR, JUDGED = Value("test/cer"), Value("valid/cer")
COLUMNS = [Column(f"w{weight:g}", f"λ = {weight:g}", {"weight": weight}) for weight in (0.0, 0.5)]
TABLE = Table("table1", "Toys", "language", COLUMNS, ERROR)
BEST = Column("best", "best", choice=Choice(["w0", "w0.5"], JUDGED))


@pytest.fixture
def judged(toys: Sweep) -> Sweep:
    return replace(toys, metric=JUDGED)


def with_choice(choice: Choice) -> Layout:
    return Layout([replace(TABLE, columns=[*COLUMNS, replace(BEST, choice=choice)])])


def test_what_can_be_is_not_refused(judged: Sweep) -> None:
    figures = [
        ByAxis("by_weight", "", "table1", "weight", "λ"),
        Curves("curves", "table1", JUDGED),
        Profile("by_set", "", "table1", [(0, JUDGED), (1, ERROR)], "set"),
        Drawn("density", "", "table1", "sweeps.figures:density"),
    ]
    Layout([replace(TABLE, columns=[*COLUMNS, BEST])], figures).check(judged)
    optimistic = Choice(["w0", "w0.5"], ERROR, note="As in the paper.")
    with_choice(optimistic).check(judged)


@pytest.mark.parametrize(
    ("layout", "sentence"),
    [
        (
            Layout([replace(TABLE, value=Value("test/per"))]),
            "A value must be one that the recipes report, test/cer, valid/cer, but table1 has 'test/per'",
        ),
        (
            Layout([replace(TABLE, columns=[*COLUMNS, Column("other", "", value=Value("other/cer"))])]),
            "but table1 has 'other/cer'",
        ),
        (Layout([TABLE], [Curves("curves", "table1", Value("valid/per"))]), "but curves has 'valid/per'"),
        (
            Layout([TABLE], [Profile("by_layer", "", "table1", [(0, JUDGED), (1, Value("test/per"))], "layer")]),
            "but by_layer has 'test/per'",
        ),
        (
            Layout([TABLE], [Profile("by_layer", "", "table1", [], "layer")]),
            "A profile must have at least one point, but by_layer has none",
        ),
        (with_choice(Choice(["w0"], Value("valid/per"))), "but table1 has 'valid/per'"),
        (
            Layout([replace(TABLE, rows="corpus")]),
            "`rows` of table1 must be a field of the recipes, but 'corpus' is none",
        ),
        (
            with_choice(Choice(["w0", "w1"], JUDGED)),
            r"The choice for 'best' must be among the columns of table1, w0, w0\.5, but has 'w1'",
        ),
        (with_choice(Choice(["w0"], JUDGED, table="table3")), "of a table of the study, but 'table3' is none"),
        (
            with_choice(Choice(["w0"], ERROR)),
            "must be made by a validation value, such as valid/cer, or have a `note` .* but is made by 'test/cer'",
        ),
        (
            Layout([TABLE], [Curves("curves", "table2", JUDGED)]),
            "must be of a table, table1, but curves is of 'table2'",
        ),
        (
            Layout([TABLE], [ByAxis("by_length", "", "table1", "length", "steps")]),
            "The axis of by_length must be a field in which columns differ, but is 'length'",
        ),
        (
            Layout([TABLE], [Drawn("mine", "", "table1", "sweeps.figures:none")]),
            "The function of figure mine must be one that can be imported, .* but 'sweeps.figures:none' is not",
        ),
        (Layout([TABLE], [Drawn("mine", "", "table1", "__main__:draw")]), "a report cannot import the script itself"),
        (Layout([TABLE], [Drawn("mine", "", "table1", "")]), "can be imported"),
    ],
)
def test_what_cannot_be_is_one_sentence(layout: Layout, sentence: str, judged: Sweep) -> None:
    with pytest.raises(ValueError, match=sentence) as refused:
        layout.check(judged)
    assert "\n" not in str(refused.value)


def test_a_metric_that_no_recipe_reports(toys: Sweep) -> None:
    with pytest.raises(ValueError, match="but the sweep's `metric` has 'valid/per'"):
        Layout([TABLE]).check(replace(toys, metric=Value("valid/per")))


def test_of_recipes_that_do_not_say_nothing_is_known(judged: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(judged.recipes[0]), "reports", lambda self: ())
    Layout([replace(TABLE, value=Value("test/per"))]).check(judged)


def test_names_are_of_one_thing_each() -> None:
    with pytest.raises(ValueError, match="A table must have a name of its own, but two are called 'table1'"):
        Layout([TABLE, TABLE])
    curves = Curves("curves", "table1", JUDGED)
    with pytest.raises(ValueError, match="A figure must have a name of its own, but two are called 'curves'"):
        Layout([TABLE], [curves, curves])
    with pytest.raises(ValueError, match="A layout must have at least one table"):
        Layout([])


def test_what_stands_before_a_row_is_a_fact() -> None:
    facts = [Fact("hours", audit="train.seconds", per=3600)]
    assert Head(facts, ours="{hours:.2f} h").ours
    with pytest.raises(ValueError, match="must be of its facts, hours, but has 'minutes'"):
        Head(facts, paper="{minutes} min")
    with pytest.raises(ValueError, match="must be of its facts, none, but has 'language'"):
        Head(label="language")


@pytest.mark.parametrize("name", ["", "/cer", "test/"])
def test_a_value_has_a_name(name: str) -> None:
    with pytest.raises(ValueError, match="A value must have a name such as <set>/<metric>"):
        Value(name)


def test_a_value_is_called_by_its_metric() -> None:
    names = ("test-clean/wer", "test/intent_error", "step", "front_end/seconds")
    assert [Value(name).spoken for name in names] == [
        "test-clean WER", "test intent error", "step", "front_end seconds",
    ]  # fmt: skip
    assert Value("test/cer", "character errors").spoken == "test character errors"
    assert [Value("x", unit=unit, digits=3).brief(7.1234) for unit in ("%", "M", "")] == ["7.1 %", "7.123 M", "7.123"]


def test_a_filter_takes_any_of_several_values() -> None:
    trial = StoredTrial("a", "a", {"weight": 0.5, "betas": [0.9, 0.98]})
    holds = [Column("c", "c", where).holds(trial) for where in (
        {"weight": [0.25, 0.5]}, {"weight": [0.25, 1.0]}, {"betas": [0.9, 0.98]}, {}, None, {"gone": 1},
    )]  # fmt: skip
    assert holds == [True, False, True, True, False, False]


def test_published_numbers(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("system,sigma,clean,other\nbaseline,,4.50,×\nours,0.125,,13.7\n")
    table = Published.read(tmp_path / "table.csv")
    assert table.key == "system"
    assert [table.number("baseline", name) for name in ("clean", "other", "none")] == [4.5, None, None]
    assert [table.has("baseline", name) for name in ("sigma", "clean", "other")] == [False, True, True]
    assert table.fact("ours", "sigma") == 0.125
    assert table.order({"zero", "ours", "baseline", "one"}) == ["baseline", "ours", "one", "zero"]


def test_rows_that_are_listed_are_shown_where_they_have_trials() -> None:
    rows = [Row("cs", "", {"language": "cs"}), Row("ro", "", {"language": "ro"}), Row("peer", "A peer", None)]
    table = replace(TABLE, rows=rows)
    trial = StoredTrial("a", "a", {"language": "ro", "weight": 0.5})
    assert table.places(trial) == [("ro", "w0.5")]
    assert [row.name for row in table.shown([trial])] == ["ro", "peer"]
