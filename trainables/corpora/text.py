"""Normalisation rules and the character vocabulary."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from trainables.config import Config


class Letters(Config):
    """The rule of the paper's released code: NFKC, letters and spaces kept, lower case.

    It deletes vowel signs, which are marks and not letters, in Tamil, Thai and other abugidas.
    """

    kind: Literal["letters"] = "letters"

    def __call__(self, text: str) -> str:
        """The normalised text, words separated by single spaces."""
        return _keep(text, "L")

    def deleted(self, text: str) -> str:
        """The characters that it takes away, but for spaces."""
        return _delete(text, "L")


class LettersAndMarks(Config):
    """As `Letters`, but combining marks are kept, so that Tamil and Thai stay whole."""

    kind: Literal["letters_and_marks"] = "letters_and_marks"

    def __call__(self, text: str) -> str:
        """The normalised text, words separated by single spaces."""
        return _keep(text, "LM")

    def deleted(self, text: str) -> str:
        """The characters that it takes away, but for spaces."""
        return _delete(text, "LM")


Normaliser = Annotated[Letters | LettersAndMarks, Field(discriminator="kind")]


def _keep(text: str, categories: str) -> str:
    text = unicodedata.normalize("NFKC", text)
    kept = "".join(c for c in text if c == " " or unicodedata.category(c)[0] in categories)
    return " ".join(kept.lower().split())


def _delete(text: str, categories: str) -> str:
    text = unicodedata.normalize("NFKC", text)
    return "".join(c for c in text if not c.isspace() and unicodedata.category(c)[0] not in categories)


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
