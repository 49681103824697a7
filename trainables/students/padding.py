"""Layers inside transformers' models over waveforms that would mix a batch's padding into its clips.

A clip of 3 s beside one of 10 s is padded with 7 s of zeros. Attention is told to leave their frames out, and most
other layers see one frame alone, or a few that lie within the clip. Two do not. The group norm of the smaller
checkpoints takes the mean and the variance of a channel over time, here to seven tenths over padding. A convolution
over positions reaches beyond the clip's end (64 frames in wav2vec 2.0), where a clip alone has zeros, and a longer
batch what a layer before has made of them: a bias, a norm or another convolution. Either would let a clip's loss depend
on the clips beside it, and the result on the number of shares. So the first is taken over each clip's own frames, and
the second is given zeros.
"""

from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from trainables.sequences import Sequences, mask_of


class Lengths:
    """The lengths of the clips in a pass: the layers inside have no argument for them, so they are noted before it."""

    samples: Int[Tensor, " batch"]
    """Samples of each waveform, padding not counted."""
    frames: Int[Tensor, " batch"]
    """Frames of each clip after the last convolution over the waveform."""


def kept_out(model: Any) -> Lengths:
    """Change `model` so that a clip beside longer ones is what it is alone; returns where to note the lengths.

    A clip alone is what it was, and parameters keep their names. The other layers leave padding out by themselves.
    """
    lengths = Lengths()
    first = model.feature_extractor.conv_layers[0]
    if isinstance(norm := first.layer_norm, nn.GroupNorm):
        assert norm.num_groups == norm.num_channels
        norm.forward = partial(_normalised, lengths, first.conv, norm)  # pyright: ignore[reportAttributeAccessIssue]
    kept_out_of_positions(model.encoder, lengths)
    return lengths


def kept_out_of_positions(encoder: Any, lengths: Lengths) -> None:
    """The same for a Transformer alone, whose frames do not come from its model's own convolutions."""
    # data2vec has several in a row, and a HuBERT may have a batch norm before its only one: neither leaves zeros.
    for module in encoder.pos_conv_embed.modules():
        if isinstance(module, nn.Conv1d):
            module.register_forward_pre_hook(partial(_zero_padded, lengths))


def _normalised(
    clips: Lengths, conv: nn.Conv1d, norm: nn.GroupNorm, hidden: Float[Tensor, "batch channels frames"]
) -> Float[Tensor, "batch channels frames"]:
    """Normalise, in place of the norm's own forward, each channel of a clip over the clip's own frames.

    In float32 whatever the precision, as under autocast on a GPU.
    """
    frames = (clips.samples - conv.kernel_size[0]).div(conv.stride[0], rounding_mode="floor") + 1
    mask, count = mask_of(frames, hidden.shape[2])[:, None], frames[:, None, None]
    values = hidden.float()
    mean = (values * mask).sum(dim=2, keepdim=True) / count
    variance = ((values - mean) * mask).square().sum(dim=2, keepdim=True) / count
    scale = norm.weight[:, None] * (variance + norm.eps).rsqrt()
    return torch.addcmul(norm.bias[:, None] - mean * scale, values, scale)


def _zero_padded(clips: Lengths, _: nn.Module, arguments: tuple[Float[Tensor, "batch features frames"]]) -> Tensor:
    """A convolution's input with zeros beyond each length, as it sees them beyond the end of a clip alone."""
    return Sequences(arguments[0].transpose(1, 2), clips.frames).zero_padded().values.transpose(1, 2)
