"""Floating-point operations of a step, counted by torch, with one of its counts put right."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count


def counter() -> FlopCounterMode:
    """Counts within a block the matrix products, attention and convolutions, forward and backward."""
    return FlopCounterMode(display=False, custom_mapping={torch.ops.aten.convolution_backward: _of_gradients})


def _of_gradients(
    gradient: Sequence[int], inputs: Sequence[int], weight: Sequence[int], *others: Any, out_shape: Any = None
) -> int:
    """The gradient of the inputs and that of the weights, as many operations each as the convolution itself.

    torch 2.12 counts those of the weights once for each pair of groups: sixteen times too many for the convolution by
    which wav2vec 2.0 and HuBERT tell positions apart, about a tenth of all that a step of such a student takes.
    """
    _, _, _, _, transposed, _, _, wanted = others
    own = conv_flop_count(list(inputs), list(weight), list(gradient), transposed=transposed)
    return own * (int(wanted[0]) + int(wanted[1]))
