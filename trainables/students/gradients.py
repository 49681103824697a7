"""Front-ends that learn more slowly than the Transformer above them, or not at all."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from trainables.students.encoders import SpeechEncoder


def scale_gradient(encoder: SpeechEncoder, factor: float) -> None:
    """Multiply the gradient of all below the encoder's Transformer by `factor`; at 0 nothing there learns.

    wav2vec 2.0 and HuBERT are trained with 0.1 (fairseq's `feature_grad_mult`), and fine-tuned with 0. Factors of
    several calls multiply. Raises ValueError when the factor is negative.
    """
    if factor < 0:
        raise ValueError(f"`factor` must be at least 0, but is {factor} instead.")
    if factor == 1 or not encoder.convolutions:
        return
    if factor == 0:
        for module in encoder.convolutions:
            module.requires_grad_(False)
            # transformers lets the waveform have a gradient, for which all that convolutions make would be kept.
            module.forward = torch.no_grad()(module.forward)
    else:
        encoder.convolutions[-1].register_forward_hook(partial(_scaled, factor))


def _scaled(factor: float, _: nn.Module, __: Any, output: Tensor) -> Tensor:
    if output.requires_grad:
        output.register_hook(lambda gradient: factor * gradient)
    return output
