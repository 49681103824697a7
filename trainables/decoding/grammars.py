"""What a prefix beam search may write: any letters, or the words of a lexicon, which a language model weighs."""

import math
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable

from typing_extensions import override

from trainables.corpora.text import CharacterVocabulary
from trainables.decoding.decoder import Candidate, Fusion
from trainables.decoding.language import Language
from trainables.decoding.lexicon import Node
from trainables.language.ngram import END, Words

LEAST = math.log(1e-20)
"""Least ln p of the likeliest word that begins so: a floor, since its inverse must be a float as well."""
LN_10 = math.log(10)


class Said:
    """Whole words, the last of which comes after `before`: one object for one row of words."""

    __slots__ = ("before", "language", "later", "state", "word", "words")

    def __init__(self, before: "Said | None", word: str, state: Words, language: float) -> None:
        self.before, self.word, self.state, self.language = before, word, state, language
        self.words: int = 0 if before is None else before.words + 1
        self.later: dict[str, Prefix] = {}


class Prefix:
    """The beginning of a text, with its probabilities now and those that it has in the next frame so far.

    With a lexicon it is some words that are `said` and the `node` of the word after them; without, it is `tokens`.
    """

    __slots__ = (
        "blank", "both", "followers", "found", "kept", "letter", "next_blank", "next_letter", "node", "said", "sources",
        "token", "tokens",
    )  # fmt: skip

    def __init__(
        self, token: int, tokens: tuple[int, ...] = (), said: Said | None = None, node: Node | None = None
    ) -> None:
        self.token, self.tokens, self.said, self.node = token, tokens, said, node
        self.followers: dict[int, list[tuple[Prefix, float]]] = {}
        self.sources: list[tuple[Prefix, float]] = []
        self.blank = self.letter = self.both = self.next_blank = self.next_letter = 0.0
        self.found = self.kept = -1  # last frames in which it was met anew, and in which it was in the beam


class Grammar(ABC):
    """The texts that there are, and what a further letter changes a text's score by, beside its own probability."""

    @abstractmethod
    def start(self) -> Prefix:
        """The empty text. Its last token is the delimiter, as that of all whose next letter begins a word."""

    @abstractmethod
    def follow(self, prefix: Prefix, token: int) -> list[tuple[Prefix, float]]:
        """What a letter makes of a prefix, or a delimiter of one that ends with a letter, and the factors."""

    @abstractmethod
    def finish(self, beam: Iterable[Prefix], scale: float) -> list[Candidate]:
        """The texts that prefixes are when nothing follows; `scale` is to be added to the logarithms of all of them."""


class AnyLetters(Grammar):
    """CTC alone: any letters."""

    def __init__(self, vocabulary: CharacterVocabulary, delimiter: int) -> None:
        self.vocabulary, self.delimiter = vocabulary, delimiter

    @override
    def start(self) -> Prefix:
        return Prefix(self.delimiter)

    @override
    def follow(self, prefix: Prefix, token: int) -> list[tuple[Prefix, float]]:
        return [_followed(prefix, Prefix(token, (*prefix.tokens, token)), 1.0)]

    @override
    def finish(self, beam: Iterable[Prefix], scale: float) -> list[Candidate]:
        masses = defaultdict[str, float](float)
        for prefix in beam:
            masses[self.vocabulary.decode(prefix.tokens)] += prefix.blank + prefix.letter
        return [Candidate(text, _log(mass) + scale, 0.0, len(text.split())) for text, mass in masses.items()]


class Spoken:
    """A language as a search uses it: natural logarithms, the lexicon as a tree, and what lies ahead in it."""

    def __init__(self, language: Language, vocabulary: CharacterVocabulary) -> None:
        self.ngram, self.root = language.ngram, language.lexicon.trie()
        self.written = {word: vocabulary.decode(spellings[0]) for word, spellings in language.lexicon.spellings.items()}
        self.ahead: dict[Node, float] = {}
        """ln p of the likeliest word that begins so, after nothing. At the root it is 0: no word has begun."""
        self._look(self.root)
        self.ahead[self.root] = 0.0

    def score(self, state: Words, word: str) -> tuple[float, Words]:
        """ln p(word | state), and the state after it."""
        value, after = self.ngram.score(state, word)
        return LN_10 * value, after

    def _look(self, node: Node) -> float:
        own = [self.score((), word)[0] for word in node.words]
        self.ahead[node] = max([LEAST, *own, *map(self._look, node.children.values())])
        return self.ahead[node]


class LexiconWords(Grammar):
    """Rows of a lexicon's words. Their score has, as factors, e^(weight · ln p_lm) and e^word_score.

    A word's factor comes in parts, at each letter what the likeliest word that begins so has become less likely, and at
    the word's end what this word is less likely than that one, after the words before it.
    """

    def __init__(self, spoken: Spoken, delimiter: int, fusion: Fusion) -> None:
        self.spoken, self.delimiter, self.fusion = spoken, delimiter, fusion

    @override
    def start(self) -> Prefix:
        said = Said(None, "", self.spoken.ngram.start, 0.0)
        return Prefix(self.delimiter, said=said, node=self.spoken.root)

    @override
    def follow(self, prefix: Prefix, token: int) -> list[tuple[Prefix, float]]:
        said, node, ahead, weight = prefix.said, prefix.node, self.spoken.ahead, self.fusion.weight
        assert said is not None
        assert node is not None
        if token != self.delimiter:
            if (child := node.children.get(token)) is None:
                return []
            factor = math.exp(weight * (ahead[child] - ahead[node]))
            return [_followed(prefix, Prefix(token, said=said, node=child), factor)]
        found = []
        for word in node.words:
            if (later := said.later.get(word)) is None:
                value, state = self.spoken.score(said.state, word)
                more = Said(said, word, state, said.language + value)
                later = said.later[word] = Prefix(token, said=more, node=self.spoken.root)
            assert later.said is not None
            value = later.said.language - said.language
            factor = math.exp(weight * (value - ahead[node]) + self.fusion.word_score)
            found.append(_followed(prefix, later, factor))
        return found

    @override
    def finish(self, beam: Iterable[Prefix], scale: float) -> list[Candidate]:
        """An unfinished word is one if it is in the lexicon. Where no prefix is whole words, the last is cut off."""
        beam, masses = list(beam), defaultdict[Said, float](float)
        for prefix in beam:
            assert prefix.said is not None
            if prefix.token == self.delimiter:
                masses[prefix.said] += prefix.blank + prefix.letter
                continue
            for whole, factor in self.follow(prefix, self.delimiter):
                assert whole.said is not None
                masses[whole.said] += (prefix.blank + prefix.letter) * factor
        if not masses:
            for prefix in beam:
                assert prefix.said is not None
                assert prefix.node is not None
                masses[prefix.said] += (prefix.blank + prefix.letter) * math.exp(
                    -self.fusion.weight * self.spoken.ahead[prefix.node]
                )
        return [self._candidate(said, _log(mass) + scale) for said, mass in masses.items()]

    def _candidate(self, said: Said, score: float) -> Candidate:
        acoustic = score - self.fusion.weight * said.language - self.fusion.word_score * said.words
        language, words, last = said.language + self.spoken.score(said.state, END)[0], [], said
        while last.before is not None:
            words.append(self.spoken.written[last.word])
            last = last.before
        return Candidate(" ".join(reversed(words)), acoustic, language, said.words)


def _followed(source: Prefix, follower: Prefix, factor: float) -> tuple[Prefix, float]:
    follower.sources.append((source, factor))
    return follower, factor


def _log(probability: float) -> float:
    return math.log(probability) if probability else -math.inf
