"""Sources of all that a batch carries besides audio: each gives sequences for the utterances at some indices.

A recipe names those that its loss needs and gives them to the loader: `{"tokens": Tokens(…), "teacher": …}`.
A teacher's hidden states are one too, read from a cache or computed at each call (`teachers/`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from trainables.corpora.prepared import PreparedSplit
from trainables.corpora.text import Vocabulary
from trainables.sequences import Sequences

Indices = NDArray[np.int64]
FeatureSource = Callable[[Indices], Sequences]
"""The sequences (batch, time, *features) of the utterances at some indices of a split."""


class Tokens:
    """The transcripts in the tokens of a vocabulary. Raises ValueError when an utterance has no transcript."""

    def __init__(self, split: PreparedSplit, vocabulary: Vocabulary) -> None:
        self.texts, self.vocabulary = split.transcripts, vocabulary

    def __call__(self, indices: Indices) -> Sequences:
        """Token indices (batch, tokens), int64."""
        return Sequences.stack([np.array(self.vocabulary.encode(self.texts[i]), np.int64) for i in indices])


@dataclass(frozen=True)
class Waveforms:
    """The clips themselves, for whoever is to hear others than the student, or all."""

    split: PreparedSplit

    def __call__(self, indices: Indices) -> Sequences:
        """Waveforms (batch, samples) at 16 kHz, float32 in [-1, 1]."""
        return Sequences.stack([self.split.audio(int(i)).astype(np.float32) / 32768 for i in indices])


class Labels:
    """The labels of utterances, as numbers of the values that a slot can have."""

    def __init__(self, split: PreparedSplit, values: Mapping[str, Sequence[str]]) -> None:
        """`values` are the labels that are known, by slot, in the order of their numbers.

        Raises ValueError when an utterance has another one, or none.
        """
        columns = []
        for slot, known in values.items():
            numbers, found = {value: i for i, value in enumerate(known)}, split.labels.get(slot, [None] * len(split))
            if unknown := sorted({str(value) for value in found if value not in numbers}):
                names = f"{', '.join(known)}, but is {', '.join(unknown)} for some utterances of {split.folder}"
                raise ValueError(f"The label {slot!r} must be one of {names}.")
            columns.append([numbers[value] for value in found if value is not None])
        self._values = torch.tensor(columns).T

    def __call__(self, indices: Indices) -> Sequences:
        """Numbers of labels (batch, slots), int64."""
        values = self._values[torch.from_numpy(indices)]
        return Sequences(values, torch.full((len(values),), values.shape[1]))
