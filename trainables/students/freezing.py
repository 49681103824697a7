"""Keeping the lowest layers of a pretrained encoder as they are."""

from typing import Any

from transformers import PreTrainedModel


def freeze(model: PreTrainedModel, layers: int) -> None:
    """Let no weight of the lowest Transformer `layers` learn, and none below them: no gradient is computed for these.

    Below the layers are convolutions, projections, positions and the embedding of hidden frames; and a layer norm, but
    for models that normalise within their layers, whose last norm comes after these.
    """
    encoder: Any = model.get_encoder() if model.config.model_type == "whisper" else model.encoder
    learning = [*encoder.layers[layers:]]
    if model.config.model_type == "whisper" or getattr(model.config, "do_stable_layer_norm", False):
        learning.append(encoder.layer_norm)
    kept = {id(weight) for module in learning for weight in module.parameters()}
    for weight in model.parameters():
        if id(weight) not in kept:
            weight.requires_grad_(False)
