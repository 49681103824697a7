from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.ledger import Result
from orchestrator.storage import Storage
from orchestrator.sweep import Trial, grid
from orchestrator.tables import Column, Layout, Table
from sweeps.commonvoice20 import PUBLISHED, Options, layout
from tests.toy.recipe import Toy
from trainables.recipes.distill_l2s import DistillL2S

DATA = "synthetic speech (espeak-ng)"


@pytest.fixture
def trials(recipe: DistillL2S) -> list[Trial]:
    axes = {"corpus.language": ["ro", "cs"], "seed": [1, 2]}
    cells = grid(recipe, {**axes, "weight": [0.0, 0.25, 0.5, 1.0]})
    scratch = {"kind": "scratch", "model": recipe.student.encoder.model}
    cells += grid(recipe, {**axes, "weight": [0.0], "student.encoder": [scratch]})
    return [Trial(cell) for cell in cells]


def results(trials: list[Trial], cells: dict[tuple[str, str, float, int], float]) -> dict[str, Result]:
    found = {}
    for trial in trials:
        recipe = trial.recipe
        assert isinstance(recipe, DistillL2S)
        key = (recipe.corpus.language, recipe.student.encoder.kind, recipe.weight, recipe.seed)
        if key in cells:
            found[trial.signature] = Result("finished", {"test_cer": cells[key]})
    return found


CELLS = {
    ("cs", "scratch", 0.0, 1): 99.994,
    ("cs", "pretrained", 0.0, 1): 20.0,
    ("cs", "pretrained", 0.0, 2): 30.0,
    ("cs", "pretrained", 0.25, 1): 24.0,
    ("cs", "pretrained", 0.5, 1): 24.004,
    ("ro", "pretrained", 1.0, 1): 7.0,
}


def test_cells_are_means_over_seeds_and_rows_are_the_papers(trials: list[Trial], tmp_path: Path) -> None:
    table = Table.of(layout(Options(), DATA), trials, results(trials, CELLS), ["A note."])
    assert table.csv().splitlines() == [
        "locale,language,group,hours,text_gb,scratch_0,finetune_0,distill_0.25,distill_0.5,distill_1.0,"
        "paper_scratch_0,paper_finetune_0,paper_distill_0.25,paper_distill_0.5,paper_distill_1.0,data",
        "cs,Czech,< 5 h,1,14.9,99.99,25.0,24.0,24.0,,53.07,7.4,7.43,7.13,7.13,synthetic speech (espeak-ng)",
        "ro,Romanian,< 10 h,9,11.0,,,,,7.0,80.17,6.7,6.75,6.81,6.69,synthetic speech (espeak-ng)",
    ]
    assert table.markdown().startswith("# Table 1 of Distill-L2S, CER (%), synthetic speech (espeak-ng)\n")
    assert table.markdown().splitlines()[2:8] == [
        "| Speech | Language |  | scratch λ = 0 | tuned λ = 0 | λ = 0.25 | λ = 0.5 | λ = 1 |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |",
        "| < 5 h | Czech | ours | 99.99 | 25.00 | **24.00** | **24.00** | … |",
        "|  | 1 h, 14.9 GB | paper | 53.07 | 7.40 | 7.43 | **7.13** | **7.13** |",
        "| < 10 h | Romanian | ours | … | … | … | … | **7.00** |",
        "|  | 9 h, 11 GB | paper | 80.17 | 6.70 | 6.75 | 6.81 | **6.69** |",
    ]
    assert "- A note." in table.markdown()
    assert table.write(Storage.at(str(tmp_path)), "table1") == ["table1.md", "table1.csv"]
    first = [(tmp_path / name).read_bytes() for name in ("table1.md", "table1.csv")]
    again = Table.of(layout(Options(), DATA), trials[::-1], results(trials, CELLS), ["A note."])
    again.write(Storage.at(str(tmp_path)), "table1")
    assert [(tmp_path / name).read_bytes() for name in ("table1.md", "table1.csv")] == first


def test_a_terminal_of_80_columns_is_enough(trials: list[Trial]) -> None:
    console = Console(width=80, record=True, force_terminal=True)
    Table.of(layout(Options(), DATA), trials, results(trials, CELLS), ["A note."]).show(console)
    text = console.export_text()
    assert "…" in text
    for cell in ("99.99", "25.00", "24.00", "53.07", "7.13", "Romanian", "A note."):
        assert cell in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_another_weight_gets_a_column_without_published_numbers(trials: list[Trial], recipe: DistillL2S) -> None:
    trial = Trial(grid(recipe, {"weight": [2.0]})[0])
    table = Table.of(
        layout(Options(weights=(2.0,)), DATA), [trial], {trial.signature: Result("finished", {"test_cer": 3})}, []
    )
    assert "| < 5 h | Czech | ours | **3.00** |" in table.markdown()
    assert table.csv().splitlines()[0].endswith("distill_2,paper_distill_2,data")


def test_a_cell_without_a_value_says_why(toy: Toy) -> None:
    trials = [Trial(cell) for cell in grid(toy, {"weight": [0.0, 0.25, 0.5, 1.0], "length": [8, 9]})]
    outcomes = [
        Result("stopped", {"test_cer": 1.0}), None,  # λ = 0: its value is of no test
        Result("stopped"), Result("failed", reason="why"),  # λ = 0.25
        Result("failed"), Result("finished", {"test_cer": 2.0}),  # λ = 0.5: the mean over what there is
        None, None,
    ]  # fmt: skip
    found = {trial.signature: result for trial, result in zip(trials, outcomes, strict=True) if result}
    columns = [Column(f"w{w:g}", f"λ = {w:g}", {"weight": w}) for w in (0.0, 0.25, 0.5, 1.0)]
    table = Table.of(Layout("Toys", "language", columns, PUBLISHED, "no data"), trials, found, [])
    assert "| ours | stopped | failed | **2.00** | … |" in table.markdown()
    assert table.csv().splitlines()[1].startswith("cs,Czech,< 5 h,1,14.9,,,2.0,,")
    console = Console(width=80, record=True)
    table.show(console)
    assert "stopped" in console.export_text()


def test_a_thousand_cells(toy: Toy) -> None:
    languages, weights = [f"l{i:03d}" for i in range(200)], [0.0, 0.25, 0.5, 0.75, 1.0]
    trials = [Trial(cell) for cell in grid(toy, {"language": languages, "weight": weights})]
    found = {trial.signature: Result("finished", {"test_cer": float(i)}) for i, trial in enumerate(trials)}
    columns = [Column(f"w{w:g}", f"λ = {w:g}", {"weight": w}) for w in weights]
    table = Table.of(Layout("Toys", "language", columns, PUBLISHED, "no data"), trials, found, [])
    assert len(table.markdown().splitlines()) == 200 + 5
    assert table.csv().splitlines()[-1].startswith("l199,,,,,995.0,996.0,997.0,998.0,999.0,")
