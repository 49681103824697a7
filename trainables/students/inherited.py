"""What a student takes over from its teacher: the shapes of models, and the weights of their parts."""

from collections.abc import Collection
from copy import deepcopy
from typing import Any

import torch
from torch import nn
from transformers import (
    MODEL_MAPPING,
    AutoModel,
    HubertConfig,
    HubertModel,
    PretrainedConfig,
    PreTrainedModel,
    WhisperConfig,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from trainables.students.attention import attention
from trainables.students.ctc import Regularisation, check_layers, depth

FAMILIES = ("hubert", "wav2vec2", "wavlm", "data2vec-audio", "whisper")
"""Families of teachers: the students' parts are called after their layers and front-ends."""
MASK = "masked_spec_embed"
PARTS = {
    "convolutions": ("feature_extractor.", "conv1.", "conv2."),
    "conv_norm": ("feature_projection.layer_norm.",),
    "projection": ("feature_projection.projection.",),
    "positions": ("encoder.pos_conv_embed.", "embed_positions."),
    "transformer": ("encoder.layers.", "layers.", MASK),
    "encoder_norm": ("encoder.layer_norm.", "layer_norm."),
}
"""Beginnings of the names of each part's weights, in the models over waveforms and in Whisper's encoder."""
CONVOLUTIONS = ("conv_dim", "conv_kernel", "conv_stride", "conv_bias", "feat_extract_activation", "layer_norm_eps")


def check_family(config: PretrainedConfig) -> None:
    """Raises ValueError where no student can be made of a teacher with this config."""
    if config.model_type not in FAMILIES:
        raise ValueError(f"A teacher must be one of {', '.join(FAMILIES)}, but is {config.model_type!r} instead.")


def cut(config: PretrainedConfig, layers: int, regularisation: Regularisation, *, conv_norm: bool) -> PreTrainedModel:
    """A random model of the teacher's family with so many layers; of Whisper the encoder.

    Raises ValueError when the teacher has fewer layers, or the family cannot be without the `conv_norm`.
    """
    check_layers(config, layers)
    config = deepcopy(config)
    config.update(depth(config, layers) | regularisation.overrides(config))
    if config.model_type == "whisper":
        return whisper_encoder(config)
    if hasattr(config, "feat_proj_layer_norm"):
        config.update({"feat_proj_layer_norm": conv_norm})
    elif not conv_norm:
        raise ValueError(f"`conv_norm` must be 'teacher' where the teacher is {config.model_type}: it is always there.")
    return _of(config)


def thin(config: PretrainedConfig, shape: dict[str, Any], regularisation: Regularisation) -> HubertModel:
    """A random HuBERT of this `shape` on the convolutions of a teacher, where it has any over waveforms."""
    convolutions = {name: getattr(config, name) for name in CONVOLUTIONS if hasattr(config, "conv_dim")}
    if convolutions:  # data2vec has no field for what it always does
        convolutions["feat_extract_norm"] = getattr(config, "feat_extract_norm", "layer")
    made = HubertConfig(**shape, **convolutions)
    made.update(regularisation.overrides(made))
    model = _of(made)
    assert isinstance(model, HubertModel)
    return model


def whisper_encoder(config: PretrainedConfig) -> WhisperEncoder:
    """A random encoder of Whisper's, without the decoder."""
    assert isinstance(config, WhisperConfig)
    encoder = WhisperEncoder(config)
    encoder.set_attn_implementation(attention(WhisperEncoder))
    return encoder


def copied(student: nn.Module, teacher: PreTrainedModel, parts: Collection[str]) -> None:
    """Give the `parts` of a student, as far as it has them, the teacher's weights.

    Raises ValueError when the teacher has not the same. It may lack the mask's embedding, which then stays random.
    """
    given: PreTrainedModel = teacher.get_encoder() if teacher.config.model_type == "whisper" else teacher
    prefixes = tuple(prefix for part in parts for prefix in PARTS[part])
    theirs = given.state_dict()
    for name, weights in student.state_dict().items():
        if not name.startswith(prefixes) or (name == MASK and name not in theirs):
            continue
        if name not in theirs or theirs[name].shape != weights.shape:
            found = f"one of {tuple(theirs[name].shape)}" if name in theirs else "none"
            raise ValueError(f"A teacher must have a `{name}` of {tuple(weights.shape)} to copy, but has {found}.")
        weights.copy_(theirs[name])


def _of(config: PretrainedConfig) -> PreTrainedModel:
    """A random model whose frames are masked by a loader alone."""
    model = AutoModel.from_config(
        config, dtype=torch.float32, attn_implementation=attention(MODEL_MAPPING[type(config)])
    )
    model.config.mask_time_prob = 0.0  # it has made its embedding, and would draw masks of its own
    return model
