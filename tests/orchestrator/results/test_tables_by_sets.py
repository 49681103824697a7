"""Tables whose rows are methods and whose columns are test sets."""

import csv
import io
from collections.abc import Mapping
from dataclasses import replace

import pytest
from rich.console import Console

from orchestrator.results.rendering import FORMS, markdown
from orchestrator.results.rendering.terminal import show
from orchestrator.study.layout import Layout
from orchestrator.study.ledger import Ledger, Result
from orchestrator.study.storage import Storage
from orchestrator.study.stored_study import Study, Submission
from orchestrator.study.sweep import StoredTrial
from orchestrator.study.table import Choice, Column, Published, Row, Table
from orchestrator.study.value import Value
from tests.orchestrator.results.shown import shown, some
from tests.orchestrator.stored import fields

METHODS = [
    Row("none", "no teacher", {"weight": 0.0}),
    Row("half", "λ = 0.5", {"weight": 0.5}),
    Row("others", "Others et al.", None),
    Row("best", "best λ", choice=Choice(["none", "half"], Value("valid/error"))),
]


SETS = [
    Column("clean", "clean", value=Value("clean/error")),
    Column("other", "other", value=Value("other/error")),
    Column("size", "parameters", value=Value("size", unit="M", digits=1, better=None)),
    Column("speed", "speed", value=Value("speed", unit="×", digits=1, better="larger")),
]


PEERS = Published({"none": {"clean": 4.0, "other": "×"}, "others": {"clean": 3.5, "size": 94.7}})


def by_sets() -> Table:
    """A table whose rows are methods and whose columns are test sets and other numbers."""
    return Table("methods", "Methods", METHODS, SETS, Value("clean/error"), PEERS, compared="rows", baseline="none")


def results(*given: Mapping[str, float]) -> dict[tuple[str, str, float, int], Result | None]:
    """Of no teacher and λ = 0.5 in turn, each pair of another seed."""
    places = [("cs", "pretrained", (0.0, 0.5)[i % 2], 1 + i // 2) for i in range(len(given))]
    return {place: Result("finished", metrics) for place, metrics in zip(places, given, strict=True)}


NONE = {"clean/error": 5.0, "other/error": 9.0, "size": 3.0, "speed": 1.0, "valid/error": 7.0}


HALF = {"clean/error": 6.0, "other/error": 8.0, "size": 3.0, "speed": 2.0, "valid/error": 6.5}


def test_columns_are_test_sets_and_rows_are_methods() -> None:
    table = some(results(NONE, HALF), Layout([by_sets()]))
    assert [line for line in markdown(table).splitlines() if line.startswith("|")] == [
        "|  |  | clean | other | parameters | speed | comparable? |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- |",
        "| no teacher | ours | **5.00** | 9.00 | 3.0 | 1.0 |  |",
        "|  | paper | 4.00 (+1.00) | × |  |  | yes |",
        "| λ = 0.5 | ours | 6.00 | **8.00** | 3.0 | **2.0** |  |",
        "| Others et al. | paper | **3.50** |  | 94.7 |  | yes |",
        "| best λ | ours | 6.00 | **8.00** | 3.0 | **2.0** |  |",
    ], "the best of a column, of ours and of the paper's; none is the best of plain numbers"
    assert table.notes[-2:] == ("best λ: λ = 0.5.", "The best is chosen by valid error.")
    rows = list(csv.DictReader(io.StringIO(FORMS["csv"](table))))
    assert [row["clean"] for row in rows] == ["5.0", "6.0", "", "6.0"]
    assert [row["paper_other"] for row in rows] == ["×", "", "", ""]
    for form in FORMS.values():
        assert form(table)
    console = Console(width=80, record=True)
    show(table, console)
    assert "Others et al." in console.export_text()


def test_the_larger_of_what_should_be_large_is_chosen() -> None:
    rows = [*METHODS[:2], Row("best", "fastest", choice=Choice(["none", "half"], SETS[3].value or Value("test/cer")))]
    table = some(results(NONE, HALF), Layout([replace(by_sets(), rows=rows)]))
    assert "fastest: λ = 0.5." in table.notes


def test_what_did_not_converge_is_told() -> None:
    wrong = HALF | {"converged": 0.0}
    few, most = (some(results(NONE, HALF, NONE, wrong, *more), Layout([by_sets()])) for more in ((), (NONE, wrong)))
    assert markdown(few).splitlines()[6].startswith("| λ = 0.5 | ours | 6.00 (× 1 of 2) | **8.00** (× 1 of 2) |")
    assert markdown(most).splitlines()[6].startswith("| λ = 0.5 | ours | × (× 2 of 3) | × (× 2 of 3) |")
    assert list(csv.DictReader(io.StringIO(FORMS["csv"](most))))[1]["clean"] == "×"
    (row,) = [row for row in most.rows if row.name == "best"]
    assert row.lines[0].entries[0].value == 5.0, "what did not converge is not chosen"


def test_a_value_that_no_result_has_is_named() -> None:
    table = some(results({"clean/error": 5.0}, HALF), Layout([by_sets()]))
    assert "| no teacher | ours | **5.00** | no other/error | no size |" in markdown(table)


def test_a_study_without_the_trials_of_a_table_does_not_show_it() -> None:
    first = replace(by_sets(), name="first", rows=METHODS[:1])
    trials = [StoredTrial.of("a", {"label": "a", "fields": fields("cs", "pretrained", 0.0, 1)})]
    ledger = Ledger(Storage.at("memory://nowhere"))
    for where, names in (({"weight": 2.0}, ["first"]), ({"weight": 0.0}, ["first", "second"])):
        rows = [METHODS[2], Row("only", "only", where)]
        second = replace(by_sets(), name="second", rows=rows, baseline=None)
        study = Study(ledger, Submission("some", Layout([first, second]), "", ()), tuple(trials), {})
        assert [sheet.name for sheet in shown(study)] == names


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"baseline": "clean"}, "`baseline` must be a row, one of none, half, others, best, but is 'clean'"),
        ({"contrasts": [("half", "third")]}, "`contrasts` must be of rows, .* but has 'third'"),
        ({"rows": "corpus.language"}, "`rows` of methods must be listed where they are compared, but is a field"),
        ({"columns": [*SETS, SETS[0]]}, "A column of methods must have a name of its own, but two are called 'clean'"),
        ({"rows": [*METHODS, METHODS[0]]}, "A row of methods must have a name of its own, but two are called 'none'"),
        (
            {"rows": [*METHODS, Row("speed", "", value=Value("test/cer"))]},
            "A cell of methods must have one value, but rows and columns have one each",
        ),
    ],
)
def test_a_table_that_cannot_be_is_one_sentence(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        replace(by_sets(), **changes)
