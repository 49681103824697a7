import jiwer
import pytest
import torch

from trainables.batch import Batch
from trainables.corpora.common_voice import CommonVoice
from trainables.corpora.prepared import PreparedSplit, SplitPreparation
from trainables.corpora.text import Letters
from trainables.metrics import UTTERANCES, ErrorCounts, Transcripts
from trainables.sequences import Sequences

BLANK = 9


@pytest.fixture
def split(release):
    corpus = CommonVoice(root=str(release), language="cs")
    return PreparedSplit(SplitPreparation(corpus=corpus, split="test", normaliser=Letters(), longest=10).build())


def batch_of(split, indices):
    count = len(indices)
    empty = Sequences(torch.zeros(count, 1), torch.ones(count, dtype=torch.int64))
    ids, texts = tuple(split.ids[i] for i in indices), tuple(split.texts[i] for i in indices)
    return Batch(ids=ids, audio=empty, tokens=empty, scale=torch.ones(count), texts=texts)


def labels_of(*rows):
    return Sequences.stack([torch.tensor(row) for row in rows])


def misheard(split):
    """A hypothesis of each utterance, some of them empty or too long."""
    return [("", text[1:], text + " abba", "x" + text, text)[i % 5] for i, text in enumerate(split.texts)]


def collected(split, order, hypotheses):
    transcripts = Transcripts()
    for start in range(0, len(order), 3):
        indices = order[start : start + 3]
        labels = labels_of(*([BLANK] * (i + 1) + [1] * i for i in indices))
        transcripts.add(batch_of(split, indices), [hypotheses[i] for i in indices], labels, BLANK)
    return transcripts


def test_rows_have_the_splits_order_whatever_the_batches(split):
    table = collected(split, [5, 2, 7, 0, 1, 6, 4, 3], misheard(split)).table(split)
    assert table is not None
    assert table.schema == UTTERANCES
    columns = table.to_pydict()
    assert (columns["id"], columns["speaker"], columns["reference"]) == (split.ids, split.speakers, split.texts)
    assert columns["hypothesis"] == misheard(split)
    assert columns["seconds"] == pytest.approx(split.samples / 16_000)
    # Padding, which `stack` fills with zeros, is no frame.
    assert columns["frames"] == [2 * i + 1 for i in range(8)]
    assert columns["nonblank_frames"] == list(range(8))


def test_the_edits_of_all_rows_are_the_error_rates(split):
    hypotheses, counts = misheard(split), ErrorCounts()
    counts.add(split.texts, hypotheses)
    table = collected(split, list(range(8)), hypotheses).table(split)
    assert table is not None
    rows = table.to_pylist()
    for unit, rate, length in (("char", "cer", len), ("word", "wer", lambda text: len(text.split()))):
        edits = [sum(row[f"{unit}_{e}"] for e in ("substitutions", "deletions", "insertions")) for row in rows]
        assert 100 * sum(edits) / sum(length(row["reference"]) for row in rows) == counts.rates()[rate]
    assert counts.rates()["cer"] == pytest.approx(100 * jiwer.cer(split.texts, hypotheses))
    silent, short, long = rows[:3]
    assert (silent["char_deletions"], silent["word_deletions"]) == (len(split.texts[0]), len(split.texts[0].split()))
    assert (short["char_deletions"], short["char_insertions"], short["word_substitutions"]) == (1, 0, 1)
    assert (long["char_insertions"], long["word_insertions"], long["word_substitutions"]) == (5, 1, 0)


def test_a_clip_that_the_corpus_has_twice_has_two_rows(split):
    for column in (split.ids, split.texts):
        column[6] = column[1]
    split.texts[4], split.ids[4] = "another text", split.ids[1]
    hypotheses = [text.upper() for text in split.texts]
    table = collected(split, list(range(7, -1, -1)), hypotheses).table(split)
    assert table is not None
    assert table["reference"].to_pylist() == split.texts
    assert table["hypothesis"].to_pylist() == hypotheses


def test_an_utterance_that_was_not_recognised_is_no_row_that_may_be_missing(split):
    with pytest.raises(ValueError, match="shorter"):
        collected(split, list(range(7)), misheard(split)).table(split)
