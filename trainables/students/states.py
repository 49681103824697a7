"""The names of an encoder's hidden states, and their widths before it is built."""

from typing import Literal

from transformers import PretrainedConfig

BelowLayers = Literal["convolutions", "projected"]
State = int | BelowLayers
"""A hidden state of an encoder.

    "convolutions"   what its convolutions make of a clip, before any norm that follows them
    "projected"      those frames in the Transformer's width, before it knows their positions
    0                with positions, as the first layer takes them
    1, 2, …          what that layer gives
"""


def width_of(config: PretrainedConfig, state: State) -> int:
    """Features of a state of an encoder with this config.

    Raises ValueError where the family has no such state. Whether there is such a layer is not asked.
    """
    whisper = config.model_type == "whisper"
    if state == "projected" and whisper:
        raise ValueError(
            "A teacher must have a projection between its convolutions and its layers to give the state 'projected', "
            "but whisper has none: its state 'convolutions' is as wide as its layers."
        )
    if state == "convolutions" and not whisper:
        if config.model_type == "wav2vec2-bert":
            raise ValueError(
                "A teacher must have convolutions to give the state 'convolutions', but wav2vec2-bert has filter banks."
            )
        return config.conv_dim[-1]
    return config.d_model if whisper else config.hidden_size
