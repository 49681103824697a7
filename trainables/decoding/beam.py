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
"""Probabilities of all tokens, that of none of the letters, and the letters that are tried, the likeliest first."""


class PrefixBeam(Config):
    """The project's own search, for lexicons of thousands of words and n-grams of at most 4."""

    kind: Literal["prefix_beam"] = "prefix_beam"
    width: Annotated[int, Field(gt=0)] = 16
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
            touched = self._extended(beam, number, frame, grammar)
            totals = [prefix.next_blank + prefix.next_letter for prefix in touched]
            order = range(len(touched))
            if len(touched) > self.settings.width:
                order = sorted(order, key=totals.__getitem__, reverse=True)[: self.settings.width]
            beam, best = [touched[i] for i in order], max(totals)
            out = 1.0 if SMALL < best < LARGE or not best else best
            scale += math.log(out)
            for prefix in beam:
                prefix.blank, prefix.letter = prefix.next_blank / out, prefix.next_letter / out
        return beam, scale

    def _extended(self, beam: list[Prefix], number: int, frame: Frame, grammar: Grammar) -> list[Prefix]:
        """All that the hypotheses may be after a further frame, in the order in which they are found."""
        (row, blank, letters), delimiter, touched = frame, self.delimiter, list[Prefix]()
        for prefix in beam:
            token, after_blank, after_letter = prefix.token, prefix.blank, prefix.letter
            both = after_blank + after_letter
            # The text stays what it is. Where it ends with a delimiter, another one is no part of it either.
            again = (both if token == delimiter else after_letter) * row[token]
            if prefix.frame == number:
                prefix.next_blank += both * blank
                prefix.next_letter += again
            else:
                prefix.frame, prefix.next_blank, prefix.next_letter = number, both * blank, again
                touched.append(prefix)
            followers = prefix.followers
            for letter, probability in letters:
                mass = probability * (both if letter != token else after_blank if letter != delimiter else 0.0)
                if not mass:
                    continue
                found = followers.get(letter)
                if found is None:
                    found = followers[letter] = grammar.follow(prefix, letter)
                for follower, factor in found:
                    if follower.frame == number:
                        follower.next_letter += mass * factor
                    else:
                        follower.frame, follower.next_blank, follower.next_letter = number, 0.0, mass * factor
                        touched.append(follower)
        return touched

    def _frames(self, log_probabilities: LogProbabilities) -> Iterator[Frame]:
        settings, letters = self.settings, self.vocabulary.unknown  # all tokens before it are letters
        probabilities = np.exp(log_probabilities.astype(np.float64))
        order = np.argsort(-probabilities[:, :letters], axis=1, kind="stable")[:, : settings.letters]
        likely = np.take_along_axis(probabilities, order, axis=1)
        tried = (likely > math.exp(-settings.threshold)).sum(axis=1).tolist()
        none = probabilities[:, letters:].sum(axis=1).tolist()
        for row, blank, tokens, values, count in zip(
            probabilities.tolist(), none, order.tolist(), likely.tolist(), tried, strict=True
        ):
            yield row, blank, list(zip(tokens[:count], values[:count], strict=True))
