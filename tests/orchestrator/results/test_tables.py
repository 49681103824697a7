import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.results.evidence import Cell, Evidence
from orchestrator.results.rendering import FORMS, markdown
from orchestrator.results.rendering.terminal import show
from orchestrator.results.sheet import Sheet
from orchestrator.results.statistics import OverSeeds
from orchestrator.results.tables import sheets
from orchestrator.study.layout import Layout
from orchestrator.study.ledger import Ledger, Result
from orchestrator.study.storage import Storage
from orchestrator.study.stored_study import Study, Submission
from orchestrator.study.sweep import StoredTrial
from orchestrator.study.table import Column, Table
from orchestrator.study.value import Value
from sweeps.commonvoice20 import LANGUAGES, Options, layout
from tests.orchestrator.results.shown import shown, some
from tests.orchestrator.stored import store

CER = Value("test/cer")


@pytest.fixture(scope="module")
def hundred(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    return store(Storage.at(str(tmp_path_factory.mktemp("hundred"))))


def tables(ledger: Ledger) -> tuple[Sheet, Sheet | None]:
    first, *others = shown(Study.read(ledger))
    return first, others[0] if others else None


def told(evidence: Evidence) -> tuple[str, ...]:
    """The notes of the paper's table, of a study that has nothing else."""
    plain = layout(Options(), "no speech")
    study = Study(Ledger(Storage.at("memory://nowhere")), Submission("some", plain, "", ()), (), {})
    return sheets(study, {"table1": evidence, "table2": Evidence({}, {})})[0].notes


def finished(value: float) -> Result:
    return Result("finished", {"test/cer": value})


def test_cells_are_means_over_seeds_and_rows_are_the_papers() -> None:
    table = some(
        {
            ("ro", "pretrained", 1.0, 1): finished(7.0),
            ("cs", "scratch", 0.0, 1): finished(99.994),
            ("cs", "pretrained", 0.0, 1): finished(20.0),
            ("cs", "pretrained", 0.0, 2): finished(30.0),
            ("cs", "pretrained", 0.25, 1): finished(24.0),
            ("cs", "pretrained", 0.5, 1): finished(24.004),
        }
    )
    head, first = FORMS["csv"](table).splitlines()[:2]
    assert head.startswith(
        "locale,language,hours,paper_group,paper_hours,paper_text_gb,scratch_0,finetune_0,distill_0.25,distill_0.5,distill_1.0,"
        "paper_scratch_0,paper_finetune_0,paper_distill_0.25,paper_distill_0.5,paper_distill_1.0,scratch_0_low,"
    )
    assert first.startswith("cs,Czech,,< 5 h,1,14.9,99.99,25.0,24.0,24.0,,53.07,7.4,7.43,7.13,7.13,,,,,1,,,,,2,")
    assert first.endswith(",yes,no speech")
    assert markdown(table).splitlines()[:8] == [
        "# Table 1 of Distill-L2S, CER (%), no speech",
        "",
        "| Speech (paper) | Language |  | scratch λ = 0 | tuned λ = 0 | λ = 0.25 | λ = 0.5 | λ = 1 | comparable? |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
        "| &lt; 5 h | Czech | ours | 99.99 | 25.00 | **24.00** | **24.00** | … |  |",
        "|  | 1 h, 14.9 GB | paper | 53.07 (+46.92) | 7.40 (+17.60) | 7.43 (+16.57) | **7.13** (+16.87) | **7.13** "
        "| yes |",
        "| &lt; 10 h | Romanian | ours | … | … | … | … | **7.00** |  |",
        "|  | 9 h, 11 GB | paper | 80.17 | 6.70 | 6.75 | 6.81 | **6.69** (+0.31) | yes |",
    ]
    assert "- A note." in markdown(table)


def lines_of(text: str, *words: str) -> list[str]:
    """The lines that have all these words in them."""
    return [line for line in text.splitlines() if all(word in line for word in words)]


@pytest.fixture
def audited(tmp_path: Path) -> Ledger:
    """Of a language that the paper has and one that it does not have, each with 24 clips of 36 s to train on."""
    return store(Storage.at(str(tmp_path)), ["cs", "xx"])


def test_the_papers_data_stand_in_the_papers_line_and_ours_in_ours(audited: Ledger) -> None:
    table, _ = tables(audited)
    console = Console(width=80, record=True)
    show(table, console)
    for text in (FORMS["md"](table), FORMS["tex"](table), console.export_text()):
        (paper,) = lines_of(text, "1 h, 14.9 GB")
        assert "paper" in paper
        assert "ours" not in paper
        ours = lines_of(text, "0.24 h")
        assert all("ours" in line for line in ours)
        assert [line.count(name) for line, name in zip(ours, ("Czech, 0.24 h", "xx, 0.24 h"), strict=True)] == [1, 1]
    page = FORMS["html"](table)
    assert page.count('<th scope="row">ours<span class="range">0.24 h</span></th>') == 2
    assert page.count('<th scope="row">paper<span class="range">1 h, 14.9 GB</span></th>') == 1
    assert page.count("14.9 GB") == 1
    czech, other = csv.DictReader(io.StringIO(FORMS["csv"](table)))
    assert (czech["hours"], czech["paper_hours"], czech["paper_text_gb"], czech["paper_group"]) == (
        "0.24", "1", "14.9", "< 5 h",
    )  # fmt: skip
    assert (other["hours"], other["paper_hours"], other["paper_text_gb"], other["paper_group"]) == ("0.24", "", "", "")


def test_the_papers_groups_are_called_so(audited: Ledger) -> None:
    table, _ = tables(audited)
    console = Console(width=80, record=True)
    show(table, console)
    assert lines_of(console.export_text(), "< 5 h (paper)")
    assert not lines_of(console.export_text(), "other (paper)")
    assert "| Speech (paper) |" in FORMS["md"](table)
    assert "Speech (paper) &" in FORMS["tex"](table)
    assert "Speech &lt; 5 h (paper)<" in FORMS["html"](table)
    assert "Speech other<" in FORMS["html"](table)


@pytest.mark.parametrize("audit", [None, {}, {"train": {}}, {"train": {"seconds": None}}, {"train": []}])
def test_without_an_audit_the_size_of_ours_is_blank(audit: object, audited: Ledger, tmp_path: Path) -> None:
    for path in tmp_path.glob("trials/*/files/audit.json"):
        if audit is None:
            path.unlink()
        else:
            path.write_text(json.dumps(audit))
    table, _ = tables(audited)
    console = Console(width=80, record=True)
    show(table, console)
    assert [row.lines[0].size for row in table.rows] == ["", ""]
    assert "| Czech | ours |" in FORMS["md"](table)
    (paper,) = lines_of(console.export_text(), "1 h, 14.9 GB")
    assert "paper" in paper
    assert next(csv.DictReader(io.StringIO(FORMS["csv"](table))))["hours"] == ""


def test_a_cell_without_a_value_says_why() -> None:
    nothing = Result("stopped", {"test/cer": 1.0})  # its value is of no test
    table = some(
        {
            ("cs", "scratch", 0.0, 1): Result("stopped"),
            ("cs", "scratch", 0.0, 2): Result("failed", reason="why"),
            ("cs", "pretrained", 0.0, 1): nothing,
            ("cs", "pretrained", 0.25, 1): Result("failed"),
            ("cs", "pretrained", 0.25, 2): finished(2.0),
        }
    )
    assert "| ours | failed | stopped | **2.00** (1 of 2) | … | … |" in markdown(table)
    for form in FORMS.values():
        assert ("failed" in form(table)) is (form is not FORMS["csv"])
    console = Console(width=80, record=True)
    show(table, console)
    assert "1 of 2" in console.export_text()


def test_a_language_that_the_paper_does_not_have_stands_alone() -> None:
    table = some({("xx", "pretrained", 0.5, 1): finished(3.0), ("cs", "pretrained", 0.5, 1): finished(4.0)})
    assert [row.name for row in table.rows] == ["cs", "xx"]
    assert [len(row.lines) for row in table.rows] == [2, 1]
    assert [group for group, _ in table.groups] == ["< 5 h", "other"], "not in the group above it"
    assert "\n| other | xx | ours |" in markdown(table)


def test_the_best_and_what_differs_are_marked(hundred: Ledger) -> None:
    table, _ = tables(hundred)
    assert [row.name for row in table.rows] == list(LANGUAGES)
    entries = table.rows[0].lines[0].entries
    assert entries[0].significant  # from scratch is much worse
    assert not entries[1].significant  # the baseline itself
    assert [entry.best for entry in entries] == [entry.value == min(e.value or 0 for e in entries) for entry in entries]
    assert all(entry.spread and entry.range for entry in entries)
    notes = " ".join(table.notes)
    assert "expanded percentiles of a bootstrap over speakers" in notes
    assert "Holm-adjusted over 80 comparisons" in notes


def test_the_seeds_that_there_are_stand_under_the_table() -> None:
    both = {("cs", "pretrained", 0.0, seed): finished(20.0) for seed in (10, 2)}
    assert "Seeds: 2, 10." in some(both).notes
    assert any(
        note.startswith("Seeds: 1, 2, 10. ") for note in some({**both, ("ro", "scratch", 0.0, 1): finished(85.0)}).notes
    )
    table = some({**both, ("cs", "pretrained", 0.5, 2): finished(19.0), ("ro", "pretrained", 0.5, 2): None})
    assert (
        "Seeds: 2, 10. Not all of them: Czech, λ = 0.5 (2). Two cells are compared over those of both." in table.notes
    )


def test_a_cell_of_unlike_trials_is_told() -> None:
    one, two = (StoredTrial(name, name, {"seed": 1}) for name in ("one", "two"))
    cell = Cell(CER, (one, two), (finished(20.0), finished(10.0)), finished=(one, two), repetitions=(1,))
    assert told(Evidence({("cs", "finetune_0"): cell}, {})) == (
        "Seed: 1. Means of unlike trials of one seed: Czech, tuned λ = 0.",
    )


def test_a_cell_without_transcripts_is_told(tmp_path: Path) -> None:
    ledger = store(Storage.at(str(tmp_path)), ["cs", "ro"])
    assert not any(note.startswith("No interval") for note in tables(ledger)[0].notes)
    next(tmp_path.rglob("utterances.parquet")).unlink()
    assert "No interval: 1 of 10 cells, whose trials kept no transcripts, or unlike ones." in tables(ledger)[0].notes


@pytest.mark.parametrize("width", range(50, 120, 7))
def test_no_number_is_cut_off_on_a_terminal(width: int) -> None:
    weights = (0.0, 0.25, 0.5, 0.75, 1.0)
    plain = layout(Options(weights=weights), "no speech")
    table = some({("cs", "pretrained", w, 1): finished(100.0) for w in weights}, plain)
    console = Console(width=width, record=True)
    show(table, console)
    text = console.export_text()
    assert text.count("100.00") == len(weights)
    assert text.count("…") == 1  # from scratch, which has no result


def test_several_seeds_are_compared_together() -> None:
    over = OverSeeds(-0.5, 0.25, 0.03125, 6)
    assert told(Evidence({("cs", "finetune_0"): Cell(CER)}, {("distill_0.5", "finetune_0"): over})) == (
        "λ = 0.5 against tuned λ = 0, over 6 pairs of rows and seeds: −0.50 points (deviation 0.25), p = 0.031.",
        "Over seeds the test split is taken as it is, for † the models are: believe what both find.",
    )


def test_p_values_over_seeds_are_never_0_and_say_that_they_are_several() -> None:
    found = {
        ("distill_0.5", "finetune_0"): OverSeeds(-0.5, 0.25, 1e-5, 60),
        ("distill_1.0", "finetune_0"): OverSeeds(-0.5, 0.25, 0.001, 60),
    }
    notes = told(Evidence({("cs", "finetune_0"): Cell(CER)}, found))
    assert notes[0].endswith("(deviation 0.25), p < 0.001.")
    assert notes[1].endswith("(deviation 0.25), p = 0.001.")
    assert notes[2].endswith("believe what both find; the 2 p-values are not adjusted for their number.")


def test_table_2_sets_the_best_beside_what_others_published(hundred: Ledger) -> None:
    first, second = tables(hundred)
    assert second is not None
    assert second.headings[:3] == ("LID ‡", "LAN ‡", "A2 ‡")
    assert second.title == "Table 2 of Distill-L2S, CER (%), ours: made-up speech"
    assert [[entry.number for entry in row.lines[0].entries[:-1]] for row in second.rows] == [
        ["12.0", "11.8", "11.3", "7.59", "7.52"],
        ["16.4", "16.9", "15.8", "8.33", "8.05"],
    ]
    turkish = next(row for row in first.rows if row.name == "tr").lines[0].entries
    assert second.rows[0].lines[0].entries[-1].value == min(entry.value or 0 for entry in turkish[2:])
    head = FORMS["csv"](second).splitlines()[0]
    assert head == (
        "locale,language,hours,paper_group,paper_hours,paper_text_gb,lid,lan,a2,xlsr,distill_l2s,ours,"
        "ours_low,ours_high,ours_difference,ours_p,ours_finished,comparable,data"
    )


def test_table_2_has_no_daggers(hundred: Ledger) -> None:
    study = Study.read(hundred)
    evidence = Evidence.of(study.layout.tables[0], study.trials, study.results, study.ledger, replications=100)
    cells = {place: replace(cell, adjusted=0.001) for place, cell in evidence.cells.items()}
    first, second = sheets(study, {"table1": replace(evidence, cells=cells), "table2": Evidence({}, {})})
    assert "†" in markdown(first)
    assert "†" not in markdown(second), "no note explains it there, and in the paper's it has another meaning"


def test_a_study_without_its_languages_has_no_table_2(tmp_path: Path) -> None:
    assert tables(store(Storage.at(str(tmp_path)), ["cs"]))[1] is None


def test_a_terminal_of_80_columns_is_enough(hundred: Ledger) -> None:
    for table in tables(hundred):
        assert table is not None
        console = Console(width=80, record=True, force_terminal=True)
        show(table, console)
        text = console.export_text()
        assert all(len(line) <= 80 for line in text.splitlines())
        for row in table.rows:
            for line in row.lines:
                for entry in line.entries:
                    assert entry.number in text


def test_more_columns_than_a_terminal_has_room_for_come_in_parts() -> None:
    columns = [Column(f"w{i}", f"a heading {i}", {"weight": float(i)}) for i in range(9)]
    table = Table("table1", "Many", "corpus.language", columns, CER, data="no speech")
    wide = some({("cs", "pretrained", float(i), 1): finished(10.0 + i) for i in range(9)}, Layout([table]))
    console = Console(width=80, record=True)
    show(wide, console)
    text = console.export_text()
    assert "the same, further columns" in text
    assert all(len(line) <= 80 for line in text.splitlines())
    assert all(f"a heading {i}" in text and f"{10 + i}.00" in text for i in range(9))


def test_a_thousand_cells() -> None:
    weights = (0.0, 0.25, 0.5, 0.75, 1.0)
    columns = [Column(f"w{w:g}", f"λ = {w:g}", {"weight": w}) for w in weights]
    table = Table("table1", "Many", "corpus.language", columns, CER, data="no speech", notes=["A note."])
    places = [(f"l{i:03d}", "pretrained", weight, 1) for i in range(200) for weight in weights]
    cells = {place: finished(float(i)) for i, place in enumerate(places)}
    wide = some(cells, Layout([table]))
    assert len(markdown(wide).splitlines()) == 200 + 7
    assert FORMS["csv"](wide).splitlines()[-1].startswith("l199,995.0,996.0,997.0,998.0,999.0,")
