"""What decoders with a language model have in common: a score that weighs what was heard against what is said.

    score(text) = ln p_ctc(text | audio) + weight · ln p_lm(words, end of sentence) + word_score · number of words

All logarithms are natural. flashlight and fairseq multiply KenLM's log10 with their weight: their `lm_weight` 2 is 0.87
here, 2 / ln 10. A probability of CTC is the sum over all alignments of a text, however many spaces are between words.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainables.sequences import Sequences

LogProbabilities = NDArray[np.float32]
"""Natural logarithms of CTC's probabilities of one utterance (frames, vocabulary)."""
WEIGHTS, WORD_SCORES = (0.0, 10.0), (-100.0, 100.0)
"""The least and the most that a fusion may have."""


@dataclass(frozen=True)
class Fusion:
    """How much a language model counts beside CTC, and what each word adds. Raises ValueError beyond sense."""

    weight: float = 0.0
    word_score: float = 0.0

    def __post_init__(self) -> None:
        for name, value, (least, most) in (
            ("weight", self.weight, WEIGHTS), ("word_score", self.word_score, WORD_SCORES),
        ):  # fmt: skip
            if not least <= value <= most:
                raise ValueError(f"`{name}` must be {least:g} to {most:g}, but is {value:g} instead.")


class Candidate(NamedTuple):
    """A text that an utterance may have been, with what its score is made of."""

    text: str
    acoustic: float
    """ln p_ctc, of the alignments that the search has kept."""
    language: float
    """ln p_lm, the end of the sentence included; 0 without a language model."""
    words: int

    def score(self, fusion: Fusion) -> float:
        """The sum that a decoder makes the most of."""
        return self.acoustic + fusion.weight * self.language + fusion.word_score * self.words


class Decoder(ABC):
    """Finds texts for CTC's outputs."""

    @abstractmethod
    def candidates(self, log_probabilities: LogProbabilities, fusion: Fusion) -> list[Candidate]:
        """The texts that are left at the end of an utterance, at least one, the best first."""

    def __call__(self, log_probabilities: Sequences, fusion: Fusion) -> list[str]:
        """The best texts of log-probabilities (batch, frames, vocabulary)."""
        return [self.candidates(row, fusion)[0].text for row in utterances(log_probabilities)]


def utterances(log_probabilities: Sequences) -> list[LogProbabilities]:
    """The rows of a batch, each in its own length, in this process's memory."""
    values = log_probabilities.values.float().cpu().numpy()
    return [row[:length] for row, length in zip(values, log_probabilities.lengths.tolist(), strict=True)]


@dataclass(frozen=True)
class Fused:
    """A decoder with a language model, and how much that counts."""

    decoder: Decoder
    fusion: Fusion

    def __call__(self, logits: Sequences) -> list[str]:
        """The texts of CTC's logits (batch, frames, vocabulary)."""
        return self.decoder(log_probabilities(logits), self.fusion)


def log_probabilities(logits: Sequences) -> Sequences:
    """What CTC's logits (batch, frames, vocabulary) say, in float32 whatever they were computed in."""
    return Sequences(logits.values.float().log_softmax(dim=2), logits.lengths)
