"""What a corpus yields and what a model is given."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from trainables.sequences import Sequences


class Utterance(NamedTuple):
    """One recorded sentence as the corpus has it."""

    id: str
    audio: Path
    seconds: float | None
    """Duration, where the corpus states it."""
    text: str
    language: str
    speaker: str


class Rejected(NamedTuple):
    """One row or clip that cannot be used, and why."""

    id: str
    reason: str
    """A few words, the same for all of a kind, so that they can be counted."""
    detail: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Utterances side by side."""

    ids: tuple[str, ...]
    audio: Sequences
    """(batch, samples) at 16 kHz, float32 in [-1, 1]."""
    tokens: Sequences
    """(batch, characters), int64."""
    scale: Float[Tensor, " batch"]
    """Each utterance's part in the loss: 1 / global batch, or 0 for a filler."""
    texts: tuple[str, ...]
    """Normalised transcripts: the references of evaluation."""
    teacher: Sequences | None = None
    """(batch, teacher tokens, teacher features), where a teacher takes part."""
    masked: Bool[Tensor, "batch frames"] | None = None
    """Frames of the encoder to hide from it (SpecAugment's time masks); None in evaluation."""

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
            tokens=self.tokens.changed(change),
            scale=change(self.scale),
            teacher=self.teacher.changed(change) if self.teacher else None,
            masked=None if self.masked is None else change(self.masked),
        )
