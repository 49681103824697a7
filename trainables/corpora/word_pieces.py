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
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from transformers import PreTrainedTokenizerBase
from typing_extensions import override

from trainables.config import Config

SPECIAL = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
"""Pieces that every output layer has."""
CONTINUES = "##"
"""Before a piece that continues a word."""


KIN = 0.1
"""Part of the count of words alike that one which training does not have is counted with."""


class Apostrophes:
    """Puts apostrophes back where they were, by the words that have any in training transcripts.

    In a row such as `the`, `boys`, `'`, `house` all ways are weighed to put its apostrophes inside a word, at its end
    or at the beginning of the next one. Each apostrophe counts log(1 + n), where n is how often its word is in
    training; for one that is not there, a tenth of how often words alike are: with the same part before or behind the
    apostrophe (o'brien, governor's), or the same letter before one at the end (vampires'). Of equals the fewest words
    are taken.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        """`texts` are normalised."""
        self.words = Counter(word for text in texts if "'" in text for word in text.split() if "'" in word)
        self._alike = Counter[str]()
        for word, count in self.words.items():
            for kind in _kinds(word):
                self._alike[kind] += count

    def joined(self, parts: Sequence[str]) -> str:
        """The text of words and single apostrophes, which is what BERT's basic tokenizer leaves of a text."""
        words: list[str] = []
        row: list[str] = []
        for part in parts:
            if row and part != "'" and row[-1] != "'":
                words += self._best(row)
                row = []
            row.append(part)
        return " ".join(words + self._best(row))

    def _best(self, row: Sequence[str]) -> list[str]:
        """The words of a row in which words and apostrophes alternate, or apostrophes follow one another."""
        best: dict[int, tuple[float, int, list[str]]] = {0: (0.0, 0, [])}  # of the first parts, by their number
        for end in range(1, len(row) + 1):
            ways = []
            for start, (weight, negative, words) in best.items():
                word = "".join(row[start:end])
                if word.strip("'"):  # no normalised text has a word of apostrophes alone
                    ways.append((weight + self._weight(word), negative - 1, [*words, word]))
            if ways:
                best[end] = max(ways)
        return best[len(row)][-1] if len(row) in best else []

    def _weight(self, word: str) -> float:
        count = self.words[word] or KIN * max((self._alike[kind] for kind in _kinds(word)), default=0)
        return word.count("'") * math.log1p(count)


def _kinds(word: str) -> list[str]:
    """What a word with apostrophes shares with words alike."""
    head, tail = word.partition("'")[0], word.rpartition("'")[2]
    if not tail:
        return [f"{head[-1:]}' "] if head else []
    return [f"{head}'…", f"…'{tail}"] if head else []


class WordPieces:
    """The pieces that an output layer has, numbered from [PAD], which is 0 and the blank."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        kept: Iterable[int] | None = None,
        apostrophes: Apostrophes | None = None,
    ) -> None:
        """`kept` are the tokenizer's numbers of the pieces that the output layer has, by default all.

        Raises ValueError when the tokenizer is not a BERT's, or the special pieces are not all kept.
        """
        backend = getattr(tokenizer, "backend_tokenizer", None)
        vocabulary = tokenizer.get_vocab()
        numbers = [vocabulary[name] for name in SPECIAL if name in vocabulary]
        pieces = isinstance(backend, Tokenizer) and isinstance(backend.model, WordPiece)
        if not pieces or len(numbers) < len(SPECIAL) or numbers[0] != 0:
            raise ValueError(
                f"A teacher's tokenizer must be a BERT's, of word pieces with {', '.join(SPECIAL)}, of which the "
                f"first is number 0, but {tokenizer.name_or_path or 'this one'} is not."
            )
        self.tokenizer, self.apostrophes = tokenizer, apostrophes or Apostrophes()
        self.normalizer: Any = getattr(backend, "normalizer", None)
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
        """The texts that are not the same after `encode` and `decode`, each with what becomes of it."""
        read = ((text, self.decode(self.encode(text))) for text in texts)
        return [(text, back) for text, back in read if text != back]


class _Pieces(Config, ABC):
    """The choice of a BERT's pieces that an output layer has."""

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
        return WordPieces(tokenizer, self.kept(found, whole.special), Apostrophes(texts))


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
    """The sentence about the first word of the transcripts that has no pieces."""
    words = (word for text in texts for word in text.split())
    word = next(word for word in words if pieces.unknown in pieces.encode(word))
    letters = word if pieces.normalizer is None else pieces.normalizer.normalize_str(word)  # BERT reads ğ as g
    known = set(pieces.tokens)
    gone = [c for i, c in enumerate(letters) if (c if i == 0 else CONTINUES + c) not in known and c != "'"]
    return (
        "A teacher's word pieces must cover every character of the training transcripts, but none of "
        f"{pieces.tokenizer.name_or_path or 'its tokenizer'} covers {', '.join(map(repr, gone)) or 'all'} of {word!r}."
    )
