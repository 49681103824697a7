"""Answers to a reviewer's questions about splits: what stands in several, what was left out, what was deleted."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainables.batch import Rejected
from trainables.corpora.audio import SAMPLE_RATE
from trainables.corpora.prepared import PreparedSplit
from trainables.corpora.sources import Indices


def audit(
    splits: Mapping[str, PreparedSplit], usable: Indices | None = None, rejected: Sequence[Rejected] = ()
) -> dict[str, Any]:
    """JSON: each split's sizes, its quarantine, what its normaliser deleted, and how much of it is in `train` too.

    Texts are compared as they are trained on, normalised. No text and no speaker is named. `usable` are the utterances
    of `train` that are trained on, where those are not all; `rejected` those of it that the recipe has left out.
    """
    train = splits["train"]
    trained = np.arange(len(train)) if usable is None else usable
    texts, speakers = ({column[i] for i in trained} - {""} for column in (train.texts, train.speakers))
    found: dict[str, Any] = {}
    for name, split in splits.items():
        rows, left_out = (trained, rejected) if name == "train" else (np.arange(len(split)), ())
        found[name] = {
            "utterances": len(rows),
            "seconds": float(split.samples[rows].sum()) / SAMPLE_RATE,
            "speakers": len({split.speakers[i] for i in rows} - {""}),
            "quarantined": dict(Counter(split.manifest["quarantined"]) + Counter(item.reason for item in left_out)),
            "normaliser": split.manifest["identity"]["normaliser"]["kind"],
            "characters": split.manifest["characters"],
            "deleted": split.manifest["deleted"],
        }
        if name != "train":
            found[name]["in_train"] = {
                "utterances_of_texts": sum(text in texts for text in split.texts),
                "speakers": len(set(split.speakers) & speakers),
                "utterances_of_speakers": sum(speaker in speakers for speaker in split.speakers),
            }
    return found
