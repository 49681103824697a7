"""Clips that CTC can never learn: their transcripts need more frames than the student makes of them.

Preparation leaves out those that have no room in the frames of all students (`RoomForCTC`), since all share it. It
cannot know how many frames one student makes, nor which rare characters share the unknown token, so that two in a row
need a blank between them: that is seen here, when a recipe has both. PyTorch's loss of such a clip is infinite; taken
for 0, as it is, it would pass unseen.
"""

from collections.abc import Callable

import numpy as np

from trainables.batch import Rejected
from trainables.corpora.filters import TOO_LONG, frames_needed
from trainables.corpora.prepared import PreparedSplit
from trainables.corpora.sources import Indices
from trainables.corpora.text import CharacterVocabulary

LOST = 2
"""Frames that windows without padding cost a clip, at most."""


def with_room(
    split: PreparedSplit, vocabulary: CharacterVocabulary, frames: Callable[[int], int], hop: int
) -> tuple[Indices, list[Rejected]]:
    """The utterances of a split to train on, and those that have no room, with the figures.

    `frames` tells how many a student makes of a number of samples, `hop` how many samples are between two.
    Raises ValueError when none is left.
    """
    lengths = np.fromiter(map(len, split.texts), np.int64, len(split))
    rejected: dict[int, Rejected] = {}
    # At most every character needs a blank before it; nearly all clips have room even for that.
    for i in np.flatnonzero(split.samples // hop - LOST < 2 * lengths).tolist():
        there, needed = frames(int(split.samples[i])), frames_needed(vocabulary.encode(split.texts[i]))
        if there < needed:
            rejected[i] = Rejected(split.ids[i], TOO_LONG, f"needs {needed} frames of the student, which makes {there}")
    usable = np.setdiff1d(np.arange(len(split)), list(rejected))
    if not len(usable):
        raise ValueError(
            f"The student must make enough frames of some clip for its transcript, but of all {len(split)} it makes "
            f"too few, one in {hop} samples."
        )
    return usable, list(rejected.values())
