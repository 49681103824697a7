"""Decoding with a word n-gram in a recipe: what is tuned on validation, what is reported, and what stays as it was."""

from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from sweeps.decoding import ngram
from tests.corpora import books
from trainables.corpora.batching import Loader
from trainables.corpora.librispeech import LibriSpeech
from trainables.corpora.prepared import PreparedSplit
from trainables.corpora.text import CharacterVocabulary, LettersAndApostrophes
from trainables.decoding.beam import PrefixBeam
from trainables.decoding.language import ArpaFile, FromCorpus
from trainables.decoding.tuning import Tuning
from trainables.decoding.with_ngram import NgramDecoding
from trainables.language import arpa
from trainables.language.kneser_ney import estimate
from trainables.recipes.distill_l2s import DistillL2S
from trainables.recipes.recognition import TUNED
from trainables.run import LocalRun


def test_tests_are_decoded_with_an_ngram_beside_the_greedy_way(recipe: DistillL2S, tmp_path: Path) -> None:
    short = recipe.model_copy(update={"optimisation": recipe.optimisation.model_copy(update={"steps": 5})})
    tuning = Tuning(weights=(0.0, 0.5), word_scores=(0.0, 1.0), utterances=4)
    decoded = short.model_copy(update={"ngram": NgramDecoding(search=PrefixBeam(width=4), tuning=tuning)})
    plain, both = short.run(LocalRun(tmp_path / "plain")), decoded.run(LocalRun(tmp_path / "both"))
    assert set(decoded.reports()) - set(short.reports()) == {*TUNED, "test/ngram_cer", "test/ngram_wer"}
    # What is greedy is not touched by it.
    assert {name: both[name] for name in plain} == plain
    assert (both["ngram/weight"], both["ngram/word_score"]) in {(w, s) for w in (0.0, 0.5) for s in (0.0, 1.0)}
    rows = parquet.read_table(tmp_path / "both" / "utterances.parquet").to_pydict()
    words = {word for text in PreparedSplit(short.split("train").build()).texts for word in text.split()}
    assert {word for text in rows["ngram_hypothesis"] for word in text.split()} <= words
    errors, length = sum(rows["ngram_wer_errors"]), sum(rows["ngram_wer_length"])
    assert both["test/ngram_wer"] == pytest.approx(100 * errors / length)


def test_a_trial_without_an_ngram_keeps_its_name(recipe: DistillL2S) -> None:
    assert recipe.model_copy(update={"ngram": None}).signature() == recipe.signature()
    assert recipe.model_copy(update={"ngram": NgramDecoding()}).signature() != recipe.signature()


def test_part_of_a_split_is_evaluated_by_any_number_of_workers(recipe: DistillL2S) -> None:
    split = PreparedSplit(recipe.split("train").build())
    loader = Loader(split, usable=np.array([1, 4, 6]))
    for size in (1, 2):
        found = [
            batch.indices
            for rank in range(size)
            for batch in loader.evaluation(seconds=3.0, rank=rank, world_size=size)
        ]  # fmt: skip
        assert sorted(sum(found, ())) == [1, 4, 6]


def test_the_transcripts_of_a_corpus_make_a_language_without_its_audio(tmp_path: Path) -> None:
    corpus = LibriSpeech(root=str(books.librispeech(tmp_path)), tests=())
    source = FromCorpus(corpus=corpus, normaliser=LettersAndApostrophes(), order=2)
    vocabulary = CharacterVocabulary.of(text.lower() for text in books.TEXTS)
    language = source.build(vocabulary)
    assert set(language.lexicon.spellings) == {"abba", "cafe", "deed", "fig", "hide", "jig"}
    assert language.ngram.order == 2
    for clip in tmp_path.rglob("*.flac"):
        clip.write_bytes(b"")
    assert source.build(vocabulary).lexicon.spellings == language.lexicon.spellings


def test_what_reads_a_file_is_chosen_by_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "model.arpa"
    arpa.write(estimate([["ab", "ba"], ["ab"]], 2), file)
    found = ngram(str(file))
    assert found is not None
    assert isinstance(found.language, ArpaFile)
    assert found.search.kind == "prefix_beam"
    monkeypatch.setattr("trainables.decoding.with_ngram.LARGEST", 3)
    larger = ngram(str(file))
    assert larger is not None
    assert larger.search.kind == "flashlight"


def test_a_language_model_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`lexicon` is of the words of an ARPA file, which `lm` must name"):
        ngram("transcripts", tmp_path / "lexicon.txt")
    with pytest.raises(ValueError, match=r"nothing\.arpa"):
        ngram(str(tmp_path / "nothing.arpa"))
    (tmp_path / "text.arpa").write_text("no n-grams\n")
    with pytest.raises(ValueError, match=r"text\.arpa"):
        ngram(str(tmp_path / "text.arpa"))
