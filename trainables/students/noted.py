"""What parts inside transformers' models over frames need and have no argument for: noted before each pass.

The functions here stand in place of methods of these models.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class Noted:
    """What is noted for the next pass."""

    channels: Bool[Tensor, "batch features"] | None = None
    """Features that are hidden in all frames of a clip."""
    convolutions: Float[Tensor, "batch features frames"] | None = None
    """What the convolutions make of the clips, where it is known already."""


def convolved_or_known(
    noted: Noted, convolve: Callable[[Tensor], Tensor], waveform: Float[Tensor, "batch samples"]
) -> Float[Tensor, "batch features frames"]:
    """In place of the forward pass of transformers' convolutions: what is known of it, or else that pass."""
    return convolve(waveform) if noted.convolutions is None else noted.convolutions


def hidden_away(
    model: Any,
    noted: Noted,
    hidden_states: Float[Tensor, "batch frames features"],
    mask_time_indices: Bool[Tensor, "batch frames"] | None = None,
    attention_mask: Tensor | None = None,
) -> Float[Tensor, "batch frames features"]:
    """`hidden_states` with the mask's embedding on the masked frames, and then zeros in the masked channels.

    In place of transformers' own method, which indexes with the mask: for that the host waits for the device.
    """
    embedding = None if mask_time_indices is None else model.masked_spec_embed
    return hide(hidden_states, mask_time_indices, noted.channels, embedding)


def hide(
    hidden: Float[Tensor, "batch frames features"],
    masked: Bool[Tensor, "batch frames"] | None,
    channels: Bool[Tensor, "batch features"] | None,
    embedding: Float[Tensor, " features"] | None,
) -> Float[Tensor, "batch frames features"]:
    """The frames of clips with the mask's `embedding` in those that are masked, and zeros in the masked channels."""
    if masked is not None:
        assert embedding is not None
        hidden = torch.where(masked[:, :, None], embedding.to(hidden.dtype), hidden)
    return hidden if channels is None else hidden.masked_fill(channels[:, None], 0)
