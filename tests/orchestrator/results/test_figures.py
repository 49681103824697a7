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
from orchestrator.results.figures import WIDTH, Cloud, by_weight, clouds, curves, density, draw, rendered
from orchestrator.study.layout import Column, Layout, Published
from orchestrator.study.ledger import History, Ledger, Result
from orchestrator.study.sweep import StoredTrial, Trial, grid
from sweeps.commonvoice20 import PUBLISHED
from tests.orchestrator.stored import UTTERANCES
from tests.toy.recipe import Toy

WEIGHTS = (0.0, 0.5, 1.0)
COLUMNS = [Column(f"w{w:g}", f"λ = {w:g}", {"weight": w, "length": 8}) for w in WEIGHTS]
OTHERS = [
    Column("alone", "scratch λ = 0", {"weight": 0.0, "length": 2}),
    Column("other", "other λ = 1", {"weight": 1.0, "length": 4}),
]
TABLE1 = Published.read(PUBLISHED / "distill_l2s_table1.csv")
LAYOUT = Layout(
    "Toys",
    "language",
    [OTHERS[0], *COLUMNS, OTHERS[1]],
    Published.read(PUBLISHED / "distill_l2s_table1.csv"),
    "no data",
    baseline="w0",
)
ERRORS = {"cs": (40, 20, 30), "ro": (40, 40, 41), "xx": (40, 39, 38)}
"""Of 400 characters, by λ: better by half, not at all, and by 5 %."""


@pytest.fixture
def trials(toy: Toy) -> list[Trial]:
    axes = {"language": list(ERRORS), "weight": WEIGHTS, "length": [2, 4, 8]}
    return [t for t in map(Trial, grid(toy, axes)) if any(c.holds(t) for c in LAYOUT.columns)]


@pytest.fixture
def results(trials: list[Trial], ledger: Ledger, tmp_path: Path) -> Mapping[str, Result]:
    """Of all trials, with transcripts and two reports each."""
    found = {}
    for trial in trials:
        language, weight = trial.fields["language"], trial.fields["weight"]
        errors = ERRORS[language][WEIGHTS.index(weight)] * (2 if trial.fields["length"] == 2 else 1)
        parquet.write_table(transcripts(errors, 10 + 5 * len(language)), tmp_path / "utterances.parquet")
        ledger.trial(trial.signature).upload(tmp_path / "utterances.parquet", "files/utterances.parquet")
        history = History()
        for step in (10, 20):
            history.add({"valid_cer": 200 / step + weight}, step=step, time=0)
        history.add({"test_cer": errors / 4}, step=20, time=1)
        ledger.trial(trial.signature).write("history.json", history.dump())
        found[trial.signature] = Result("finished", {"test_cer": errors / 4})
    return found


def transcripts(errors: int, nonblank: int) -> pa.Table:
    """40 utterances of ten characters and 50 frames."""
    plain = {"id": [f"{i:02d}" for i in range(40)], "speaker": [""] * 40, "reference": ["abcde fghi"] * 40,
             "hypothesis": [""] * 40, "seconds": [1.0] * 40, "frames": [50] * 40, "nonblank_frames": [nonblank] * 40,
             "char_deletions": np.bincount(np.arange(errors) % 40, minlength=40).tolist()}  # fmt: skip
    return pa.table({name: plain.get(name, [0] * 40) for name in UTTERANCES.names}, schema=UTTERANCES)


@pytest.fixture
def evidence(trials: list[Trial], results: Mapping[str, Result], ledger: Ledger) -> Evidence:
    return Evidence.of(LAYOUT, trials, results, ledger, replications=200)


def test_all_of_them_come_as_equal_bytes(
    trials: list[Trial], results: Mapping[str, Result], ledger: Ledger, evidence: Evidence
) -> None:
    before = dict(rcParams)
    first = draw(LAYOUT, trials, ledger, evidence)
    names = ["cer_by_weight", "density", "curves_cs", "curves_ro", "curves_xx"]
    assert list(first) == [f"{name}.{suffix}" for name in names for suffix in ("png", "svg")]
    again = Evidence.of(LAYOUT, trials[::-1], results, ledger, replications=200)
    assert draw(LAYOUT, trials[::-1], ledger, again) == first
    assert dict(rcParams) == before
    for name, data in first.items():
        if name.endswith("svg"):
            assert ET.fromstring(data).tag == "{http://www.w3.org/2000/svg}svg"
        else:
            assert data.startswith(b"\x89PNG")
            assert int.from_bytes(data[16:20], "big") == pytest.approx(WIDTH * 200, abs=2), "pixels across"
            assert b"Software" not in data


def test_a_name_is_no_formula(trials: list[Trial], ledger: Ledger, evidence: Evidence) -> None:
    """Matplotlib takes text between dollar signs for mathematics, and some of that for a mistake."""
    columns = [replace(column, heading=rf"$\{{ {column.heading}$") for column in LAYOUT.columns]
    published = Published({"cs": {"language": "$_$"}})
    assert draw(replace(LAYOUT, columns=columns, published=published), trials, ledger, evidence)


def test_errors_by_weight_have_their_intervals(evidence: Evidence) -> None:
    figure = by_weight(LAYOUT, evidence, "weight")
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


def test_curves_of_a_language(evidence: Evidence, trials: list[Trial], ledger: Ledger) -> None:
    histories = ledger.histories([t.signature for t in trials])
    figure = curves(LAYOUT, "cs", evidence, histories)
    assert figure is not None
    lines = figure.axes[0].lines
    assert [line.get_label() for line in lines] == [c.heading for c in LAYOUT.columns]
    assert np.array_equal(np.asarray(lines[2].get_xydata()), [[10, 20.5], [20, 10.5]])
    assert len({(str(line.get_linestyle()), line.get_marker()) for line in lines}) == 5
    assert curves(LAYOUT, "cs", evidence, {}) is None


@pytest.mark.parametrize(("last", "scale"), [(11.0, "linear"), (2.5, "log")])
def test_curves_are_drawn_over_a_logarithm_only_where_they_are_far_apart(
    last: float, scale: str, evidence: Evidence, trials: list[Trial]
) -> None:
    reports = [{"step": 10.0, "valid_cer": 14.8}, {"step": 20.0, "valid_cer": last}]
    figure = curves(LAYOUT, "cs", evidence, {trial.signature: History(reports=reports) for trial in trials})
    assert figure is not None
    figure.draw_without_rendering()
    panel = figure.axes[0]
    assert panel.get_yscale() == scale
    low, high = panel.get_ylim()
    assert sum(low <= tick <= high for tick in panel.get_yticks()) >= 2, "labels that a rate can be read from"


def test_figure_2_compares_what_improved_with_what_did_not(evidence: Evidence, ledger: Ledger) -> None:
    groups = clouds(LAYOUT, evidence, ledger)
    assert [group.label for group in groups] == ["improved by > 10 %: cs", "improved by < 1 %: ro"]
    assert [len(group.lengths) for group in groups] == [40, 40]
    assert all((group.lengths == 10).all() and (group.densities == 0.4).all() for group in groups)
    figure = density(groups)
    assert isinstance(figure, Figure)
    markers = [np.shape(c.get_paths()[0].vertices) for c in figure.axes[0].collections]
    assert markers[0] != markers[1], "circles and triangles"
    assert density([]) is None


def test_figure_2_is_of_finished_trials(trials: list[Trial], results: Mapping[str, Result], ledger: Ledger) -> None:
    best = next(t for t in trials if (t.fields["language"], t.fields["weight"], t.fields["length"]) == ("cs", 0.5, 8))
    # Of the same cell; it was stopped while its transcripts were uploaded.
    again = StoredTrial("another", "another", best.fields)
    ledger.trial(again.signature).write("files/utterances.parquet", b"PAR1 and no more")
    evidence = Evidence.of(LAYOUT, [*trials, again], results, ledger, replications=200)
    assert len(evidence.cells["cs", "w0.5"].trials) == 2
    assert [len(group.lengths) for group in clouds(LAYOUT, evidence, ledger)] == [40, 40]


def test_a_figure_of_one_utterance_and_of_very_many() -> None:
    one = Cloud("one", np.array([7]), np.array([0.5]))
    many = Cloud("many of them, " * 12, np.arange(5000), np.linspace(0, 1, 5000))
    figure = density([one, many])
    assert figure is not None
    assert np.shape(figure.axes[0].collections[1].get_offsets()) == (400, 2)
    assert rendered(figure, "png").startswith(b"\x89PNG")


@pytest.mark.parametrize("highest", [0.0, 0.3, 1.0])
def test_densities_lie_between_none_and_all(highest: float) -> None:
    figure = density([Cloud("one", np.array([7, 9]), np.array([0.0, highest]))])
    assert figure is not None
    assert figure.axes[0].get_ylim() == (0, highest or 1)
    assert not figure.axes[0].collections[0].get_clip_on(), "whole markers at the ends"


def test_nothing_is_drawn_of_nothing(trials: list[Trial], ledger: Ledger) -> None:
    assert draw(LAYOUT, trials, ledger, Evidence.of(LAYOUT, trials, {}, ledger)) == {}
