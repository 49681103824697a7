from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from orchestrator.local import LocalRunner
from orchestrator.results.evidence import SPEAKERS, Evidence, utterances
from orchestrator.results.statistics import Counts, compare, holm, interval
from orchestrator.study.events import Listener
from orchestrator.study.layout import Column, Layout, Published
from orchestrator.study.lease import Lease
from orchestrator.study.ledger import Ledger, Result
from orchestrator.study.storage import Storage
from orchestrator.study.sweep import Sweep, Trial, grid
from sweeps.commonvoice20 import Options, layout
from tests.orchestrator.stored import UTTERANCES
from tests.toy.recipe import Toy
from trainables.recipes.distill_l2s import DistillL2S

COLUMNS = [Column(f"w{w:g}", f"λ = {w:g}", {"weight": w}) for w in (0.0, 0.5, 1.0)]
LAYOUT = Layout("Toys", "language", COLUMNS, Published({}), "no data", baseline="w0", repetition="length")
IDS, WORDS = [f"clip{i:02d}" for i in range(24)], ["ano", "ne", "prosím", "nikdy", "vždycky", "zítra"]


@pytest.fixture
def trials(toy: Toy) -> list[Trial]:
    """Of cs and ro at three weights; the length stands for a seed."""
    return [Trial(r) for r in grid(toy, {"language": ["cs", "ro"], "weight": [0.0, 0.5, 1.0], "length": [1, 2]})]


def transcripts(errors: Sequence[int], *, speakers: int = 12, ids: Sequence[str] = IDS) -> pa.Table:
    """Two words each, of as many speakers; the errors are insertions of characters, and one of a word."""
    count = len(ids)
    zeros, references = [0] * count, [f"{WORDS[i % 6]} {WORDS[i % 5]}" for i in range(count)]
    edits = {"char_insertions": list(errors), "word_substitutions": [min(1, e) for e in errors]}
    plain = {
        "id": list(ids), "speaker": [f"s{i % speakers}" if speakers else "" for i in range(count)],
        "reference": references, "hypothesis": references, "seconds": [1.0] * count, "frames": [50] * count,
        "nonblank_frames": [10] * count,
    }  # fmt: skip
    return pa.table({name: (plain | edits).get(name, zeros) for name in UTTERANCES.names}, schema=UTTERANCES)


def keep(ledger: Ledger, folder: Path, trial: Trial, table: pa.Table | None) -> Result:
    if table is not None:
        parquet.write_table(table, folder / "utterances.parquet", compression="zstd")
        ledger.trial(trial.signature).upload(folder / "utterances.parquet", "files/utterances.parquet")
        errors = sum(table[f"char_{edit}"].to_numpy().sum() for edit in ("substitutions", "deletions", "insertions"))
        return Result("finished", {"test_cer": 100 * errors / sum(map(len, table["reference"].to_pylist()))})
    return Result("finished", {"test_cer": 12.5})


def drawn(seed: int, mean: float = 1.5) -> list[int]:
    return np.random.default_rng(seed).poisson(mean, len(IDS)).tolist()


@pytest.fixture
def found(trials: list[Trial], ledger: Ledger, tmp_path: Path) -> Mapping[str, Result]:
    """Results with transcripts of all trials but the last, which has not run."""
    return {
        t.signature: keep(ledger, tmp_path, t, transcripts(drawn(i, 1.5 - t.fields["weight"])))
        for i, t in enumerate(trials[:-1])
    }


def test_cells_have_what_their_transcripts_say(
    trials: list[Trial], found: Mapping[str, Result], ledger: Ledger
) -> None:
    evidence = Evidence.of(LAYOUT, trials, found, ledger)
    assert set(evidence.cells) == {(row, c.name) for row in ("cs", "ro") for c in COLUMNS}
    references = transcripts(drawn(0))["reference"].to_pylist()
    blocks = np.unique([f"s{i % 12}" for i in range(24)], return_inverse=True)[1]

    def pooled(first: int) -> Counts:
        errors = np.add(drawn(first, 1.5 - 0.5 * (first // 2 % 3)), drawn(first + 1, 1.5 - 0.5 * (first // 2 % 3)))
        return Counts(errors, 2 * np.array([len(r) for r in references]), blocks, "speaker")

    cell = evidence.cells["cs", "w0.5"]
    assert cell.trials == tuple(trials[2:4])
    assert cell.interval == interval(pooled(2))
    assert cell.comparison == compare(pooled(2), pooled(0))
    rates = [result.metrics["test_cer"] for result in cell.results]
    assert cell.counts is not None
    assert cell.counts.unit == "speaker"
    assert cell.counts.rate == pytest.approx(np.mean(rates))
    assert cell.deviation == pytest.approx(abs(rates[0] - rates[1]) / 2**0.5)
    baseline = evidence.cells["cs", "w0"]
    assert (baseline.interval, baseline.comparison, baseline.adjusted) == (interval(pooled(0)), None, None)
    unfinished = evidence.cells["ro", "w1"]
    assert (len(unfinished.trials), len(unfinished.results), unfinished.deviation) == (2, 1, None)


def test_a_cell_that_lacks_a_seed_is_compared_over_those_of_both(
    trials: list[Trial], found: Mapping[str, Result], ledger: Ledger
) -> None:
    evidence = Evidence.of(LAYOUT, trials, found, ledger)
    assert [evidence.cells["ro", name].repetitions for name in ("w0", "w1")] == [(1, 2), (1,)]
    first = [t for t in trials if t.fields["length"] == 1]
    alone = Evidence.of(LAYOUT, first, found, ledger)
    assert evidence.cells["ro", "w1"].comparison == alone.cells["ro", "w1"].comparison
    assert evidence.cells["ro", "w0.5"].comparison != alone.cells["ro", "w0.5"].comparison
    second = [t for t in trials if t.fields["length"] == 2 or t.fields["weight"] == 1]
    assert Evidence.of(LAYOUT, second, found, ledger).cells["ro", "w1"].comparison is None


def test_p_values_are_adjusted_over_the_table(trials: list[Trial], found: Mapping[str, Result], ledger: Ledger) -> None:
    cells = [c for c in Evidence.of(LAYOUT, trials, found, ledger).cells.values() if c.comparison]
    assert len(cells) == 4
    assert [c.adjusted for c in cells] == holm([c.comparison.p for c in cells if c.comparison])


def test_columns_are_compared_over_seeds(trials: list[Trial], found: Mapping[str, Result], ledger: Ledger) -> None:
    rates = [found[t.signature].metrics["test_cer"] for t in trials[:-1]]
    evidence = Evidence.of(LAYOUT, trials, found, ledger)
    assert list(evidence.over_seeds) == [("w0.5", "w0"), ("w1", "w0")]
    half, whole = evidence.over_seeds.values()
    pairs = [rates[i + 2] - rates[i] for i in (0, 1, 6, 7)]
    assert (half.mean, half.pairs, half.p) == (pytest.approx(np.mean(pairs)), 4, pytest.approx(2 / 16))
    assert (whole.mean, whole.pairs) == (pytest.approx(np.mean([rates[4] - rates[0], rates[5] - rates[1],
                                                                rates[10] - rates[6]])), 3)  # fmt: skip
    one_seed = [t for t in trials if t.fields["length"] == 1]
    assert Evidence.of(LAYOUT, one_seed, found, ledger).over_seeds == {}
    more = Evidence.of(replace(LAYOUT, contrasts=[("w1", "w0.5")]), trials, found, ledger).over_seeds
    assert more == {**evidence.over_seeds, ("w1", "w0.5"): more["w1", "w0.5"]}
    contrast = more["w1", "w0.5"]
    between = [rates[4] - rates[2], rates[5] - rates[3], rates[10] - rates[8]]
    assert (contrast.mean, contrast.pairs) == (pytest.approx(np.mean(between)), 3)


def test_trials_come_in_any_order(trials: list[Trial], found: Mapping[str, Result], ledger: Ledger) -> None:
    one = Evidence.of(LAYOUT, trials, found, ledger)
    other = Evidence.of(LAYOUT, trials[::-1], {s: found[s] for s in reversed(list(found))}, ledger)
    assert one.over_seeds == other.over_seeds
    for place, cell in one.cells.items():
        assert (cell.interval, cell.comparison, cell.adjusted) == (
            other.cells[place].interval, other.cells[place].comparison, other.cells[place].adjusted
        )  # fmt: skip


@pytest.mark.parametrize(("speakers", "unit"), [(SPEAKERS, "speaker"), (SPEAKERS - 1, "utterance"), (0, "utterance")])
def test_blocks_are_speakers_where_there_are_enough(
    speakers: int, unit: str, trials: list[Trial], ledger: Ledger, tmp_path: Path
) -> None:
    results = {trials[0].signature: keep(ledger, tmp_path, trials[0], transcripts(drawn(0), speakers=speakers))}
    counts = Evidence.of(LAYOUT, trials, results, ledger).cells["cs", "w0"].counts
    assert counts is not None
    assert (counts.unit, counts.blocks.max() + 1) == (unit, SPEAKERS if unit == "speaker" else 24)


def test_cells_without_transcripts_or_over_others_are_not_compared(
    trials: list[Trial], ledger: Ledger, tmp_path: Path
) -> None:
    tables = [transcripts(drawn(i)) for i in range(4)]
    others = transcripts(drawn(9), ids=[f"other{i}" for i in range(24)])
    # cs at 0.5: other utterances; at 1: one of two kept none; ro at 0: none at all; at 0.5: two different tests.
    given = [*tables[:2], others, others, tables[2], None, None, None, tables[3], others, tables[3]]
    results = {t.signature: keep(ledger, tmp_path, t, table) for t, table in zip(trials, given, strict=False)}
    cells = Evidence.of(LAYOUT, trials, results, ledger).cells
    assert cells["cs", "w0.5"].interval is not None
    assert cells["cs", "w0.5"].comparison is None
    for place in (("cs", "w1"), ("ro", "w0"), ("ro", "w0.5")):
        assert (cells[place].counts, cells[place].interval) == (None, None)
        assert cells[place].deviation is not None
    assert cells["ro", "w1"].interval is not None
    assert not any(cell.comparison or cell.adjusted for cell in cells.values())


def test_order_and_repeated_clips_do_not_matter(trials: list[Trial], ledger: Ledger, tmp_path: Path) -> None:
    ids = [*IDS[:-1], IDS[0]]
    one, other = (transcripts(drawn(i), ids=ids) for i in range(2))
    order = np.random.default_rng(0).permutation(24)
    results = {t.signature: keep(ledger, tmp_path, t, table) for t, table in zip(
        (trials[0], trials[2], trials[4]), (one, other, other.take(order)), strict=True
    )}  # fmt: skip
    cells = Evidence.of(LAYOUT, trials, results, ledger).cells
    assert cells["cs", "w0.5"].comparison is not None
    assert cells["cs", "w0.5"].comparison == cells["cs", "w1"].comparison


def test_words_and_rates_that_are_not_of_transcripts(trials: list[Trial], ledger: Ledger, tmp_path: Path) -> None:
    keep(ledger, tmp_path, trials[0], transcripts([1] * 12 + [0] * 12))
    results = {trials[0].signature: Result("finished", {"test_wer": 25.0, "test_intent": 3.0})}
    words, intents = (Layout("", "language", COLUMNS, Published({}), "", metric=m) for m in ("wer", "intent"))
    counts = Evidence.of(words, trials, results, ledger).cells["cs", "w0"].counts
    assert counts is not None
    assert counts.rate == 25
    assert Evidence.of(intents, trials, results, ledger).cells["cs", "w0"].counts is None


def test_a_language_with_one_utterance(trials: list[Trial], ledger: Ledger, tmp_path: Path) -> None:
    results = {
        t.signature: keep(ledger, tmp_path, t, transcripts([i], ids=["only"]))
        for i, t in ((3, trials[0]), (1, trials[2]))
    }
    cell = Evidence.of(LAYOUT, trials, results, ledger).cells["cs", "w0.5"]
    assert cell.comparison is not None
    assert (cell.interval, cell.comparison.interval) == (None, None)
    assert cell.comparison.p == 1


def test_damaged_transcripts_are_named(trials: list[Trial], ledger: Ledger) -> None:
    ledger.trial(trials[0].signature).write("files/utterances.parquet", "PAR1 and no more")
    with pytest.raises(ValueError, match=f"{trials[0].signature}/files/utterances.parquet must be transcripts"):
        Evidence.of(LAYOUT, trials, {trials[0].signature: Result("finished", {"test_cer": 1.0})}, ledger)


def test_transcripts_on_every_storage(trials: list[Trial], storage: Storage, tmp_path: Path) -> None:
    ledger = Ledger(storage)
    keep(ledger, tmp_path, trials[0], transcripts(drawn(0)))
    table = utterances(ledger, trials[0].signature, ["id", "reference", "frames"])
    assert table is not None
    assert table.column_names == ["id", "reference", "frames"]
    assert table["id"].to_pylist() == IDS
    assert utterances(ledger, trials[1].signature) is None


def test_a_trained_cell_is_counted_as_it_was_tested(recipe: DistillL2S, tmp_path: Path) -> None:
    sweep = Sweep("real", [recipe.model_copy(update={"weight": 0.0})], axes=("weight",))
    ledger = Ledger.of(Storage.at(str(tmp_path / "runs")), sweep)
    ledger.open(sweep)
    lease = Lease(ledger.storage)
    with lease.hold(print):
        LocalRunner().run(sweep, sweep.trials, ledger, lease, Listener())
    results = ledger.results([sweep.trials[0].signature])
    for metric in ("cer", "wer"):
        columns = layout(Options(), "tones").columns
        table = Layout("", "corpus.language", columns, Published({}), "", metric=metric)
        counts = Evidence.of(table, sweep.trials, results, ledger).cells["cs", "finetune_0"].counts
        assert counts is not None
        assert counts.rate == pytest.approx(results[sweep.trials[0].signature].metrics[f"test_{metric}"])


def test_a_baseline_is_a_column() -> None:
    with pytest.raises(ValueError, match=r"one of w0, w0\.5, w1, but is 'w2'"):
        Layout("", "language", COLUMNS, Published({}), "", baseline="w2")


def test_a_contrast_is_of_columns() -> None:
    with pytest.raises(ValueError, match=r"must be of columns, w0, w0\.5, w1, but has 'w2'"):
        Layout("", "language", COLUMNS, Published({}), "", contrasts=[("w1", "w2")])
