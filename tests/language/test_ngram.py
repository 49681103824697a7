"""Word n-grams: modified Kneser-Ney against a plain reading of its equations, and files of them."""

import gzip
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.language import arpa
from trainables.language.kneser_ney import estimate
from trainables.language.ngram import END, START, UNKNOWN, Ngram

TEXT = [sentence.split() for sentence in (
    "the cat sat on the mat", "the cat ate the rat", "a rat sat on a mat", "the mat", "on the mat the cat sat",
)]  # fmt: skip
SENTENCES = st.lists(st.lists(st.sampled_from("abcd"), max_size=6), min_size=1, max_size=8)


def total(model: Ngram, history: Sequence[str]) -> float:
    """The probabilities of all that may come after a history, added up."""
    state = model.start
    for word in history:
        _, state = model.score(state, word)
    return sum(10 ** model.score(state, word)[0] for word in model.vocabulary - {START})


@settings(deadline=None, max_examples=60)
@given(
    sentences=SENTENCES.filter(lambda found: any(found)), order=st.integers(1, 4), history=st.text("abcd", max_size=4)
)
def test_the_probabilities_after_any_history_sum_to_one(sentences: list[list[str]], order: int, history: str) -> None:
    model = estimate(sentences, order)
    assert UNKNOWN in model.vocabulary
    assert total(model, history) == pytest.approx(1, abs=1e-9)
    assert total(model, [*history, "never"]) == pytest.approx(1, abs=1e-9)


def test_a_bigram_model_has_the_probabilities_of_its_equations() -> None:
    # Chen & Goodman 1998, §3: bigrams by counts less a discount, the rest by the number of words that come before.
    text = [list(sentence) for sentence in ("ab", "ab", "ab", "ab", "ac", "ac", "da", "da", "da", "d", "b")]
    model = estimate(text, 2)
    bigrams: dict[tuple[str, str], int] = {}
    for sentence in text:
        words = [START, *sentence, END]
        for pair in pairwise(words):
            bigrams[pair] = bigrams.get(pair, 0) + 1

    def discount(counts: list[int]) -> dict[int, float]:
        n = {k: sum(count == k for count in counts) for k in (1, 2, 3, 4)}
        y = n[1] / (n[1] + 2 * n[2])
        return {k: k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3)}

    of_pairs = discount(list(bigrams.values()))
    after_a = {word: count for (first, word), count in bigrams.items() if first == "a"}
    left_over = sum(of_pairs[min(count, 3)] for count in after_a.values()) / sum(after_a.values())
    discounted = {word: (count - of_pairs[min(count, 3)]) / sum(after_a.values()) for word, count in after_a.items()}
    state = model.score(model.start, "a")[1]
    unigram = {word: 10 ** model.entries[(word,)][0] for word in after_a}
    for word, share in discounted.items():
        assert 10 ** model.score(state, word)[0] == pytest.approx(share + left_over * unigram[word], rel=1e-6)


def test_a_word_that_follows_many_others_is_likelier_alone_than_one_that_is_as_frequent_but_follows_one() -> None:
    # What tells Kneser-Ney from discounts alone: "Francisco" follows only "San".
    text = [["san", "francisco"]] * 6 + [[word, "city"] for word in ("a", "b", "c", "d", "e", "f")]
    model = estimate(text, 2)
    assert model.entries[("city",)][0] > model.entries[("francisco",)][0]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_an_arpa_file_brings_the_model_back(order: int, tmp_path: Path) -> None:
    model, file = estimate(TEXT, order), tmp_path / "model.arpa"
    arpa.write(model, file)
    (tmp_path / "model.arpa.gz").write_bytes(gzip.compress(file.read_bytes()))
    for name in ("model.arpa", "model.arpa.gz"):
        again = arpa.read(tmp_path / name)
        assert again.vocabulary == model.vocabulary
        for sentence in (*TEXT, ["the", "dog", "sat"], []):
            assert again.sentence(sentence) == pytest.approx(model.sentence(sentence), abs=1e-4)
    arpa.write(again, tmp_path / "again.arpa")
    assert (tmp_path / "again.arpa").read_bytes() == file.read_bytes()
    assert arpa.counts(file) == tuple(sum(len(n) == k for n in model.entries) for k in range(1, order + 1))
    assert {*arpa.words(file)} == model.vocabulary


def test_states_are_the_fewest_words_that_matter() -> None:
    model = estimate(TEXT, 3)
    for history in (["the", "cat"], ["never", "seen"], ["zebra", "the"]):
        state = model.start
        for word in history:
            state = model.score(state, word)[1]
        assert len(state) <= 2
    state = model.score(model.start, "never")[1]
    assert math.isfinite(model.score(state, "the")[0])


def damaged(text: str) -> dict[str, str]:
    lines = text.splitlines(keepends=True)
    first = next(i for i, line in enumerate(lines) if line.startswith("\\1-grams"))
    return {
        "end": text.replace("\\end\\", ""),
        "count": text.replace("ngram 2=", "ngram 2=9"),
        "number": "".join([*lines[: first + 1], lines[first + 1].replace("-", "minus", 1), *lines[first + 2 :]]),
        "positive": "".join([*lines[: first + 1], lines[first + 1].replace("-", "", 1), *lines[first + 2 :]]),
        "cut": text[: len(text) // 2],
        "empty": "",
    }


@pytest.mark.parametrize("kind", ["end", "count", "number", "positive", "cut", "empty"])
def test_a_damaged_file_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "model.arpa"
    arpa.write(estimate(TEXT, 2), file)
    file.write_text(damaged(file.read_text())[kind])
    with pytest.raises(ValueError, match=r"model\.arpa") as raised:
        arpa.read(file)
    assert len(str(raised.value).splitlines()) == 1


def test_a_cut_archive_and_an_unknown_order_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.arpa"
    arpa.write(estimate(TEXT, 4), file)
    text, squeezed = file.read_text(), tmp_path / "model.arpa.gz"
    squeezed.write_bytes(gzip.compress(text.encode())[:200])
    with pytest.raises(ValueError, match=r"model\.arpa\.gz"):
        arpa.read(squeezed)
    head = text.index("\n\n", text.index("ngram 4="))
    longer = (
        text[:head] + "\nngram 5=1" + text[head:].replace("\\end\\", "\\5-grams:\n-1.0\tthe cat sat on the\n\n\\end\\")
    )
    file.write_text(longer)
    assert len(arpa.counts(file)) == 5
    with pytest.raises(ValueError, match=r"model\.arpa"):
        arpa.read(file)
    with pytest.raises(ValueError, match="5"):
        estimate(TEXT, 5)
