import unicodedata
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trainables.corpora.text import (
    BLANK,
    DELIMITER,
    UNKNOWN,
    CharacterVocabulary,
    Letters,
    LettersAndApostrophes,
    LettersAndMarks,
)

# Few characters of every kind that matters, so that Hypothesis meets them together.
TEXTS = st.text(
    st.characters()
    | st.sampled_from("aÁß İﬁ½²ΑΣςẞǅ\u00a0\u3000\t\n\u0085\u1680\u2028\u200b\ufeff’-'´7தமிழ்ที่e\u0301\u0323한한"),
    max_size=30,
)


def released_rule(text):
    """What the paper's released code does, step by step."""
    kept = ""
    for character in unicodedata.normalize("NFKC", text):
        if character == " " or unicodedata.category(character).startswith("L"):
            kept += character
    return " ".join(part for part in kept.lower().split(" ") if part)


@given(TEXTS)
def test_letters_is_the_rule_of_the_released_code_where_that_does_what_it_says(text):
    apart = "".join(" " if c.isspace() else c for c in text)
    released = released_rule(apart)
    if released == released_rule(released):  # no mark is left, and nothing that would compose
        assert Letters()(text) == released


@given(TEXTS)
@example("İ")
@example("\u1112\u0301\u1161")
@example("a\u0301\u200d\u0323")
@example("ŉ ’ ＇")
@pytest.mark.parametrize(
    ("normaliser", "categories", "others"),
    [(Letters(), "L", " "), (LettersAndMarks(), "LM", " "), (LettersAndApostrophes(), "L", " '")],
)
def test_only_what_is_kept_is_left_and_to_normalise_again_changes_nothing(normaliser, categories, others, text):
    normalised = normaliser(text)
    assert all(c in others or unicodedata.category(c)[0] in categories for c in normalised)
    assert normalised == normalised.lower() == unicodedata.normalize("NFKC", normalised)
    assert normaliser(normalised) == normalised
    assert normaliser.deleted(normalised) == ""


@given(TEXTS)
@pytest.mark.parametrize("normaliser", [Letters(), LettersAndMarks()])
def test_every_character_that_is_taken_away_is_told(normaliser, text):
    kept = Counter(unicodedata.normalize("NFKD", normaliser(text) + normaliser.deleted(text)))
    whole = Counter(unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).lower()))
    for counts in (kept, whole):  # at the end of a word sigma has a form of its own
        counts["σ"] += counts.pop("ς", 0)
        del counts[" "]
    assert kept == whole


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
        ("one\ttwo", "one two"),  # NFKC leaves tabs and line separators as they are
        ("one\u2028two\u2029three\u0085four\u1680five", "one two three four five"),
        ("one\r\ntwo\u3000\u2003 three", "one two three"),
        ("one\u200btwo\u00ad\ufeff\u2060three", "onetwothree"),  # none of these is white space
        ("ΟΔΟΣ. ΑΣ-Α", "οδος ασα"),
        ("STRAẞE ﬁ ǅ", "straße fi dž"),
        ("", ""),
        ("42 %", ""),
    ],
)
def test_both_rules_agree_where_there_are_no_marks(text, normalised):
    assert Letters()(text) == LettersAndMarks()(text) == normalised


@pytest.mark.parametrize(
    ("text", "letters", "and_marks"),
    [
        ("İstanbul'da ISLIK", "istanbulda islik", "i\u0307stanbulda islik"),
        ("I\u0307", "i", "i\u0307"),
        ("\u1112\u0301\u1161\u11ab", "\ud55c", "\u1112\u0301\u1161\u11ab"),  # jamo compose when nothing parts them
        ("a\u0301\u200d\u0323", "á", "\u1ea1\u0301"),  # the order of marks
    ],
)
def test_marks_that_lower_case_makes_or_that_part_letters(text, letters, and_marks):
    assert Letters()(text) == letters
    assert LettersAndMarks()(text) == and_marks


def test_what_is_deleted_or_separates_words_without_being_a_space_is_told():
    text = "a\u2028b\u0085c\td e\u00a0f\u3000g\u200bh\u202ei İ"
    assert Letters().deleted(text) == "\u2028\u0085\t\u200b\u202e\u0307"
    assert LettersAndMarks().deleted(text) == "\u2028\u0085\t\u200b\u202e"


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


@given(st.text(["A", "B", "Z", "'", " "]))
def test_a_transcript_of_librispeech_is_made_lower_case_and_nothing_else(text):
    words = [word for word in text.lower().split() if set(word) != {"'"}]
    assert LettersAndApostrophes()(text) == " ".join(words)
    assert set(LettersAndApostrophes().deleted(text)) <= {"'"}


@pytest.mark.parametrize(
    ("text", "expected", "deleted"),
    [
        ("IT'S O'CLOCK 'TIS THE BOYS'", "it's o'clock 'tis the boys'", ""),
        ("It\N{RIGHT SINGLE QUOTATION MARK}s at 12\N{RIGHT SINGLE QUOTATION MARK}", "it's at", "12'"),
        ("Rock 'n' roll, l'\u00e9t\u00e9 ne\u0301'a", "rock 'n' roll l'\u00e9t\u00e9 n\u00e9'a", ","),
        ("'", "", "'"),
        ("a - ' - b", "a b", "--'"),
    ],
)
def test_apostrophes_are_kept_where_they_are_in_words(text, expected, deleted):
    assert LettersAndApostrophes()(text) == expected
    assert LettersAndApostrophes().deleted(text) == deleted


def test_english_of_librispeech_has_28_characters():
    texts = [LettersAndApostrophes()(t) for t in ("THE QUICK BROWN FOX JUMPS OVER", "THE LAZY DOG'S")]
    tokens = CharacterVocabulary.of(texts, mass=1).tokens
    assert sorted(tokens[:-2]) == ["'", *"abcdefghijklmnopqrstuvwxyz", DELIMITER]
    assert tokens[-2:] == (UNKNOWN, BLANK)


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
