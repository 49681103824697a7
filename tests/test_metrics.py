from pathlib import Path

import jiwer
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from trainables.batch import Batch
from trainables.corpora.common_voice import CommonVoice
from trainables.corpora.prepared import PreparedSplit, SplitPreparation
from trainables.corpora.text import Letters
from trainables.metrics import Scores, transcription, write_utterances
from trainables.sequences import Sequences

EDITS = ("substitutions", "deletions", "insertions")


@pytest.fixture
def split(release: Path) -> PreparedSplit:
    corpus = CommonVoice(root=str(release), language="cs")
    return PreparedSplit(SplitPreparation(corpus=corpus, split="test", normaliser=Letters(), longest=10).build())


def batch_of(split: PreparedSplit, indices: list[int]) -> Batch:
    audio = Sequences(torch.zeros(len(indices), 1), torch.ones(len(indices), dtype=torch.int64))
    ids, texts = tuple(split.ids[i] for i in indices), tuple(split.texts[i] for i in indices)
    return Batch(ids, audio, torch.ones(len(indices)), texts, indices=tuple(indices))


def misheard(split: PreparedSplit) -> list[str]:
    """A hypothesis of each utterance, some of them empty or too long."""
    return [("", text[1:], text + " abba", "x" + text, text)[i % 5] for i, text in enumerate(split.texts)]


def collected(split: PreparedSplit, order: list[int], hypotheses: list[str]) -> Scores:
    scores = Scores(("cer", "wer"))
    for start in range(0, len(order), 3):
        indices = order[start : start + 3]
        heard = [hypotheses[i] for i in indices]
        columns = {"frames": [2 * i + 1 for i in indices], "sureness": [i / 8 for i in indices]}
        batch = batch_of(split, indices)
        scores.add(batch, heard, columns | transcription(batch.texts, heard))
    return scores


def table_of(scores: Scores, split: PreparedSplit, name: str = "test") -> pa.Table:
    table = scores.table(split, name)
    assert table is not None
    return table


def test_rows_have_the_splits_order_whatever_the_batches(split: PreparedSplit) -> None:
    table = table_of(collected(split, [5, 2, 7, 0, 1, 6, 4, 3], misheard(split)), split)
    columns = table.to_pydict()
    assert (columns["id"], columns["speaker"], columns["reference"]) == (split.ids, split.speakers, split.texts)
    assert columns["hypothesis"] == misheard(split)
    assert columns["test_set"] == ["test"] * 8
    assert columns["seconds"] == pytest.approx(split.samples / 16_000)
    assert columns["frames"] == [2 * i + 1 for i in range(8)]
    assert columns["sureness"] == [i / 8 for i in range(8)]


def test_metrics_come_before_what_is_the_recipes_own(split: PreparedSplit) -> None:
    table = table_of(collected(split, list(range(8)), misheard(split)), split)
    assert table.column_names == [
        "id", "speaker", "test_set", "reference", "hypothesis", "cer_errors", "cer_length", "wer_errors", "wer_length",
        "seconds", "frames", "sureness", *(f"{unit}_{edit}" for unit in ("char", "word") for edit in EDITS),
    ]  # fmt: skip
    types = {name: table.schema.field(name).type for name in table.column_names}
    assert {types[name] for name in ("cer_errors", "wer_length", "frames", "char_deletions")} == {pa.int32()}
    assert (types["seconds"], types["sureness"], types["hypothesis"]) == (pa.float64(), pa.float64(), pa.string())


def test_the_errors_of_all_rows_are_the_error_rates(split: PreparedSplit) -> None:
    hypotheses = misheard(split)
    scores = collected(split, list(range(8)), hypotheses)
    rows, rates = table_of(scores, split).to_pylist(), scores.rates()
    for unit, metric, length in (("char", "cer", len), ("word", "wer", lambda text: len(text.split()))):
        for row in rows:
            assert row[f"{metric}_errors"] == sum(row[f"{unit}_{edit}"] for edit in EDITS)
            assert row[f"{metric}_length"] == length(row["reference"])
        errors, lengths = (sum(row[f"{metric}_{part}"] for row in rows) for part in ("errors", "length"))
        assert rates[metric] == 100 * errors / lengths
    assert rates["cer"] == pytest.approx(100 * jiwer.cer(split.texts, hypotheses))
    assert rates["wer"] == pytest.approx(100 * jiwer.wer(split.texts, hypotheses))
    silent, short, long = rows[:3]
    assert (silent["char_deletions"], silent["word_deletions"]) == (len(split.texts[0]), len(split.texts[0].split()))
    assert (short["char_deletions"], short["char_insertions"], short["word_substitutions"]) == (1, 0, 1)
    assert (long["char_insertions"], long["word_insertions"], long["word_substitutions"]) == (5, 1, 0)


def test_a_recipe_brings_a_metric_of_its_own(split: PreparedSplit, tmp_path: Path) -> None:
    scores, intents = Scores(("intent_error",)), ["up", "down", "up", "off"]
    for start in (4, 0):
        indices = list(range(start, start + 4))
        columns = {"intent_error_errors": [0, 1, 1, 0], "intent_error_length": [1] * 4, "logit": [0.5] * 4}
        scores.add(batch_of(split, indices), ["up", "off", "off", "off"], columns, references=intents)
    assert scores.rates() == {"intent_error": 50.0}
    tables = [table_of(scores, split, name) for name in ("speaker_test", "utterance_test")]
    write_utterances(tmp_path / "utterances.parquet", tables)
    kept = parquet.read_table(tmp_path / "utterances.parquet").to_pydict()
    assert kept["test_set"] == ["speaker_test"] * 8 + ["utterance_test"] * 8
    assert kept["id"] == split.ids * 2
    assert kept["reference"] == intents * 4
    assert kept["intent_error_errors"] == [0, 1, 1, 0] * 4


def test_a_rank_without_an_utterance_adds_nothing() -> None:
    assert Scores(("cer", "wer")).rates() == {"cer": 0.0, "wer": 0.0}


def test_clips_of_one_name_keep_their_rows_apart(split: PreparedSplit) -> None:
    for column in (split.ids, split.texts):
        column[6] = column[1]
    split.texts[4], split.ids[4] = "another text", split.ids[1]
    hypotheses = [f"{text} {i}" for i, text in enumerate(split.texts)]
    table = table_of(collected(split, list(range(7, -1, -1)), hypotheses), split)
    assert table["reference"].to_pylist() == split.texts
    assert table["hypothesis"].to_pylist() == hypotheses


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 5, 6, 6, 7]])
def test_an_utterance_that_was_not_scored_once_is_no_row_that_may_be_missing(
    split: PreparedSplit, order: list[int]
) -> None:
    with pytest.raises(AssertionError, match="once"):
        collected(split, order, misheard(split)).table(split, "test")


def test_columns_of_another_length_than_the_batch_are_refused(split: PreparedSplit) -> None:
    with pytest.raises(ValueError, match="shorter"):
        Scores(("cer",)).add(batch_of(split, [0, 1]), ["a", "b"], {"cer_errors": [0], "cer_length": [1, 1]})
