"""The sweep over HuBERT's students as a person runs it, on tiny models, and the paper's plan."""

import argparse
import csv
from pathlib import Path

import pytest

from orchestrator.cli import main
from sweeps.hubert.options import Options
from sweeps.hubert_librispeech import study
from tests import fairseq
from tests.corpora import books
from trainables import testing
from trainables.cache import sha256_of
from trainables.config import explain
from trainables.decoding.tuning import Tuning
from trainables.recipes.distil_hubert import DistilHubert
from trainables.recipes.finetune_ctc import FineTuneCtc
from trainables.recipes.recipe import with_needs


@pytest.fixture
def teacher(tmp_path: Path) -> str:
    # As wide as the miniature's units have dimensions.
    return str(testing.whisper(tmp_path / "teacher", width=64, layers=4))


def recipes(options: Options) -> list[FineTuneCtc]:
    sweep, layout = study(options)
    layout.check(sweep)
    return [recipe for recipe in sweep.recipes if isinstance(recipe, FineTuneCtc)]


def lines(file: Path) -> list[dict[str, str]]:
    with file.open() as opened:
        return list(csv.DictReader(opened))


def test_the_study_runs_to_its_table(
    teacher: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, texts = tmp_path / "data", 16 * books.TEXTS
    books.librispeech(books.librilight(root))
    # Of the test set, there must be ten frames for each of 256 features.
    for subset in ("dev-clean", "test-clean", "train-clean-100"):
        books.chapter(root / "LibriSpeech" / subset, 40, 2, texts)
    for subset in ("train-clean-360", "train-other-500"):
        books.chapter(root / "LibriSpeech" / subset, len(subset), 10)
    monkeypatch.setattr("sweeps.hubert.rows.WEIGHTS", ((0.0, 0.0), (1.0, 1.0)))
    arguments = [
        "--preset", "mini", "--steps", "10", "--data", str(root), "--teacher", teacher, "--ceiling",
        "--storage", str(tmp_path / "runs"), "--local",
    ]  # fmt: skip
    assert main(Options, study, explain, arguments) == 0
    told = capsys.readouterr().out
    assert "10 trials and 2 that they start from, 0 finished, 12 to run" in told
    folder = tmp_path / "runs" / "hubert-mini"
    rows = {row["row"]: row for row in lines(folder / "table2.csv")}
    assert list(rows) == ["sw_00", "dt_00", "sw_11", "dt_11", "teacher"]
    amounts = "few_greedy", "few", "all_greedy", "all"
    assert all(float(row[amount]) >= 0 for row in rows.values() for amount in amounts)
    tuned = {row["row"]: row for row in lines(folder / "table2_tuned.csv")}
    assert {float(row["few_weight"]) for row in tuned.values()} <= set(Tuning().weights)
    assert {float(row["all_words"]) for row in tuned.values()} <= set(Tuning().word_scores)
    near = {row["row"]: row for row in lines(folder / "near.csv")}
    assert list(near) == ["sw_11", "dt_11"]
    assert 0 <= float(near["dt_11"]["agreement"]) <= 1
    alike = lines(folder / "figures" / "figure3.csv")
    assert [(row["row"], row["column"], row["layer"]) for row in alike] == [
        (row, column, str(n)) for column in ("few", "all") for row in ("dt_00", "dt_11") for n in range(5)
    ]
    means = {row["row"]: row for row in lines(folder / "similarity.csv")}
    few = [float(row["similarity (PWCCA)"]) for row in alike if (row["row"], row["column"]) == ("dt_11", "few")]
    assert float(means["dt_11"]["few"]) == pytest.approx(sum(few) / 5, abs=1e-3)
    assert "Figure 3: similarity by layer" in (folder / "report.html").read_text()
    assert main(Options, study, explain, arguments) == 0
    assert "12 finished, 0 to run" in capsys.readouterr().out


def test_the_papers_plan(tmp_path: Path) -> None:
    root = books.librispeech(books.librilight(tmp_path / "data"))
    for subset, speaker in (("train-clean-360", 1), ("train-other-500", 2), ("dev-clean", 3)):
        books.chapter(root / "LibriSpeech" / subset, speaker, 10)
    teacher = str(testing.speech_encoder("hubert-base", tmp_path / "hubert", num_hidden_layers=12))
    found = recipes(Options(data=root, teacher=teacher, tables=("2", "3", "5")))
    assert len(found) == 24 + 6 + 3  # Table 2; the two of Table 3 on filter banks; one more in Table 5
    needs = {
        name: need for recipe in found for name, need in with_needs(recipe).items() if isinstance(need, DistilHubert)
    }
    assert len(needs) == 6 + 3
    assert {need.optimisation.steps for need in needs.values()} == {25_000, 30_000}
    by_amount = {recipe.corpus.release(): recipe for recipe in found}
    rates = {name: (recipe.optimisation.learning_rate, recipe.steps) for name, recipe in by_amount.items()}
    assert rates == {
        "Libri-light 1h": (2e-5, 25_000),
        "Libri-light 10h": (5e-4, 25_000),
        "LibriSpeech train-clean-100": (5e-4, 80_000),
    }
    assert len(recipes(Options(data=root, teacher=teacher, seeds=(1, 2)))) == 48
    controls = recipes(Options(data=root, teacher=teacher, tables=("2", "controls")))
    assert len(controls) == 24 + 4 * 3  # one row is Table 2's
    sweep, layout = study(Options(data=root, teacher=teacher, tables=("2", "controls")))
    assert [table.name for table in layout.tables[2:4]] == ["table2_tuned", "controls_tuned"]
    for table in layout.tables[:2]:
        cells = [table.places(trial) for trial in sweep.trials]
        rows = [row.name for row in table.listed]
        # Greedy and with the n-gram, each cell of each table is one trial.
        assert sorted(place for places in cells for place in places) == sorted(
            (row, column.name) for row in rows for column in table.columns
        )
    with_ceiling = Options(data=root, teacher=teacher, ceiling=True, similarity_clips=0)
    pretrained = [recipe for recipe in recipes(with_ceiling) if recipe.start.kind == "pretrained"]
    assert [recipe.corpus.release() for recipe in pretrained] == list(rates)
    assert not any(recipe.front_end_factor for recipe in pretrained)
    _, layout = study(with_ceiling)
    ceiling = layout.table("table2").listed[-1]
    assert [table.name for table in layout.tables] == ["table2", "table2_tuned", "near"]  # without clips, no similarity
    assert all(not layout.table("table2").published.has(ceiling.name, column) for column in ("1h", "10h", "100h"))


def test_the_table_says_whose_hidden_units_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("L2S_CACHE", str(tmp_path / "cache"))
    root = books.librispeech(books.librilight(tmp_path / "data"))
    for subset in ("train-clean-360", "train-other-500", "dev-clean"):
        books.chapter(root / "LibriSpeech" / subset, len(subset), 10)
    folder = testing.speech_encoder("hubert-base", tmp_path / "hubert", num_hidden_layers=12)
    file = fairseq.saved(
        tmp_path / "base.pt", fairseq.fairseqs(folder, "2"), argparse.Namespace(**fairseq.SETTINGS), monkeypatch
    )
    own = Options(data=root, teacher=str(file), teacher_sha256=sha256_of(file))
    for options, said, reasons in (
        (own, "are its own", 1),
        (Options(data=root, teacher=str(folder)), "500 clusters", 2),
    ):
        _, layout = study(options)
        assert said in layout.tables[0].notes[0]
        assert len(layout.tables[0].reasons) == reasons


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`data` must be the folder that has LibriSpeech"):
        study(Options())
    with pytest.raises(ValueError, match="`tables` must have at least one value"):
        study(Options(data=tmp_path, tables=()))
    with pytest.raises(ValueError, match="`ceiling` is a row of Table 2, so `tables` must have 2"):
        study(Options(data=tmp_path, tables=("3",), ceiling=True))
    with pytest.raises(ValueError, match="`steps` must be at least 10, but is 3"):
        study(Options(data=tmp_path, steps=3))
