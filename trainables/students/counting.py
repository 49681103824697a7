"""The parameters of a student, part by part, and the two ways of adding them up in Table 1."""

from collections import Counter

from trainables.students.encoders import SpeechEncoder

PARTS = (
    ("conv_norm", "feature_projection.layer_norm."),
    ("projection", "feature_projection.projection."),
    ("projection", "front_end.projection."),
    ("front_end", "feature_extractor."),
    ("front_end", "front_end."),
    ("front_end", ".conv1."),
    ("front_end", ".conv2."),
    ("mask", "mask"),
    ("positions", "pos_conv_embed."),
    ("positions", "embed_positions."),
    ("layers", ".layers."),
    ("encoder_norm", "encoder.layer_norm."),
)
"""A part, and what the names of its weights have in them; the first that fits counts."""
LABEL_EMBEDDINGS = 504 * 256
"""HuBERT's embeddings of its hidden units, which a model that fairseq has fine-tuned still carries."""
LETTERS = 32
"""fairseq's vocabulary of characters: 26 letters, the apostrophe, `|` and four tokens that mean no text."""


def parameters(encoder: SpeechEncoder) -> dict[str, int]:
    """Parameters of each part of an encoder; together they are all that it has."""
    found: Counter[str] = Counter()
    for name, weight in encoder.named_parameters():
        found[next(part for part, inside in PARTS if inside in f".{name}")] += weight.numel()
    return dict(found)


def as_published(encoder: SpeechEncoder) -> int:
    """Parameters of a fine-tuned student as Table 1 counts them.

    That is without the layer norm behind the convolutions and without the mask's embedding, but with the embeddings of
    hidden units, and with a CTC head. The paper's 19.81 M of S&W on filter banks is not reproduced; this gives 20.26 M.
    """
    return deployed(encoder) - parameters(encoder).get("conv_norm", 0) + LABEL_EMBEDDINGS


def deployed(encoder: SpeechEncoder) -> int:
    """Parameters of a fine-tuned student that take part in recognition: all but the mask's, with a CTC head."""
    parts = parameters(encoder)
    return sum(parts.values()) - parts.get("mask", 0) + (encoder.width + 1) * LETTERS
