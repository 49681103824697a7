"""Normalisation rules and the character vocabulary."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Literal, Protocol, runtime_checkable

from pydantic import Field

from trainables.config import Config


class Letters(Config):
    """The rule of the paper's released code: NFKC, letters and spaces kept, lower case.

    It deletes vowel signs, which are marks and not letters, in Tamil, Thai and other abugidas.
    Unlike that code it deletes the dot that İ leaves behind when it is made a small letter, and no white space joins
    the words that it stands between.
    """

    kind: Literal["letters"] = "letters"

    def __call__(self, text: str) -> str:
        """The normalised text, words separated by single spaces. To normalise it again changes nothing."""
        return _normalise(text, "L")[0]

    def deleted(self, text: str) -> str:
        """The characters that it takes away, but for spaces; a tab or a line separator leaves a space in its place."""
        return _normalise(text, "L")[1]


class LettersAndMarks(Config):
    """As `Letters`, but combining marks are kept, so that Tamil and Thai stay whole."""

    kind: Literal["letters_and_marks"] = "letters_and_marks"

    def __call__(self, text: str) -> str:
        """The normalised text, words separated by single spaces. To normalise it again changes nothing."""
        return _normalise(text, "LM")[0]

    def deleted(self, text: str) -> str:
        """The characters that it takes away, but for spaces; a tab or a line separator leaves a space in its place."""
        return _normalise(text, "LM")[1]


class LettersAndApostrophes(Config):
    """As `Letters`, but apostrophes are kept, as LibriSpeech's transcripts have them: it's, o'clock, 'tis, the boys'.

    Such a transcript is made lower case and nothing else, so that error rates have the references of papers: 26
    letters, apostrophe and space. ’ and ʼ become apostrophes. A quotation mark that is written as one stays too; a word
    of apostrophes alone does not.
    """

    kind: Literal["letters_and_apostrophes"] = "letters_and_apostrophes"

    def __call__(self, text: str) -> str:
        """The normalised text, words separated by single spaces. To normalise it again changes nothing."""
        return self._parts(text)[0]

    def deleted(self, text: str) -> str:
        """The characters that it takes away, but for spaces; a tab or a line separator leaves a space in its place."""
        return self._parts(text)[1]

    def _parts(self, text: str) -> tuple[str, str]:
        text, deleted = _normalise(text, "L", APOSTROPHES)
        words = text.split()
        kept = [word for word in words if word.strip("'")]
        return " ".join(kept), deleted + "".join(word for word in words if not word.strip("'"))


APOSTROPHES = {"'": "'", "\N{RIGHT SINGLE QUOTATION MARK}": "'", "\N{MODIFIER LETTER APOSTROPHE}": "'"}
Normaliser = Annotated[Letters | LettersAndMarks | LettersAndApostrophes, Field(discriminator="kind")]


def _normalise(text: str, categories: str, others: Mapping[str, str] = MappingProxyType({})) -> tuple[str, str]:
    """The text of which only letters of these categories of Unicode and single spaces are left, and what is not left.

    `others` are further characters that are kept, each with what it becomes.
    Once is not enough: of İ, lower case makes an i and a combining dot, which is no letter, and letters that stood on
    both sides of what is deleted may compose (Hangul's do), or marks change their order.
    """
    deleted, before, kept = "", None, {" ", *others.values()}
    become = str.maketrans(dict(others))
    while text != before:
        before, text = text, unicodedata.normalize("NFKC", text).translate(become)
        gone = [c for c in text if c not in kept and unicodedata.category(c)[0] not in categories]
        deleted += "".join(gone)
        # NFKC makes a space of most white space, but not of tabs, line ends, U+0085, U+1680, U+2028 and U+2029.
        text = text.translate({ord(c): " " if c.isspace() else None for c in gone})
        text = " ".join(text.lower().split())
    return text, deleted


@runtime_checkable
class Vocabulary(Protocol):
    """The tokens that transcripts are recognised in."""

    @property
    def tokens(self) -> tuple[str, ...]:
        """The tokens, in the order of their numbers."""
        ...

    @property
    def blank(self) -> int:
        """Number of the blank of CTC and of transducers, which no transcript has."""
        ...

    def __len__(self) -> int: ...

    def encode(self, text: str) -> list[int]:
        """Numbers of the tokens of a normalised text."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens, by their numbers."""
        ...


DELIMITER, UNKNOWN, BLANK = "|", "[UNK]", "[PAD]"


@dataclass(frozen=True)
class CharacterVocabulary:
    """Characters by frequency, `|` for the space, then the unknown token, then CTC's blank."""

    tokens: tuple[str, ...]

    @classmethod
    def of(cls, texts: Iterable[str], mass: float = 0.9999) -> "CharacterVocabulary":
        """The fewest of the most frequent characters that make up `mass` of `texts`, and the space.

        Ties go by code point, so that one set of texts has one vocabulary.
        """
        counts = Counter[str]()
        for text in texts:
            counts.update(text)
        total, covered, kept = counts.total(), 0, []
        for character, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
            if covered < mass * total or character == " ":
                kept.append(DELIMITER if character == " " else character)
            covered += count
        if DELIMITER not in kept:
            kept.append(DELIMITER)
        return cls((*kept, UNKNOWN, BLANK))

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def unknown(self) -> int:
        """Index of the unknown token."""
        return len(self.tokens) - 2

    @property
    def blank(self) -> int:
        """Index of CTC's blank."""
        return len(self.tokens) - 1

    def encode(self, text: str) -> list[int]:
        """Token indices of a normalised text."""
        index = {token: i for i, token in enumerate(self.tokens[:-2])}
        return [index.get(DELIMITER if c == " " else c, self.unknown) for c in text]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token indices; blanks and unknown tokens are left out."""
        text = "".join(self.tokens[i] for i in tokens if i < self.unknown)
        return " ".join(text.replace(DELIMITER, " ").split())
