"""Word n-gram models with back-off: what a word's probability is after others, and which of these others matter."""

import math
from collections.abc import Iterable, Mapping, Sequence

START, END, UNKNOWN = "<s>", "</s>", "<unk>"
MARKS = frozenset((START, END, UNKNOWN))
ORDERS = range(1, 5)
"""Lengths of the longest n-grams that are estimated and read here."""
NEVER = -99.0
"""log10 probability of what is never predicted, such as `<s>` (SRILM's way of writing no probability at all)."""
NO_UNKNOWN = -100.0
"""log10 probability of an unknown word by a model that has no `<unk>`, as KenLM has it."""

Words = tuple[str, ...]
Entries = Mapping[Words, tuple[float, float]]
"""For each n-gram the log10 probability of its last word after those before it, and its log10 back-off weight."""


class Ngram:
    """A word n-gram model: p(w | h) is that of the longest n-gram there is, times the back-off weights of longer h.

        log p(mat | the, old) = log p(mat | old) + b(the, old)     "the old mat" is no n-gram of the model, "old mat" is

    A state stands for all that was said before, in the fewest words that tell later probabilities apart: two histories
    of one state are one to a decoder. All values are log10, as ARPA files have them.
    """

    def __init__(self, entries: Entries) -> None:
        """`entries` are the n-grams of all orders; those of one word are the vocabulary, `<s>` and `</s>` among them.

        Raises ValueError where an n-gram has a word that is not in the vocabulary, or where a mark is missing.
        """
        self.entries = dict(entries)
        self.order = max((len(ngram) for ngram in entries), default=0)
        self.vocabulary = frozenset(ngram[0] for ngram in entries if len(ngram) == 1)
        for mark in (START, END):
            if mark not in self.vocabulary:
                raise ValueError(f"A language model must have the word {mark}, but has not.")
        for ngram in entries:
            if unknown := [word for word in ngram if word not in self.vocabulary]:
                raise ValueError(
                    f"Words of n-grams must be in the vocabulary, but {unknown[0]!r} of {' '.join(ngram)!r} is not."
                )
        weighed = (ngram for ngram, (_, back_off) in entries.items() if back_off)
        self._histories = {ngram[:-1] for ngram in entries if len(ngram) > 1} | set(weighed)
        self.start = self._state((START,))

    @property
    def words(self) -> list[str]:
        """The vocabulary without marks, sorted."""
        return sorted(self.vocabulary - MARKS)

    def score(self, state: Words, word: str) -> tuple[float, Words]:
        """log10 p(word | state), and the state after the word; a word out of the vocabulary is `<unk>`."""
        if word not in self.vocabulary:
            word = UNKNOWN
        back_offs = 0.0
        for begin in range(len(state) + 1):
            history = state[begin:]
            if (found := self.entries.get((*history, word))) is not None:
                return back_offs + found[0], self._state((*state, word))
            if history:
                back_offs += self.entries.get(history, (0.0, 0.0))[1]
        return NO_UNKNOWN, ()

    def sentence(self, words: Sequence[str]) -> float:
        """log10 p of a sentence of `words`, its end included."""
        total, state = 0.0, self.start
        for word in (*words, END):
            value, state = self.score(state, word)
            total += value
        return total

    def perplexity(self, sentences: Iterable[Sequence[str]]) -> float:
        """Inverse of the geometric mean of the probabilities of all words, of which the ends of sentences are some.

        Raises ValueError where there is no sentence.
        """
        total, predicted = 0.0, 0
        for words in sentences:
            total += self.sentence(words)
            predicted += len(words) + 1
        if not predicted:
            raise ValueError("A perplexity must be that of at least one sentence, but there is none.")
        return math.pow(10, -total / predicted)

    def _state(self, said: Words) -> Words:
        """The longest end of what was `said` that some n-gram begins with, or that has a back-off weight."""
        said = said[max(0, len(said) - self.order + 1) :]
        while said and said not in self._histories:
            said = said[1:]
        return said
