"""Connectionist temporal classification (Graves et al. 2006)."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from trainables.sequences import Sequences


def ctc_loss(logits: Sequences, tokens: Sequences, blank: int) -> Float[Tensor, " batch"]:
    """−log p(tokens) of each utterance divided by the number of its tokens, in float32.

    `logits` are a student's outputs (batch, frames, vocabulary), `tokens` a transcript's (batch, tokens). Where no path
    fits the frames the loss is 0: `corpora/room.py` leaves such clips out.
    """
    with torch.autocast(logits.values.device.type, enabled=False):
        loss = functional.ctc_loss(
            logits.values.float().log_softmax(dim=2).transpose(0, 1),
            tokens.values,
            logits.lengths,
            tokens.lengths,
            blank=blank,
            reduction="none",
            zero_infinity=True,
        )
    return loss / tokens.lengths.clamp(min=1)
