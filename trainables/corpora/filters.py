"""Clips that a loss cannot use: a recipe says which, and preparation leaves them out."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from trainables.config import Config

TOO_LONG = "transcript too long"
FRAME = 320
"""Samples from one frame to the next, 20 ms, of nearly all speech encoders (wav2vec 2.0 §2, Whisper §2.2)."""


class Refusal(NamedTuple):
    """Why a clip is left out."""

    reason: str
    """A few words, the same for all of a kind, so that they can be counted."""
    detail: str


class RoomForCTC(Config):
    """CTC: a transcript with room in the frames of any student, so that all students share one preparation.

    A student with fewer frames leaves out more (`room.py`).
    """

    kind: Literal["room_for_ctc"] = "room_for_ctc"

    def refuse(self, text: str | None, samples: int) -> Refusal | None:
        """The refusal of a clip with this normalised transcript and length, if it is one."""
        if text is None:
            return Refusal("no transcript", "CTC needs one, and the corpus has none")
        frames, needed = frames_of(samples), frames_needed(text)
        return Refusal(TOO_LONG, f"needs {needed} frames, the clip has {frames}") if frames < needed else None


class LongestText(Config):
    """A bound on transcripts, where memory grows with them; clips without a transcript pass."""

    kind: Literal["longest_text"] = "longest_text"
    characters: Annotated[int, Field(gt=0)]

    def refuse(self, text: str | None, samples: int) -> Refusal | None:
        """The refusal of a clip with this normalised transcript, if it is one."""
        if len(text or "") <= self.characters:
            return None
        return Refusal(TOO_LONG, f"{len(text or '')} characters, must be at most {self.characters}")


Filter = Annotated[RoomForCTC | LongestText, Field(discriminator="kind")]


def frames_of(samples: int) -> int:
    """Frames that w2v-BERT gives, pairs of 10 ms under windows of 25 ms: the fewest of those with one every 20 ms."""
    return max(0, (samples - 400) // (FRAME // 2) + 1) // 2


def frames_needed(tokens: Sequence[Any]) -> int:
    """The fewest frames that CTC can emit tokens in, one each, and a blank between two that are alike."""
    return len(tokens) + sum(a == b for a, b in pairwise(tokens))
