"""The choice of a model's attention: the quickest that does not make the host wait."""

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

MASKED = "sdpa_always_masked"
"""transformers' fused attention, always with a mask: it leaves out one that masks nothing, and to know that the host
must wait for the device at each forward pass."""


def attention(model: Any) -> str:
    """transformers' name of the quickest for a class of models; on a CPU, torch's fused kernel is the slower one."""
    return MASKED if torch.cuda.is_available() and model._supports_sdpa else "eager"


def _mask(**arguments: Any) -> torch.Tensor | None:
    return sdpa_mask(**{**arguments, "allow_is_bidirectional_skip": False})


AttentionInterface.register(MASKED, sdpa_attention_forward)
AttentionMaskInterface.register(MASKED, _mask)
