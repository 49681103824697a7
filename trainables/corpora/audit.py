"""What a reviewer asks about a corpus's splits: who and what stands in several, what was left out, what was deleted."""

from collections.abc import Mapping
from typing import Any

from trainables.corpora.common_voice import Split
from trainables.corpora.prepared import PreparedSplit


def audit(splits: Mapping[Split, PreparedSplit]) -> dict[str, Any]:
    """JSON: of each split its sizes, its quarantine and what its normaliser deleted; what of it is in `train` too.

    Texts are compared as they are trained on, normalised. No text and no speaker is named.
    """
    train = splits["train"]
    texts, speakers = set(train.texts), set(train.speakers) - {""}
    found: dict[str, Any] = {}
    for name, split in splits.items():
        found[name] = {
            "utterances": len(split),
            "seconds": split.manifest["seconds"],
            "speakers": len(set(split.speakers) - {""}),
            "quarantined": split.manifest["quarantined"],
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
