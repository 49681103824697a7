import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from matplotlib import rcParams
from matplotlib.figure import Figure
from pyarrow import parquet

from orchestrator.results.evidence import Evidence
from orchestrator.results.figures import WIDTH, by_axis, curves, draw, profile, rendered
from orchestrator.study.layout import ByAxis, Curves, Drawn, Layout, Profile
from orchestrator.study.ledger import History, Ledger, Result
from orchestrator.study.stored_study import Study, Submission
from orchestrator.study.sweep import AnyTrial, StoredTrial, Trial, grid
from orchestrator.study.table import Column, Fact, Head, Published, Row, Table
from orchestrator.study.value import Value
from sweeps.commonvoice20 import PUBLISHED
from sweeps.figures import Cloud, clouds, scatter
from tests.toy.recipe import Toy

WEIGHTS = (0.0, 0.5, 1.0)
COLUMNS = [Column(f"w{w:g}", f"λ = {w:g}", {"weight": w, "length": 8}) for w in WEIGHTS]
OTHERS = [
    Column("alone", "scratch λ = 0", {"weight": 0.0, "length": 2}),
    Column("other", "other λ = 1", {"weight": 1.0, "length": 4}),
]
TABLE = Table(
    "table1",
    "Toys",
    "language",
    [OTHERS[0], *COLUMNS, OTHERS[1]],
    Value("test/cer"),
    Published.read(PUBLISHED / "distill_l2s_table1.csv"),
    baseline="w0",
    head=Head([Fact("language", published="language")], label="language"),
)
BY_WEIGHT = ByAxis("cer_by_weight", "CER by λ.", "table1", "weight", "λ", rest="distilled")
CURVES = Curves("curves", "table1", Value("valid/cer"))
FIGURES = [BY_WEIGHT, Drawn("density", "Figure 2.", "table1", "sweeps.figures:density"), CURVES]
ERRORS = {"cs": (40, 20, 30), "ro": (40, 40, 41), "xx": (40, 39, 38)}
"""Of 400 characters, by λ: better by half, not at all, and by 5 %."""


@pytest.fixture
def trials(toy: Toy) -> list[AnyTrial]:
    axes = {"language": list(ERRORS), "weight": WEIGHTS, "length": [2, 4, 8]}
    return [t for t in map(Trial, grid(toy, axes)) if any(c.holds(t) for c in TABLE.columns)]


@pytest.fixture
def results(trials: list[AnyTrial], ledger: Ledger, tmp_path: Path) -> Mapping[str, Result]:
    """The evidence of all trials, with transcripts and two reports each."""
    found = {}
    for trial in trials:
        language, weight = trial.fields["language"], trial.fields["weight"]
        errors = ERRORS[language][WEIGHTS.index(weight)] * (2 if trial.fields["length"] == 2 else 1)
        parquet.write_table(transcripts(errors, 10 + 5 * len(language)), tmp_path / "utterances.parquet")
        ledger.trial(trial.signature).upload(tmp_path / "utterances.parquet", "files/utterances.parquet")
        history = History()
        for step in (10, 20):
            history.add({"valid/cer": 200 / step + weight}, step=step, time=0)
        history.add({"test/cer": errors / 4}, step=20, time=1)
        ledger.trial(trial.signature).write("history.json", history.dump())
        found[trial.signature] = Result("finished", {"test/cer": errors / 4})
    return found


def transcripts(errors: int, nonblank: int) -> pa.Table:
    """40 utterances of ten characters and 50 frames."""
    columns = {
        "id": [f"{i:02d}" for i in range(40)], "speaker": [""] * 40, "test_set": ["test"] * 40,
        "reference": ["abcde fghi"] * 40, "hypothesis": [""] * 40, "frames": [50] * 40, "cer_length": [10] * 40,
        "nonblank_frames": [nonblank] * 40, "cer_errors": np.bincount(np.arange(errors) % 40, minlength=40).tolist(),
    }  # fmt: skip
    return pa.table(columns)


@pytest.fixture
def evidence(trials: list[AnyTrial], results: Mapping[str, Result], ledger: Ledger) -> Evidence:
    return Evidence.of(TABLE, trials, results, ledger, replications=200)


def study(trials: list[AnyTrial], ledger: Ledger, layout: Layout) -> Study:
    """What is drawn; results stand in the evidence alone."""
    return Study(ledger, Submission("some", layout, "", ()), tuple(trials), {})  # pyright: ignore[reportArgumentType]


def drawings(trials: list[AnyTrial], ledger: Ledger, evidence: Evidence, table: Table = TABLE) -> Mapping[str, bytes]:
    found, undrawn = draw(study(trials, ledger, Layout([table], FIGURES)), {"table1": evidence})
    assert not undrawn
    return found


def test_all_of_them_come_as_equal_bytes(
    trials: list[AnyTrial], results: Mapping[str, Result], ledger: Ledger, evidence: Evidence
) -> None:
    before = dict(rcParams)
    first = drawings(trials, ledger, evidence)
    names = ["cer_by_weight", "density", "curves_cs", "curves_ro", "curves_xx"]
    assert list(first) == [f"{name}.{suffix}" for name in names for suffix in ("png", "svg")]
    again = Evidence.of(TABLE, trials[::-1], results, ledger, replications=200)
    assert drawings(trials[::-1], ledger, again) == first
    assert dict(rcParams) == before
    for name, data in first.items():
        if name.endswith("svg"):
            assert ET.fromstring(data).tag == "{http://www.w3.org/2000/svg}svg"
        else:
            assert data.startswith(b"\x89PNG")
            assert int.from_bytes(data[16:20], "big") == pytest.approx(WIDTH * 200, abs=2), "pixels across"
            assert b"Software" not in data


def test_a_name_is_no_formula(trials: list[AnyTrial], ledger: Ledger, evidence: Evidence) -> None:
    """Matplotlib takes text between dollar signs for mathematics, and some of that for a mistake."""
    columns = [replace(column, heading=rf"$\{{ {column.heading}$") for column in TABLE.columns]
    published = Published({"cs": {"language": "$_$"}})
    assert drawings(trials, ledger, evidence, replace(TABLE, columns=columns, published=published))


def test_errors_by_weight_have_their_intervals(evidence: Evidence) -> None:
    figure = by_axis(BY_WEIGHT, TABLE, evidence)
    assert figure is not None
    czech = figure.axes[0]
    assert [panel.get_title("left") for panel in figure.axes] == ["Czech", "Romanian", "xx"]
    distilled, other = czech.containers
    assert [c.get_label() for c in (distilled, other)] == ["distilled", "other"], "from scratch alone is no line"
    assert list(distilled[0].get_ydata()) == [10, 5, 7.5]
    assert list(other[0].get_ydata()) == [10, 7.5], "a line begins at the baseline"
    ends = [segment[:, 1].tolist() for segment in distilled[2][0].get_segments()]
    intervals = [evidence.cells["cs", column.name].interval for column in COLUMNS]
    for drawn, interval in zip(ends, intervals, strict=True):
        assert drawn == pytest.approx(interval)
    assert len({line.get_linestyle() for line in (distilled[0], other[0])}) == 2
    assert len({line.get_marker() for line in (distilled[0], other[0])}) == 2
    assert [t.get_text() for t in czech.get_xticklabels()] == ["0", "0.5", "1"]


def test_curves_of_a_language(evidence: Evidence, trials: list[AnyTrial], ledger: Ledger) -> None:
    histories = ledger.histories([t.signature for t in trials])
    figure = curves(CURVES, TABLE, "cs", evidence, histories)
    assert figure is not None
    lines = figure.axes[0].lines
    assert [line.get_label() for line in lines] == [c.heading for c in TABLE.columns]
    assert np.array_equal(np.asarray(lines[2].get_xydata()), [[10, 20.5], [20, 10.5]])
    assert len({(str(line.get_linestyle()), line.get_marker()) for line in lines}) == 5
    assert curves(CURVES, TABLE, "cs", evidence, {}) is None


@pytest.mark.parametrize(("last", "scale"), [(11.0, "linear"), (2.5, "log")])
def test_curves_are_drawn_over_a_logarithm_only_where_they_are_far_apart(
    last: float, scale: str, evidence: Evidence, trials: list[AnyTrial]
) -> None:
    reports = [{"step": 10.0, "valid/cer": 14.8}, {"step": 20.0, "valid/cer": last}]
    figure = curves(CURVES, TABLE, "cs", evidence, {trial.signature: History(reports=reports) for trial in trials})
    assert figure is not None
    figure.draw_without_rendering()
    panel = figure.axes[0]
    assert panel.get_yscale() == scale
    low, high = panel.get_ylim()
    assert sum(low <= tick <= high for tick in panel.get_yticks()) >= 2, "labels that a rate can be read from"


def test_figure_2_compares_what_improved_with_what_did_not(evidence: Evidence, ledger: Ledger) -> None:
    groups = clouds(TABLE, evidence, ledger)
    assert [group.label for group in groups] == ["improved by > 10 %: cs", "improved by < 1 %: ro"]
    assert [len(group.lengths) for group in groups] == [40, 40]
    assert all((group.lengths == 10).all() and (group.densities == 0.4).all() for group in groups)
    figure = scatter(groups)
    assert isinstance(figure, Figure)
    markers = [np.shape(c.get_paths()[0].vertices) for c in figure.axes[0].collections]
    assert markers[0] != markers[1], "circles and triangles"
    assert scatter([]) is None


def test_figure_2_is_of_finished_trials(trials: list[AnyTrial], results: Mapping[str, Result], ledger: Ledger) -> None:
    best = next(t for t in trials if (t.fields["language"], t.fields["weight"], t.fields["length"]) == ("cs", 0.5, 8))
    # Of the same cell; it was stopped while its transcripts were uploaded.
    again = StoredTrial("another", "another", best.fields)
    ledger.trial(again.signature).write("files/utterances.parquet", b"PAR1 and no more")
    evidence = Evidence.of(TABLE, [*trials, again], results, ledger, replications=200)
    assert len(evidence.cells["cs", "w0.5"].trials) == 2
    assert [len(group.lengths) for group in clouds(TABLE, evidence, ledger)] == [40, 40]


def test_a_figure_of_one_utterance_and_of_very_many() -> None:
    one = Cloud("one", np.array([7]), np.array([0.5]))
    many = Cloud("many of them, " * 12, np.arange(5000), np.linspace(0, 1, 5000))
    figure = scatter([one, many])
    assert figure is not None
    assert np.shape(figure.axes[0].collections[1].get_offsets()) == (400, 2)
    assert rendered(figure, "png").startswith(b"\x89PNG")


@pytest.mark.parametrize("highest", [0.0, 0.3, 1.0])
def test_densities_lie_between_none_and_all(highest: float) -> None:
    figure = scatter([Cloud("one", np.array([7, 9]), np.array([0.0, highest]))])
    assert figure is not None
    assert figure.axes[0].get_ylim() == (0, highest or 1)
    assert not figure.axes[0].collections[0].get_clip_on(), "whole markers at the ends"


def test_nothing_is_drawn_of_nothing(trials: list[AnyTrial], ledger: Ledger) -> None:
    assert drawings(trials, ledger, Evidence.of(TABLE, trials, {}, ledger)) == {}


def test_rows_that_are_compared_are_the_lines(
    trials: list[AnyTrial], results: Mapping[str, Result], ledger: Ledger
) -> None:
    """Curves of columns that are test sets are drawn once: the trials are the same."""
    rows = [Row(f"w{w:g}", f"λ = {w:g}", {"weight": w, "length": 8, "language": "cs"}) for w in WEIGHTS]
    columns = [Column(name, name, value=Value(f"{name}/cer")) for name in ("test", "valid")]
    table = Table("table1", "", rows, columns, Value("test/cer"), compared="rows", baseline="w0")
    evidence = Evidence.of(table, trials, results, ledger, replications=200)
    figures = [BY_WEIGHT, replace(CURVES, label="CER")]
    found, undrawn = draw(study(trials, ledger, Layout([table], figures)), {"table1": evidence})
    assert not undrawn
    assert [name for name in found if name.endswith("png")] == ["cer_by_weight.png", "curves_test.png"]
    figure = by_axis(BY_WEIGHT, table, evidence)
    assert figure is not None
    assert [panel.get_title("left") for panel in figure.axes] == ["test"], "nothing has a validation value as result"
    assert list(figure.axes[0].containers[0][0].get_ydata()) == [10, 5, 7.5]
    figure = curves(CURVES, table, "test", evidence, ledger.histories([t.signature for t in trials]))
    assert figure is not None
    assert [line.get_label() for line in figure.axes[0].lines] == [row.heading for row in rows]


def test_a_profile_has_the_values_of_one_trial_along_an_axis(trials: list[AnyTrial], ledger: Ledger) -> None:
    """What has fewer points, as a model of fewer layers does, ends earlier; what has none is left out."""
    found = [(t, WEIGHTS.index(t.fields["weight"])) for t in trials if t.fields["length"] == 8]
    results = {
        t.signature: Result(
            "finished", {f"alike/{n}": 1 - 0.1 * n * i for n in range(5 if i < 2 else 3)} | {"test/cer": 1}
        )
        for t, i in found
        if t.fields["language"] != "xx"
    }
    data = Profile("alike", "Alike.", "table1", [(n, Value(f"alike/{n}", unit="")) for n in range(5)], "layer", "alike")
    rows = [Row(f"w{w:g}", f"λ = {w:g}", {"weight": w, "length": 8}) for w in WEIGHTS]
    columns = [Column(language, language, {"language": language}) for language in ("cs", "ro", "xx")]
    table = Table("table1", "", rows, columns, Value("test/cer"), compared="rows")
    evidence = Evidence.of(table, trials, results, ledger)
    figure = profile(data, table, evidence)
    assert figure is not None
    assert [panel.get_title("left") for panel in figure.axes] == ["cs", "ro"]
    lines = figure.axes[0].lines
    assert [line.get_label() for line in lines] == ["λ = 0", "λ = 0.5", "λ = 1"]
    assert np.asarray(lines[1].get_xydata()) == pytest.approx(np.array([[n, 1 - 0.1 * n] for n in range(5)]))
    assert np.asarray(lines[2].get_xydata()) == pytest.approx(np.array([[n, 1 - 0.2 * n] for n in range(3)]))
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
    assert (figure.get_supxlabel(), figure.get_supylabel()) == ("layer", "alike")
    drawn, undrawn = draw(study(trials, ledger, Layout([table], [data])), {"table1": evidence})
    assert not undrawn
    assert list(drawn) == ["alike.png", "alike.svg", "alike.csv"]
    head, first, *others = drawn["alike.csv"].decode().splitlines()
    assert (head, first) == ("row,column,layer,alike", "w0,cs,0,1.0")
    assert "w0.5,ro,4,0.6" in others
    assert len(others) == 2 * (5 + 5 + 3) - 1
    assert draw(study(trials, ledger, Layout([table], [data])), {"table1": Evidence.of(table, trials, {}, ledger)}) == (
        {}, [],
    )  # fmt: skip


def test_the_last_report_adds_nothing_to_a_curve(evidence: Evidence, trials: list[AnyTrial]) -> None:
    """It repeats the value of the student that was kept, maybe that of an earlier step."""
    reports = [{"step": 10.0, "valid/cer": 11.0}, {"step": 20.0, "valid/cer": 12.0}, {"step": 20.0, "valid/cer": 11.0}]
    figure = curves(CURVES, TABLE, "cs", evidence, {trial.signature: History(reports=reports) for trial in trials})
    assert figure is not None
    assert np.asarray(figure.axes[0].lines[0].get_xydata()).tolist() == [[10, 11], [20, 12]]


def test_a_figure_whose_function_is_gone_leaves_the_others(
    trials: list[AnyTrial], ledger: Ledger, evidence: Evidence
) -> None:
    figures = [BY_WEIGHT, Drawn("gone", "", "table1", "no_such_package.figures:gone")]
    found, undrawn = draw(study(trials, ledger, Layout([TABLE], figures)), {"table1": evidence})
    assert set(found) == {"cer_by_weight.png", "cer_by_weight.svg"}
    assert undrawn == [
        "The function of figure gone must be one that can be imported, such as package.module:name, "
        "but 'no_such_package.figures:gone' is not: No module named 'no_such_package'."
    ]
