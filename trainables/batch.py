"""A corpus's utterances, and the batches that a model is given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from trainables.sequences import Sequences


class Utterance(NamedTuple):
    """One recorded sentence as the corpus has it."""

    id: str
    audio: Path | bytes
    """A sound file, or the bytes of one."""
    text: str | None = None
    """The transcript, before any normalisation; None where the corpus has none."""
    speaker: str = ""
    """Empty where the corpus does not say who speaks."""
    labels: Mapping[str, str] = MappingProxyType({})
    """A value for each slot that it is labelled in: `{"action": "increase", "object": "volume"}`."""


class Rejected(NamedTuple):
    """One row or clip that cannot be used, and why."""

    id: str
    reason: str
    """A few words, the same for all of a kind, so that they can be counted."""
    detail: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Utterances side by side.

    Everything besides audio that a loss asks for comes under a name in `sources`, so that a paper brings what it needs
    without a field of its own here: `tokens` of a vocabulary, the hidden states of a `teacher`, `labels`.
    """

    ids: tuple[str, ...]
    audio: Sequences
    """(batch, samples) at 16 kHz, float32 in [-1, 1]."""
    scale: Float[Tensor, " batch"]
    """Each utterance's part in the loss: 1 / global batch, or 0 for a filler."""
    texts: tuple[str, ...]
    """Normalised transcripts, the references of evaluation; empty where the corpus has none."""
    sources: Mapping[str, Sequences] = field(default_factory=dict)
    """The sequences of each of the loader's sources, by its name: (batch, time, *features)."""
    masked: Bool[Tensor, "batch frames"] | None = None
    """Frames of the encoder to hide from it (SpecAugment's time masks); None in evaluation."""
    channels: Bool[Tensor, "batch features"] | None = None
    """Features to hide from it in all frames of a clip (SpecAugment's frequency masks); None in evaluation."""
    audio_share: Float[Tensor, " batch"] | None = None
    """Each utterance's part of the audio of its global batch, by samples, or 0 for a filler; None in evaluation.

    For means over the frames of a batch, where `scale` is for means over its utterances.
    """
    indices: tuple[int, ...] = ()
    """Places of the utterances in their prepared split; none where the batch does not come from one."""
    step: int = 0
    """Step of training, from 0; 0 in evaluation."""
    epoch: int = 0
    """The pass over the training data that the step belongs to, from 1; 0 in evaluation.

    A function of (seed, step) alone, so that a schedule over epochs needs no state and is the same after a resume.
    """

    def to(self, device: torch.device) -> "Batch":
        """The same on `device`."""
        return self._with(lambda values: values.to(device, non_blocking=True))

    def pinned(self) -> "Batch":
        """The same in memory from which a GPU copies by itself, while the host goes on."""
        return self._with(Tensor.pin_memory)

    def _with(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        return replace(
            self,
            audio=self.audio.changed(change),
            scale=change(self.scale),
            sources={name: values.changed(change) for name, values in self.sources.items()},
            masked=None if self.masked is None else change(self.masked),
            audio_share=None if self.audio_share is None else change(self.audio_share),
            channels=None if self.channels is None else change(self.channels),
        )
