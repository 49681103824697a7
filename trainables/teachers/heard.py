"""What an audio teacher hears: the student's clip, or as a control another one.

Another clip's states are as much like states as the right ones, and say nothing of what the student hears. What a
student still gains from them is not the teacher's knowledge of this clip.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from trainables.batch import Batch
from trainables.config import Config
from trainables.corpora.sources import FeatureSource, Indices
from trainables.sequences import Sequences
from trainables.teachers.features import ShuffledFeatures

HEARD = "heard"
"""Name of the source of a batch that has the waveforms which the teacher hears, where these are not the student's."""


class OwnClip(Config):
    """The teacher hears the student's clip."""

    kind: Literal["own_clip"] = "own_clip"
    label: ClassVar[str] = ""

    def source(self, features: FeatureSource, utterances: int) -> FeatureSource:
        """The same `features`."""
        return features


class AnotherClip(Config):
    """The teacher hears another clip of the split, from its beginning, repeated or cut to the length of the student's.

    Which other one is drawn once, not at each step, so that there is as fixed a target to learn as the paper's.
    """

    kind: Literal["another_clip"] = "another_clip"
    label: ClassVar[str] = "another clip's states"
    seed: Annotated[int, Field(ge=0)] = 1
    """The seed that the shuffling is drawn with."""

    def source(self, features: FeatureSource, utterances: int) -> FeatureSource:
        """For each of so many utterances, the `features` of another one in the length of its own.

        Raises ValueError where there is but one utterance.
        """
        return _InOwnLength(features, ShuffledFeatures.of(features, utterances, self.seed))


Hears = Annotated[OwnClip | AnotherClip, Field(discriminator="kind")]


@dataclass(frozen=True)
class _InOwnLength:
    own: FeatureSource
    other: FeatureSource

    def __call__(self, indices: Indices) -> Sequences:
        own, other = self.own(indices), self.other(indices)
        places = torch.arange(own.values.shape[1]) % other.lengths.clamp(min=1)[:, None]
        rows = torch.arange(len(indices))[:, None]
        return Sequences(other.values[rows, places], own.lengths).zero_padded()


def heard(batch: Batch) -> Sequences:
    """The waveforms (batch, samples) that the teacher hears, in the lengths of the student's: so it has as many frames.

    Where the student is given a stretch of a long clip, the other one is cut to the stretch.
    """
    if HEARD not in batch.sources:
        return batch.audio
    values = batch.sources[HEARD].values[:, : batch.audio.values.shape[1]]
    return Sequences(values, batch.audio.lengths).zero_padded()
