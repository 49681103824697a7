"""How much a language model is to count: chosen on the validation split, by word error rate.

To search anew for each pair of a grid would take as many searches as pairs. So candidates are kept of the searches that
were done, with what their scores are made of, and any pair of the grid chooses among them: first of the searches at the
least, the middle and the greatest weight. What wins so is searched with, which adds its candidates, until a pair wins
that was searched with.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated, NamedTuple

import torch
from pydantic import Field

from trainables.config import Config
from trainables.decoding.decoder import WEIGHTS, WORD_SCORES, Candidate, Decoder, Fusion, LogProbabilities
from trainables.metrics import reduced, transcription

Weight = Annotated[float, Field(ge=WEIGHTS[0], le=WEIGHTS[1])]
WordScore = Annotated[float, Field(ge=WORD_SCORES[0], le=WORD_SCORES[1])]


class Tuned(NamedTuple):
    """The fusion that was chosen, and the word error rate in percent that it has on what it was chosen on."""

    fusion: Fusion
    wer: float


class Tuning(Config):
    """The grid, and the part of the validation split that it is tried on."""

    weights: Annotated[tuple[Weight, ...], Field(min_length=1)] = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
    """Weights of ln p_lm; 0 is the lexicon alone, and 0.87 the 2 of fairseq, which counts in log10."""
    word_scores: Annotated[tuple[WordScore, ...], Field(min_length=1)] = (-1.0, 0.0, 1.0, 2.0)
    utterances: Annotated[int | None, Field(gt=0)] = 200
    """Most utterances that are tried; by None all."""

    def indices(self, size: int) -> range:
        """Indices of those of a split of `size` utterances, evenly spaced: on any number of workers the same."""
        return range(0, size, 1 if self.utterances is None else max(1, -(-size // self.utterances)))

    @property
    def grid(self) -> list[Fusion]:
        """All pairs, of which the first that has the lowest error is chosen: by weight, and then by size of the score.

        So of equal ones it is that which leans on the language model least.
        """
        pairs = product(sorted(set(self.weights)), sorted(set(self.word_scores), key=lambda score: (abs(score), score)))
        return [Fusion(*pair) for pair in pairs]

    def anchors(self) -> list[Fusion]:
        """The pairs that are searched with at first."""
        weights, scores = sorted(set(self.weights)), sorted(set(self.word_scores))
        middle = scores[(len(scores) - 1) // 2]
        chosen = dict.fromkeys((weights[0], weights[(len(weights) - 1) // 2], weights[-1]))
        return [Fusion(weight, middle) for weight in chosen]


def tune(
    decoder: Decoder, references: Sequence[str], log_probabilities: Sequence[LogProbabilities], tuning: Tuning
) -> Tuned:
    """The pair of the grid with the lowest word error rate, given what was heard of utterances and their texts.

    Where there are several ranks, each calls it with utterances of its own, and all get the pair that is best for all.
    Raises ValueError where no rank has any.
    """
    if not reduced(torch.tensor([float(len(references))])).item():
        raise ValueError("A language model's weight must be chosen on at least one utterance, but there is none.")
    pool = [_Utterance(text, heard, {}) for text, heard in zip(references, log_probabilities, strict=True)]
    grid, searched = tuning.grid, dict[Fusion, float]()
    length = sum(len(utterance.reference.split()) for utterance in pool)
    for fusion in tuning.anchors():
        searched[fusion] = _search(decoder, pool, fusion)
    while True:
        errors = [[utterance.errors(fusion) for fusion in grid] for utterance in pool]
        own = [float(sum(of_pair)) for of_pair in zip(*errors, strict=True)] or [0.0] * len(grid)
        *sums, words = reduced(torch.tensor([*own, float(length)], dtype=torch.float64)).tolist()
        fusion = grid[min(range(len(grid)), key=sums.__getitem__)]
        if fusion in searched:
            found = reduced(torch.tensor([searched[fusion]], dtype=torch.float64)).item()
            return Tuned(fusion, 100 * found / max(words, 1))
        searched[fusion] = _search(decoder, pool, fusion)


@dataclass
class _Utterance:
    """An utterance, and all candidates that were found for it by text, with their errors."""

    reference: str
    heard: LogProbabilities
    found: dict[str, tuple[Candidate, int]]

    def errors(self, fusion: Fusion) -> int:
        """Errors of the candidate that has the best score."""
        return max(self.found.values(), key=lambda found: found[0].score(fusion))[1]


def _search(decoder: Decoder, pool: Sequence[_Utterance], fusion: Fusion) -> float:
    """Search anew, add what was not found before, and return the word errors of what was found best."""
    total = 0
    for utterance in pool:
        candidates, found = decoder.candidates(utterance.heard, fusion), utterance.found
        new = [candidate for candidate in candidates if candidate.text not in found]
        if new:
            columns = transcription([utterance.reference] * len(new), [candidate.text for candidate in new])
            for candidate, errors in zip(new, columns["wer_errors"], strict=True):
                found.setdefault(candidate.text, (candidate, errors))  # of one text, the best candidate comes first
        total += found[candidates[0].text][1]
    return float(total)
