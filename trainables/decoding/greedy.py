"""Texts from CTC's frame labels."""

from jaxtyping import Int
from torch import Tensor

from trainables.corpora.text import CharacterVocabulary


def greedy(
    labels: Int[Tensor, "batch frames"], lengths: Int[Tensor, " batch"], vocabulary: CharacterVocabulary
) -> list[str]:
    """The texts of CTC's best paths, of `labels` the argmax: repeats merged, blanks removed (Graves et al. 2006, §3.2).

    `_ a a b _ b b _` is `abb`: only the blank between them makes two of a letter.
    """
    texts = []
    for row, length in zip(labels.tolist(), lengths.tolist(), strict=True):
        path = row[:length]
        merged = [b for a, b in zip([None, *path], path, strict=False) if a != b and b != vocabulary.blank]
        texts.append(vocabulary.decode(merged))
    return texts
