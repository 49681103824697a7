"""Word pieces of a BERT as the targets of a recogniser, so that each has a hidden state of that BERT to learn from.

    don't say  →  [CLS] don ' t say [SEP]          (arXiv 2202.07894, footnote 1: the special pieces are targets too)

The blank of a transducer, and what a decoder sees before the first piece, is [PAD], which no transcript has: so a
piece's number is the BERT's own, and nothing is added to its vocabulary.

BERT's tokenizer cuts at apostrophes and forgets the spaces around them. `Apostrophes` puts them back by the words of
the training transcripts; `WordPieces.misread` tells how often that fails.
"""

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from tokenizers.models import WordPiece
from transformers import PreTrainedTokenizerBase
from typing_extensions import override

from trainables.config import Config

SPECIAL = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
"""Pieces that every output layer has."""
CONTINUES = "##"
"""Before a piece that continues a word."""


@dataclass(frozen=True)
class Apostrophes:
    """The words with apostrophes that a text has, by which those of others are put together again."""

    counts: Counter[str]

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Apostrophes":
        """Those of normalised texts."""
        return cls(Counter(word for text in texts if "'" in text for word in text.split() if "'" in word))

    def joined(self, parts: Sequence[str]) -> str:
        """The text of words and single apostrophes, which of a text are what BERT's basic tokenizer leaves.

        `don ' t` becomes `don't`, and `boys ' house` becomes `boys' house` where a training transcript has `boys'`.
        Of all ways to glue a row of apostrophes and words, that is taken by which most apostrophes are in known words,
        of several the one whose words are the most frequent, and then the one that has the fewest words.
        """
        words: list[str] = []
        row: list[str] = []
        for part in [*parts, ""]:
            if row and part != "'" and (row[-1] != "'" or not part):
                words += self._glued(tuple(row))
                row = []
            if part:
                row.append(part)
        return " ".join(words)

    def _glued(self, row: Sequence[str]) -> list[str]:
        """The best words of a row in which apostrophes and words alternate, or apostrophes follow one another."""
        best: dict[int, tuple[int, float, int, list[str]]] = {0: (0, 0.0, 0, [])}  # by the number of parts
        for end in range(1, len(row) + 1):
            ways = []
            for start, (known, weight, fewer, words) in best.items():
                word = "".join(row[start:end])
                if not word.strip("'"):  # no normalised text has a word of apostrophes alone
                    continue
                if word in self.counts:
                    known, weight = known + word.count("'"), weight + math.log(self.counts[word])
                ways.append((known, weight, fewer - 1, [*words, word]))
            if ways:
                best[end] = max(ways, key=lambda way: way[:3])
        return best[len(row)][-1] if len(row) in best else []


class WordPieces:
    """The pieces that an output layer has, numbered from [PAD], which is 0 and the blank."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        kept: Iterable[int] | None = None,
        apostrophes: Apostrophes = Apostrophes(Counter()),
    ) -> None:
        """`kept` are the tokenizer's numbers of the pieces that the output layer has, by default all.

        Raises ValueError when the tokenizer is not a BERT's, or the special pieces are not all kept.
        """
        model = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
        vocabulary = tokenizer.get_vocab()
        numbers = [vocabulary[name] for name in SPECIAL if name in vocabulary]
        if not isinstance(model, WordPiece) or len(numbers) < len(SPECIAL) or numbers[0] != 0:
            raise ValueError(
                f"A teacher's tokenizer must be a BERT's, of word pieces with {', '.join(SPECIAL)}, of which the "
                f"first is number 0, but {tokenizer.name_or_path or 'this one'} is not."
            )
        self.tokenizer, self.apostrophes = tokenizer, apostrophes
        self.numbers = sorted(set(range(len(tokenizer)) if kept is None else kept))
        """The tokenizer's number of each piece."""
        lacking = [name for name, number in zip(SPECIAL, numbers, strict=True) if number not in set(self.numbers)]
        if lacking:
            raise ValueError(
                f"`kept` must have the special pieces {', '.join(SPECIAL)}, but lacks {', '.join(lacking)}."
            )
        self.tokens = tuple(tokenizer.convert_ids_to_tokens(self.numbers))
        """The pieces, `##` before those that continue a word."""
        self.blank = 0
        """Number of [PAD]: the transducer's blank, and what a decoder sees before the first piece."""
        _, self.unknown, self.begin, self.end = (self.tokens.index(name) for name in SPECIAL)
        self.special = tuple(numbers)
        """The tokenizer's numbers of the special pieces."""
        self._index = {number: i for i, number in enumerate(self.numbers)}

    def __len__(self) -> int:
        return len(self.numbers)

    @cached_property
    def _dropped(self) -> frozenset[int]:
        return frozenset(self.tokens.index(name) for name in SPECIAL)

    def encode(self, text: str) -> list[int]:
        """Numbers of the pieces of a normalised text, from [CLS] to [SEP]: as many as the BERT has hidden states.

        A piece that the output layer lacks is [UNK] here; the BERT reads it as it is.
        Raises ValueError when the text is empty, or longer than what the BERT can read.
        """
        if not text.strip():
            raise ValueError("A transcript must have at least one word, but is empty.")
        found = self.tokenizer(text, truncation=False, verbose=False)["input_ids"]
        if len(found) > self.tokenizer.model_max_length:
            raise ValueError(
                f"A transcript must have at most {self.tokenizer.model_max_length} word pieces, the special ones "
                f"counted, but {text[:60]!r} has {len(found)}."
            )
        return [self._index.get(number, self.unknown) for number in found]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of pieces; special ones are left out, and [UNK] is none, as it stands for no one word."""
        parts: list[str] = []
        for piece in (self.tokens[i] for i in tokens if i not in self._dropped):
            if piece.startswith(CONTINUES) and parts:
                parts[-1] += piece.removeprefix(CONTINUES)
            else:
                parts.append(piece.removeprefix(CONTINUES))
        return self.apostrophes.joined(parts)

    def misread(self, texts: Iterable[str]) -> list[tuple[str, str]]:
        """Of these texts, those that are not the same after `encode` and `decode`, each with what becomes of it."""
        read = ((text, self.decode(self.encode(text))) for text in texts)
        return [(text, back) for text, back in read if text != back]


class _Pieces(Config, ABC):
    """Which of a BERT's pieces an output layer has."""

    label: ClassVar[str]
    """Words that tell this output layer from the paper's; empty for the paper's."""

    @abstractmethod
    def kept(self, found: Counter[int], special: Sequence[int]) -> Iterable[int] | None:
        """The tokenizer's numbers of these pieces, where training has pieces so often; None for all."""

    def build(self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> WordPieces:
        """The pieces for normalised training transcripts.

        Raises ValueError when the tokenizer is not a BERT's, or has no pieces for one of their characters.
        """
        whole = WordPieces(tokenizer)
        found = Counter(number for row in tokenizer(list(texts), verbose=False)["input_ids"] for number in row)
        if found[whole.numbers[whole.unknown]]:
            raise ValueError(_uncovered(whole, texts))
        return WordPieces(tokenizer, self.kept(found, whole.special), Apostrophes.of(texts))


class AllPieces(_Pieces):
    """All of a BERT's pieces, as in the paper: 30 522."""

    kind: Literal["all"] = "all"
    label: ClassVar[str] = ""

    @override
    def kept(self, found: Counter[int], special: Sequence[int]) -> None:
        return None


class SeenPieces(_Pieces):
    """The pieces of the training transcripts and the special ones: where there is little text, a tenth of them all.

    Words with other pieces cannot be recognised.
    """

    kind: Literal["seen"] = "seen"
    label: ClassVar[str] = "output layer of pieces seen in training"
    at_least: Annotated[int, Field(gt=0)] = 1
    """Times that a piece is in the training transcripts."""

    @override
    def kept(self, found: Counter[int], special: Sequence[int]) -> set[int]:
        return {*special, *(number for number, count in found.items() if count >= self.at_least)}


Pieces = Annotated[AllPieces | SeenPieces, Field(discriminator="kind")]


def _uncovered(pieces: WordPieces, texts: Sequence[str]) -> str:
    known, unknown = set(pieces.tokens), pieces.unknown
    for text in texts:
        for word in text.split():
            if unknown in pieces.encode(word):
                gone = [c for c in word if c not in known or CONTINUES + c not in known]
                return (
                    "A teacher's word pieces must cover every character of the training transcripts, but none of "
                    f"{pieces.tokenizer.name_or_path or 'its tokenizer'} covers {', '.join(map(repr, gone)) or 'all'} "
                    f"of {word!r}."
                )
    raise AssertionError("an unknown piece is in some word")
