"""Prefix beam search over a student's letters (Hannun et al. 2014, arXiv 1408.2873), in plain Python.

A hypothesis is a beginning of a text, with two probabilities: that of all alignments which end with a blank, and that
of all which end with its last letter, since the same letter once more is a further letter after the ones and none after
the others. Two things are no part of a text, and so what differs in them alone is one hypothesis: delimiters beside
delimiters or at an end, and the unknown token, which is to a text what a blank is.

With a lexicon only beginnings of its words are followed, and a word counts with the language model's probability once
it has ended; until then with that of the likeliest word that begins so. Else a word would look good until its end, and
its rivals be gone by then.

Probabilities are products, not sums of logarithms, which would need an `exp` wherever alignments meet. They have one
common factor, which is taken out before they leave the range of floats.
"""

import math
from collections.abc import Iterator
from heapq import heapify, heapreplace
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from trainables.config import Config
from trainables.corpora.text import DELIMITER, CharacterVocabulary
from trainables.decoding.decoder import Candidate, Decoder, Fusion, LogProbabilities
from trainables.decoding.grammars import AnyLetters, Grammar, LexiconWords, Prefix, Spoken
from trainables.decoding.language import Language

SMALL, LARGE = 1e-60, 1e60
"""Bounds of the best hypothesis's probability, beyond which the common factor is taken out."""
Frame = tuple[list[float], float, list[tuple[int, float]]]
"""Probabilities of all tokens, that of none of the letters, and the letters that are tried: the delimiter, if it is,
and then the likeliest first."""


class PrefixBeam(Config):
    """The project's own search, for lexicons of thousands of words and n-grams of at most 4."""

    kind: Literal["prefix_beam"] = "prefix_beam"
    width: Annotated[int, Field(gt=0)] = 20
    """Hypotheses that are kept after each frame."""
    letters: Annotated[int, Field(gt=0)] = 12
    """Most letters that are tried in a frame, the likeliest."""
    threshold: Annotated[float, Field(gt=0)] = 12.0
    """A letter is tried in a frame where its ln p is above minus this. The last one said goes on in any frame."""

    def build(self, vocabulary: CharacterVocabulary, language: Language | None = None) -> "BeamSearch":
        """The decoder for a student's vocabulary; without a language it writes any letters, and no fusion counts.

        Raises ValueError where the language's file is damaged or has n-grams of over 4 words.
        """
        return BeamSearch(self, vocabulary, language)


class BeamSearch(Decoder):
    """The decoder of a `PrefixBeam`. Of equally good hypotheses, the one that was found first is kept."""

    def __init__(self, settings: PrefixBeam, vocabulary: CharacterVocabulary, language: Language | None) -> None:
        self.settings, self.vocabulary = settings, vocabulary
        self.delimiter = vocabulary.tokens.index(DELIMITER)
        self.spoken = None if language is None else Spoken(language, vocabulary)

    @override
    def candidates(self, log_probabilities: LogProbabilities, fusion: Fusion) -> list[Candidate]:
        if self.spoken is None:
            grammar, fusion = AnyLetters(self.vocabulary, self.delimiter), Fusion()
        else:
            grammar = LexiconWords(self.spoken, self.delimiter, fusion)
        beam, scale = self._search(log_probabilities, grammar)
        return sorted(grammar.finish(beam, scale), key=lambda found: found.score(fusion), reverse=True)

    def _search(self, log_probabilities: LogProbabilities, grammar: Grammar) -> tuple[list[Prefix], float]:
        """The hypotheses after the last frame, and the logarithm of the factor that was taken out."""
        beam, scale = [grammar.start()], 0.0
        beam[0].blank = 1.0
        for number, frame in enumerate(self._frames(log_probabilities)):
            found = self._extended(beam, number, frame, grammar)
            totals = [prefix.next_blank + prefix.next_letter for prefix in found]
            order = range(len(found))
            if len(found) > self.settings.width:
                order = sorted(order, key=totals.__getitem__, reverse=True)[: self.settings.width]
            beam, best = [found[i] for i in order], max(totals)
            out = 1.0 if SMALL < best < LARGE or not best else best
            scale += math.log(out)
            for prefix in beam:
                prefix.blank, prefix.letter = prefix.next_blank / out, prefix.next_letter / out
        return beam, scale

    def _extended(self, beam: list[Prefix], number: int, frame: Frame, grammar: Grammar) -> list[Prefix]:
        """What the hypotheses may be after a further frame: they themselves, and new ones that can still be kept.

        A new one comes from one hypothesis alone (from a few where a word has several spellings), so that its
        probability is known at once, and it is left out where as many better ones as the beam is wide are there.
        """
        (row, blank, letters), delimiter = frame, self.delimiter
        for prefix in beam:
            prefix.both, prefix.kept = prefix.blank + prefix.letter, number
        for prefix in beam:
            token = prefix.token
            # The text stays what it is. Where it ends with a delimiter, another one is no part of it either.
            letter = prefix.both if token == delimiter else prefix.letter
            for source, factor in prefix.sources:
                if source.kept == number:
                    letter += factor * (source.blank if source.token == token else source.both)
            prefix.next_blank, prefix.next_letter = prefix.both * blank, letter * row[token]
        # Its first is what a hypothesis must exceed to be kept; it only grows.
        bounds = [prefix.next_blank + prefix.next_letter for prefix in beam]
        bounds += [0.0] * (self.settings.width - len(bounds))
        heapify(bounds)
        found = list(beam)
        for prefix in beam:
            token, both, followers = prefix.token, prefix.both, prefix.followers
            for letter, probability in letters:
                mass = probability * (both if letter != token else prefix.blank)
                if letter == delimiter:  # the first of them: a word's end may make a score better, a letter never
                    if token == delimiter:
                        continue
                elif mass <= bounds[0]:
                    if letter == token:
                        continue
                    break
                if new := letter not in followers:
                    followers[letter] = grammar.follow(prefix, letter)
                for follower, factor in followers[letter]:
                    gained = mass * factor
                    if follower.kept == number:
                        if new:  # it was not among its sources yet
                            follower.next_letter += gained
                    elif follower.found == number:
                        follower.next_letter += gained
                    elif gained > bounds[0]:
                        follower.found, follower.next_blank, follower.next_letter = number, 0.0, gained
                        found.append(follower)
                        heapreplace(bounds, gained)
        return found

    def _frames(self, log_probabilities: LogProbabilities) -> Iterator[Frame]:
        settings, letters = self.settings, self.vocabulary.unknown  # all tokens before it are letters
        probabilities = np.exp(log_probabilities.astype(np.float64))
        order = np.argsort(-probabilities[:, :letters], axis=1, kind="stable")[:, : settings.letters]
        likely = np.take_along_axis(probabilities, order, axis=1)
        counts = (likely > math.exp(-settings.threshold)).sum(axis=1).tolist()
        none = probabilities[:, letters:].sum(axis=1).tolist()
        for row, blank, tokens, values, count in zip(
            probabilities.tolist(), none, order.tolist(), likely.tolist(), counts, strict=True
        ):
            tried = list(zip(tokens[:count], values[:count], strict=True))
            tried.sort(key=lambda one: one[0] != self.delimiter)
            yield row, blank, tried
