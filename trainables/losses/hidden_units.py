"""The losses of Wang, Tang et al., *Exploring Effective Distillation of Self-Supervised Speech Models for Automatic
Speech Recognition* (arXiv 2210.15631): regression onto a teacher's layers, and divergence from its hidden units.

Each is a mean over the valid frames of an utterance; how utterances are weighted is the task's affair.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from trainables.sequences import Sequences

Norm = Literal["l1", "l2"]


def distance(student: Sequences, teacher: Sequences, norm: Norm = "l1") -> Float[Tensor, " batch"]:
    """Mean over frames and features of |s − t| or (s − t)²: the first part of L_reg (eq. 3), and L_frontend (§3.3).

    The paper writes a norm, which would be the sum over features; the released code takes the mean, and so does this:
    the sum would drown the cosine beside it.
    """
    with torch.autocast(student.values.device.type, enabled=False):
        difference = student.values.float() - teacher.values.float()
        return _mean(difference.abs() if norm == "l1" else difference.square(), student)


def cosine(student: Sequences, teacher: Sequences) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Mean over frames of −log σ(cos(s, t)), the second part of L_reg (eq. 3), and of the cosine itself.

    Of equal states the first is log(1 + e⁻¹) = 0.3133, and not 0.
    """
    with torch.autocast(student.values.device.type, enabled=False):
        similarity = functional.cosine_similarity(student.values.float(), teacher.values.float(), dim=2)
        return _mean(-functional.logsigmoid(similarity), student), _mean(similarity, student)


def divergence(student: Sequences, teacher: Sequences) -> Float[Tensor, " batch"]:
    """L_disc = KL(p_t, p_s) (eq. 3), mean over frames, of the student's scores and the teacher's log-probabilities.

    Both are (batch, frames, units); p_s is the softmax of the student's scores (eq. 4).
    """
    with torch.autocast(student.values.device.type, enabled=False):
        log_s, log_t = student.values.float().log_softmax(dim=2), teacher.values.float()
        return _mean((log_t.exp() * (log_t - log_s)).sum(dim=2), student)


def cross_entropy(student: Sequences, teacher: Sequences) -> Float[Tensor, " batch"]:
    """−log p_s of the teacher's likeliest unit, mean over frames; takes what `divergence` takes."""
    with torch.autocast(student.values.device.type, enabled=False):
        log_s = student.values.float().log_softmax(dim=2)
        return _mean(-log_s.gather(2, teacher.values.argmax(dim=2, keepdim=True))[:, :, 0], student)


def agreement(student: Sequences, teacher: Sequences) -> Float[Tensor, " batch"]:
    """The share of frames whose likeliest unit is the same for both."""
    return _mean((student.values.argmax(dim=2) == teacher.values.argmax(dim=2)).float(), student)


def _mean(values: Float[Tensor, "batch frames *features"], frames: Sequences) -> Float[Tensor, " batch"]:
    """The mean over an utterance's own frames, and all features."""
    per_frame = values.flatten(2).mean(dim=2) if values.dim() > 2 else values
    return (per_frame * frames.mask).sum(dim=1) / frames.lengths.clamp(min=1)
