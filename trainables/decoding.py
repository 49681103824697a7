"""From CTC's frame labels to texts."""

from jaxtyping import Int
from torch import Tensor

from trainables.corpora.text import CharacterVocabulary


def greedy(
    labels: Int[Tensor, "batch frames"], lengths: Int[Tensor, " batch"], vocabulary: CharacterVocabulary
) -> list[str]:
    """Best-path decoding: repeats merged, blanks removed (Graves et al. 2006, §3.2)."""
    texts = []
    for row, length in zip(labels.tolist(), lengths.tolist(), strict=True):
        path = row[:length]
        merged = [b for a, b in zip([None, *path], path, strict=False) if a != b and b != vocabulary.blank]
        texts.append(vocabulary.decode(merged))
    return texts
