"""Dynamic int8: weights of linear layers in eight bits, their inputs quantised as they come, on CPUs.

Convolutions stay as they are, as does all else: in eight bits they are slower, not quicker.
"""

from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.ao.nn.quantized import dynamic

T = TypeVar("T", bound=nn.Module)
LARGEST = 127
"""The largest signed integer of eight bits; the smallest, which has no negative, is left out."""


def quantised(model: T) -> T:
    """The same model, changed in place: each linear layer of it calculates in int8.

    Raises ValueError where torch has no such kernels for this processor.
    """
    if set(torch.backends.quantized.supported_engines) <= {"none"}:
        raise ValueError("`precision` must be float32 or bfloat16 on this processor: torch has no int8 for it.")
    for module in list(model.modules()):
        # WavLM's attention does not call its linear layers, it hands their weights to one function.
        if hasattr(module, "gru_rel_pos_linear"):
            continue
        for name, child in module.named_children():
            if type(child) is nn.Linear:
                setattr(module, name, _dynamic(child))
    return model


def _dynamic(linear: nn.Linear) -> nn.Module:
    made: Any = dynamic.Linear(linear.in_features, linear.out_features, linear.bias is not None)
    weight: Tensor = linear.weight.detach().float()
    scales = weight.abs().amax(dim=1).clamp(min=1e-8).double() / LARGEST
    zeros = torch.zeros(len(scales), dtype=torch.long)
    made.set_weight_bias(
        torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8),
        None if linear.bias is None else linear.bias.detach().float(),
    )
    return made
