"""Decoding with a lexicon and a word n-gram: against all alignments, against the greedy way, against flashlight."""

import math
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from trainables.corpora.text import CharacterVocabulary
from trainables.decoding.beam import PrefixBeam
from trainables.decoding.decoder import Fusion, LogProbabilities
from trainables.decoding.flashlight import Flashlight
from trainables.decoding.greedy import greedy
from trainables.decoding.language import Estimated, Language
from trainables.decoding.lexicon import Lexicon
from trainables.decoding.tuning import Tuning, tune
from trainables.sequences import Sequences

VOCABULARY = CharacterVocabulary.of(["ab ba"])
TEXTS = ["ab", "ba", "ab ba", "a b", "a", "ab a", "ba ba"]
EVERYTHING = PrefixBeam(width=10_000, letters=10, threshold=100.0)


def noise(frames: int, seed: int, scale: float = 2.0) -> LogProbabilities:
    """Log-probabilities of an utterance in which any token may be."""
    drawn = np.random.default_rng(seed).normal(scale=scale, size=(frames, len(VOCABULARY)))
    drawn[:, VOCABULARY.unknown] = -40.0
    return torch.from_numpy(drawn).log_softmax(dim=1).float().numpy()


def language(order: int = 2) -> Language:
    return Estimated(order=order).build(VOCABULARY, TEXTS)


def by_enumeration(heard: LogProbabilities, spoken: Language | None, fusion: Fusion) -> dict[str, float]:
    """The score of each text that some alignment writes, by going through all of them."""
    found: dict[str, float] = {}
    for path in product(range(len(VOCABULARY)), repeat=len(heard)):
        value = float(sum(heard[t, token] for t, token in enumerate(path)))
        (text,) = greedy(torch.tensor([path]), torch.tensor([len(path)]), VOCABULARY)
        found[text] = float(np.logaddexp(found.get(text, -math.inf), value))
    if spoken is None:
        return found
    known = {text: value for text, value in found.items() if all(w in spoken.lexicon.spellings for w in text.split())}
    return {
        text: value
        + fusion.weight * math.log(10) * spoken.ngram.sentence(text.split())
        + fusion.word_score * len(text.split())
        for text, value in known.items()
    }


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("fusion", [None, Fusion(0.0, 0.0), Fusion(0.7, 1.0), Fusion(2.0, -1.0)])
def test_a_beam_of_everything_finds_what_enumeration_finds(seed: int, fusion: Fusion | None) -> None:
    heard, spoken = noise(5, seed), None if fusion is None else language()
    expected = by_enumeration(heard, spoken, fusion or Fusion())
    candidates = EVERYTHING.build(VOCABULARY, spoken).candidates(heard, fusion or Fusion())
    found = {candidate.text: candidate.score(fusion or Fusion()) for candidate in candidates}
    best = max(expected, key=expected.__getitem__)
    assert candidates[0].text == best
    for text, value in sorted(expected.items(), key=lambda item: -item[1])[:10]:
        assert found[text] == pytest.approx(value, abs=1e-4)


def test_without_a_language_the_narrowest_beam_is_greedy_where_each_frame_is_sure() -> None:
    tokens = np.random.default_rng(3).integers(0, VOCABULARY.unknown, size=30)
    heard = np.full((30, len(VOCABULARY)), math.log(0.01 / (len(VOCABULARY) - 1)), np.float32)
    heard[np.arange(30), tokens] = math.log(0.99)
    (candidate, *_) = PrefixBeam(width=1).build(VOCABULARY).candidates(heard, Fusion())
    (expected,) = greedy(torch.from_numpy(tokens)[None], torch.tensor([30]), VOCABULARY)
    assert candidate.text == " ".join(expected.split())


@pytest.mark.parametrize("seed", range(4))
def test_flashlight_agrees_where_both_keep_everything(seed: int) -> None:
    heard, spoken, fusion = noise(12, seed), language(3), Fusion(0.8, 0.5)
    (own, *_) = PrefixBeam(width=3_000, letters=10, threshold=60.0).build(VOCABULARY, spoken).candidates(heard, fusion)
    theirs = Flashlight(beam=3_000, tokens=10, threshold=1e4).build(VOCABULARY, spoken).candidates(heard, fusion)
    assert own.text == theirs[0].text
    assert own.score(fusion) == pytest.approx(theirs[0].score(fusion), abs=1e-3)
    assert own.language == pytest.approx(theirs[0].language, abs=1e-4)


def test_only_words_of_the_lexicon_are_written() -> None:
    decoder = PrefixBeam(width=16).build(VOCABULARY, language())
    for seed in range(5):
        text = decoder.candidates(noise(20, seed), Fusion(0.5, 0.0))[0].text
        assert {*text.split()} <= {"ab", "ba", "a", "b"}


def test_an_utterance_is_decoded_alone_as_in_a_batch() -> None:
    decoder, rows = PrefixBeam().build(VOCABULARY, language()), [noise(9, 1), noise(14, 2)]
    batch = decoder(Sequences.stack(rows), Fusion(0.5, 0.0))
    assert batch == [decoder.candidates(row, Fusion(0.5, 0.0))[0].text for row in rows]


def test_the_weight_is_the_best_of_the_grid_and_the_least_of_equals() -> None:
    decoder = PrefixBeam(width=64).build(VOCABULARY, language())
    rows = [noise(10, seed) for seed in range(6)]
    wanted = Fusion(1.0, 0.0)
    references = [decoder.candidates(row, wanted)[0].text or "a" for row in rows]
    tuning = Tuning(weights=(0.0, 1.0, 3.0), word_scores=(0.0, 1.0))
    found = tune(decoder, references, rows, tuning)
    assert found.wer <= 100 * sum(not decoder.candidates(row, wanted)[0].text for row in rows) / 6
    alike = tune(decoder, ["zz"] * 6, [np.log(np.eye(len(VOCABULARY), dtype=np.float32)[[2] * 4] + 1e-9)] * 6, tuning)
    assert alike.fusion == Fusion(0.0, 0.0)
    with pytest.raises(ValueError, match="at least one utterance"):
        tune(decoder, [], [], tuning)


def test_lexicons_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    file = tmp_path / "lexicon.txt"
    file.write_text("ab\ta b |\nabc\ta b c |\n")
    with pytest.raises(ValueError, match="must be in the student's letters, but 'abc' in line 2"):
        Lexicon.read(file, VOCABULARY)
    file.write_text("ab\tab |\n")
    with pytest.raises(ValueError, match="must have lines such as word, a tab, w o r d"):
        Lexicon.read(file, VOCABULARY)
    file.write_text("\n")
    with pytest.raises(ValueError, match="at least one word"):
        Lexicon.read(file, VOCABULARY)
    assert Lexicon.of(["ab", "cab"], VOCABULARY).left_out == 1
    with pytest.raises(ValueError, match="words in the student's letters"):
        Lexicon.of(["zz"], VOCABULARY)


def test_without_the_extra_its_name_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flashlight.lib.text", None)
    with pytest.raises(ValueError, match="flashlight-text must be installed for this decoder, but is not: pip install"):
        Flashlight().check()
