import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.corpora.text import BLANK, DELIMITER, UNKNOWN, CharacterVocabulary, Letters, LettersAndMarks

# Few characters of every kind that matters, so that Hypothesis meets them together.
TEXTS = st.text(st.characters() | st.sampled_from("aÁß İﬁ½²\u00a0\u3000\t\n’-'7தமிழ்ที่e\u0301"), max_size=30)


def released_rule(text):
    """What the paper's released code does, step by step."""
    kept = ""
    for character in unicodedata.normalize("NFKC", text):
        if character == " " or unicodedata.category(character).startswith("L"):
            kept += character
    return " ".join(part for part in kept.lower().split(" ") if part)


@given(TEXTS)
def test_letters_is_the_rule_of_the_released_code(text):
    assert Letters()(text) == released_rule(text)


@given(TEXTS)
def test_words_are_separated_by_single_spaces_and_nothing_else(text):
    for normaliser in (Letters(), LettersAndMarks()):
        assert all(normaliser(text).split(" ")) or normaliser(text) == ""


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("Oba muži byli zatčeni.", "oba muži byli zatčeni"),
        ("  „Ne“,   řekl – tiše! ", "ne řekl tiše"),
        ("l'été 2020", "lété"),
        ("e\u0301", "é"),  # composed by NFKC before marks are looked at
        ("ﬁn\u00a0de", "fin de"),
        ("one\ttwo", "onetwo"),  # a tab is neither a letter nor a space
        ("", ""),
        ("42 %", ""),
    ],
)
def test_both_rules_agree_where_there_are_no_marks(text, normalised):
    assert Letters()(text) == LettersAndMarks()(text) == normalised


def test_vowel_signs_are_told_as_deleted():
    assert Letters().deleted("தமிழ் 7.") == "ி்7."
    assert LettersAndMarks().deleted("தமிழ் 7.") == "7."


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("தமிழ்", "தமழ"),  # vowel sign i and the virama are marks
        ("ที่นี่", "ทน"),  # vowel signs and tone marks
    ],
)
def test_letters_deletes_vowel_signs_and_letters_and_marks_keeps_them(text, letters):
    assert Letters()(text) == letters
    assert LettersAndMarks()(text) == text


def test_vocabulary_goes_by_frequency_then_code_point_and_ends_with_unknown_and_blank():
    vocabulary = CharacterVocabulary.of(["bbb caa", "da c"], mass=1)
    assert vocabulary.tokens == ("a", "b", DELIMITER, "c", "d", UNKNOWN, BLANK)
    assert vocabulary.unknown == 5
    assert vocabulary.blank == 6
    assert len(vocabulary) == 7


def test_rare_characters_beyond_the_mass_become_unknown():
    texts = ["a" * 9998 + "bc"]  # a and b make up 9 999 of 10 000
    assert CharacterVocabulary.of(texts).tokens == ("a", "b", DELIMITER, UNKNOWN, BLANK)
    assert CharacterVocabulary.of([*texts, "b"]).tokens == ("a", "b", DELIMITER, UNKNOWN, BLANK)
    assert CharacterVocabulary.of(texts, mass=1).tokens == ("a", "b", "c", DELIMITER, UNKNOWN, BLANK)


def test_the_space_is_kept_however_rare():
    assert DELIMITER in CharacterVocabulary.of(["a" * 100_000 + " a"]).tokens


@given(st.lists(st.text("abcdefgh ", min_size=1), min_size=1), st.sampled_from([0.5, 0.9, 0.9999]))
def test_vocabulary_is_the_smallest_that_reaches_the_mass(texts, mass):
    text = "".join(texts)
    letters = [token for token in CharacterVocabulary.of(texts, mass).tokens[:-2] if token != DELIMITER]
    frequent = sorted(set(text), key=lambda c: (-text.count(c), c))
    smallest = next(n for n in range(len(frequent) + 1) if sum(map(text.count, frequent[:n])) >= mass * len(text))
    assert letters == [c for c in frequent[:smallest] if c != " "]


@given(st.lists(st.text("abc é"), min_size=1), st.randoms())
def test_vocabulary_does_not_depend_on_the_order_of_texts(texts, random):
    shuffled = random.sample(texts, len(texts))
    assert CharacterVocabulary.of(texts) == CharacterVocabulary.of(shuffled)


@given(st.lists(TEXTS, min_size=1))
def test_encoding_and_decoding_gives_a_normalised_text_back(texts):
    normalised = [LettersAndMarks()(text) for text in texts]
    vocabulary = CharacterVocabulary.of(normalised, mass=1)
    for text in normalised:
        tokens = vocabulary.encode(text)
        assert len(tokens) == len(text)
        assert vocabulary.blank not in tokens
        assert vocabulary.unknown not in tokens
        assert vocabulary.decode(tokens) == text


def test_unknown_characters_are_encoded_as_such_and_left_out_when_decoded():
    vocabulary = CharacterVocabulary.of(["abc"])
    tokens = vocabulary.encode("a x[")
    assert tokens == [0, 3, vocabulary.unknown, vocabulary.unknown]
    assert vocabulary.decode([0, vocabulary.unknown, 1, vocabulary.blank, 2]) == "abc"
