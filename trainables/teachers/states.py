"""A speech teacher's hidden states over a whole split, computed once and cached.

For a corpus of hours: 4 layers of 384 features in half precision are 150 kB for each second of speech. Over a corpus of
hundreds of hours a teacher had better listen at each step.
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from typing_extensions import override

from trainables.cache import building, cache_folder
from trainables.config import Config, Preparation
from trainables.corpora.audio import SAMPLE_RATE
from trainables.corpora.batching import BySeconds, Loader
from trainables.corpora.prepared import PreparedSplit, SplitPreparation
from trainables.corpora.sources import Indices
from trainables.sequences import Sequences
from trainables.students.ctc import Regularisation
from trainables.students.states import State
from trainables.teachers.features import CachedFeatures, write_features
from trainables.teachers.speech import AudioTeacher, SpeechTeacher, TeacherStates

SECONDS_AT_ONCE = 60.0


class Cached(Config):
    """The teacher's states over the whole corpus are computed once, for all trials that ask for the same layers."""

    kind: Literal["cached"] = "cached"
    label: ClassVar[str] = ""
    layers: tuple[State, ...] = ()
    """Layers to keep, and states below them, where trials that need different ones are to share a cache; by default
    those that this one needs."""


class Online(Config):
    """The teacher listens at each step, as for corpora of hundreds of hours it must."""

    kind: Literal["online"] = "online"
    label: ClassVar[str] = ""

    def build(self, teacher: SpeechTeacher, layers: Collection[State]) -> AudioTeacher:
        """The teacher of these layers, or states below them, always in evaluation mode."""
        return teacher.build(layers)


class OnlineInTraining(Config):
    """The control of what dropout in the teacher does: it listens at each step in training mode, though frozen.

    So it does in the released code: s3prl calls `train()` of a module that the teacher is part of. No state can be
    cached then, since each step draws another.
    """

    kind: Literal["online_in_training"] = "online_in_training"
    label: ClassVar[str] = "teacher with dropout"
    regularisation: Regularisation = Regularisation(attention=0.1, hidden=0.1, activation=0, projection=0.1, layers=0)
    """Its dropout: by default that of HuBERT base's own training (fairseq's `hubert_base_librispeech.yaml`), without
    layerdrop, which s3prl switches off."""

    @model_validator(mode="after")
    def _whole(self) -> "OnlineInTraining":
        if self.regularisation.layers:
            raise ValueError(
                "`regularisation.layers` must be 0 in a teacher, whose layers are what is learned, but is "
                f"{self.regularisation.layers} instead."
            )
        return self

    def build(self, teacher: SpeechTeacher, layers: Collection[State]) -> AudioTeacher:
        """The teacher of these layers, or states below them, in training mode whenever its task is."""
        return teacher.build(layers, self.regularisation)


Targets = Annotated[Online | OnlineInTraining | Cached, Field(discriminator="kind")]
"""Where a student's targets come from."""


class StatePreparation(Preparation):
    """A teacher's hidden states of some layers over a prepared split, side by side, in half precision."""

    accelerated: ClassVar[bool] = True

    teacher: SpeechTeacher
    split: SplitPreparation
    layers: tuple[State, ...]
    """In ascending order, after any that are below them; 0 is the input of the first."""

    def __str__(self) -> str:
        return f"{self.split} {self.teacher.label or 'teacher'}, layers {', '.join(map(str, self.layers))}"

    def folder(self) -> Path:
        """The place of the states, whether they are there or not."""
        return cache_folder() / "states" / self.signature()

    def widths(self) -> dict[State, int]:
        """Features of each state, as they lie side by side.

        Raises ValueError for one that the teacher does not have.
        """
        return self.teacher.widths(self.layers)

    @override
    def build(self) -> Path:
        """The folder of the states, made if it is not there.

        Raises ValueError when what is there is damaged.
        """
        split = PreparedSplit(self.split.build())
        with building(self.folder()) as folder:
            if folder is not None:
                teacher = self.teacher.build(self.layers)
                features = sum(self.widths().values())
                heard = listen(teacher, split, np.arange(len(split)))
                write_features(folder, heard, len(split), features, self.identity())
        CachedFeatures(self.folder()).verify()
        return self.folder()

    @override
    def summary(self) -> str:
        values = CachedFeatures(self.folder()).values
        return f"{len(values)} frames of {values.shape[1]} features ({values.nbytes / 2**20:.0f} MiB)"


def listen(teacher: AudioTeacher, split: PreparedSplit, indices: Indices) -> Iterator[tuple[list[int], Sequences]]:
    """The teacher's states over some utterances of a split, those of like length at once: indices, and sequences
    (batch, frames, features) of all its states side by side."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    teacher.to(device)
    loader, order = Loader(split), indices[np.argsort(split.samples[indices], kind="stable")]
    lengths = split.samples[order] / SAMPLE_RATE
    for part in np.split(order, BySeconds(seconds=SECONDS_AT_ONCE).cut(lengths)[1:]):
        states = teacher(loader.batch(part, scale=1.0, seed=None).to(device).audio).layers
        values = torch.cat([states[layer].values for layer in teacher.layers], dim=2)
        yield part.tolist(), Sequences(values, states[teacher.layers[0]].lengths)


def parted(states: Sequences, widths: Mapping[State, int]) -> TeacherStates:
    """What a cache gives for a batch, all states side by side in features, one by one; `widths` are theirs in order."""
    parts = states.values.split([*widths.values()], dim=2)
    return TeacherStates({state: Sequences(part, states.lengths) for state, part in zip(widths, parts, strict=True)})
