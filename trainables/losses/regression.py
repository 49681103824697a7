"""Distillation by regression: align in time, project, compare (§2.4 and §2.5)."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from trainables.aligners import nearest, shrink
from trainables.config import Config
from trainables.sequences import Sequences


class AlignedRegression(Config):
    """Shrink the speech, stretch the text, project linearly, mean squared error: the paper's loss."""

    kind: Literal["aligned_regression"] = "aligned_regression"

    def build(self, *, student: int, teacher: int, dropped: tuple[int, ...]) -> "AlignedRegressionLoss":
        """The loss for hidden states of these widths; `dropped` are the blank and the unknown token."""
        return AlignedRegressionLoss(student, teacher, dropped)


class AlignedRegressionLoss(nn.Module):
    """One value per utterance: MSE(shrink(H) · W_f + b_f, nearest(H^LM)) (eq. 9 to 13)."""

    def __init__(self, student: int, teacher: int, dropped: tuple[int, ...]) -> None:
        super().__init__()
        self.projection = nn.Linear(student, teacher)  # W_f, b_f of eq. 11
        self.dropped = dropped

    def forward(
        self, student: Sequences, teacher: Sequences, labels: Int[Tensor, "batch frames"]
    ) -> Float[Tensor, " batch"]:
        """Student (batch, frames, D_SM), teacher (batch, tokens, D_LM), labels CTC's argmax."""
        speech = shrink(Sequences(student.values.float(), student.lengths), labels, self.dropped)
        text = nearest(teacher, speech.lengths, speech.values.shape[1])
        with torch.autocast(student.values.device.type, enabled=False):
            difference = self.projection(speech.values) - text.values.float()
        squared = difference.square().mean(dim=2) * speech.mask
        return squared.sum(dim=1) / speech.lengths.clamp(min=1)
