"""The words that a decoder may write, each as the letters of a student's vocabulary."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from trainables.corpora.text import DELIMITER, CharacterVocabulary
from trainables.language.ngram import MARKS

Spelling = tuple[int, ...]
"""Indices of a word's letters in the vocabulary, without the delimiter after it."""


@dataclass(slots=True, eq=False)
class Node:
    """A beginning of spellings: what may come next, and which words end here."""

    children: dict[int, "Node"] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Lexicon:
    """Words and their spellings. What is written of a word is its first spelling, whatever a language model calls it.

    `THE` with the spelling `t h e` is written "the".
    """

    spellings: dict[str, tuple[Spelling, ...]]
    """For each word one spelling or more, in the lexicon's order."""
    left_out: int = 0
    """Words that had letters which the vocabulary lacks."""

    @classmethod
    def of(cls, words: Iterable[str], vocabulary: CharacterVocabulary) -> "Lexicon":
        """The words of a language model as they are written, in small letters where the vocabulary has no others.

        Those that the vocabulary's letters cannot write are left out. Raises ValueError where these are all.
        """
        letters, found, left_out = _letters(vocabulary), dict[str, tuple[Spelling, ...]](), 0
        for word in words:
            if word in MARKS:
                continue
            if (spelling := _spelling(word, letters)) is None:
                left_out += 1
            else:
                found[word] = (spelling,)
        if not found:
            raise ValueError(f"A language model must have words in the student's letters, but of {left_out} none is.")
        return cls(found, left_out)

    @classmethod
    def read(cls, path: Path, vocabulary: CharacterVocabulary) -> "Lexicon":
        """The lexicon of a file as fairseq and flashlight have it: `word`, a tab, `w o r d |`, once for each spelling.

        Capital letters are small ones where the vocabulary has only these. Raises ValueError, naming the word, where a
        spelling has a letter that the vocabulary lacks, and for whatever else is no lexicon.
        """
        letters, found = _letters(vocabulary), dict[str, tuple[Spelling, ...]]()
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else error.reason
            raise ValueError(f"A lexicon must be UTF-8 text that can be read, but {path} is not: {why}.") from error
        for number, line in enumerate(lines, 1):
            word, *parts = line.split() or [""]
            if not line.strip():
                continue
            parts = parts[:-1] if parts[-1:] == [DELIMITER] else parts
            if not parts or any(len(part) != 1 for part in parts):
                raise ValueError(
                    f"A lexicon must have lines such as word, a tab, w o r d |, but line {number} of {path} is "
                    f"{line!r}."
                )
            if (spelling := _spelling("".join(parts), letters)) is None:
                lacking = next(part for part in parts if not {part, part.lower()} & letters.keys())
                raise ValueError(
                    f"The spellings of a lexicon must be in the student's letters, but {word!r} in line {number} of "
                    f"{path} has {lacking!r}."
                )
            if word not in MARKS and spelling not in found.get(word, ()):
                found[word] = (*found.get(word, ()), spelling)
        if not found:
            raise ValueError(f"A lexicon must have at least one word, but {path} has none.")
        return cls(found)

    def trie(self) -> Node:
        """All spellings as one tree."""
        root = Node()
        for word, spellings in self.spellings.items():
            for spelling in spellings:
                node = root
                for letter in spelling:
                    node = node.children.setdefault(letter, Node())
                node.words.append(word)
        return root


def _letters(vocabulary: CharacterVocabulary) -> dict[str, int]:
    return {token: i for i, token in enumerate(vocabulary.tokens[: vocabulary.unknown]) if token != DELIMITER}


def _spelling(text: str, letters: dict[str, int]) -> Spelling | None:
    """Each letter as it is, or else as a small one; None where the vocabulary has neither."""
    found = [letters.get(letter, letters.get(letter.lower())) for letter in text]
    return None if None in found else tuple(letter for letter in found if letter is not None)
