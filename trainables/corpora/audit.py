"""What a reviewer asks about a corpus's splits: who and what stands in several, what was left out, what was deleted."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from trainables.corpora.audio import SAMPLE_RATE
from trainables.corpora.batching import Indices
from trainables.corpora.common_voice import Split
from trainables.corpora.prepared import TOO_LONG, PreparedSplit


def audit(splits: Mapping[Split, PreparedSplit], usable: Indices | None = None) -> dict[str, Any]:
    """JSON: of each split its sizes, its quarantine and what its normaliser deleted; what of it is in `train` too.

    Texts are compared as they are trained on, normalised. No text and no speaker is named. `usable` are the utterances
    of `train` that are trained on, where those are not all: the others have no room for their transcripts.
    """
    train = splits["train"]
    trained = np.arange(len(train)) if usable is None else usable
    texts, speakers = {train.texts[i] for i in trained}, {train.speakers[i] for i in trained} - {""}
    found: dict[str, Any] = {}
    for name, split in splits.items():
        rows = trained if name == "train" else np.arange(len(split))
        found[name] = {
            "utterances": len(rows),
            "seconds": float(split.samples[rows].sum()) / SAMPLE_RATE,
            "speakers": len({split.speakers[i] for i in rows} - {""}),
            "quarantined": dict(Counter(split.manifest["quarantined"]) + Counter({TOO_LONG: len(split) - len(rows)})),
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
