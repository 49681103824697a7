"""Distillation by regression: align in time, project, compare (§2.4 and §2.5)."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from trainables.aligners import Frames, Interpolation, Nearest, Shrunk
from trainables.config import Config
from trainables.losses.distances import Distance, SquaredError
from trainables.sequences import Sequences


class AlignedRegression(Config):
    """Shrink the speech, stretch the text, project linearly, compare by mean squared error: by default the paper's."""

    kind: Literal["aligned_regression"] = "aligned_regression"
    frames: Frames = Shrunk()
    interpolation: Interpolation = Nearest()
    distance: Distance = SquaredError()
    bias: bool = True
    """Whether the projection has a bias (eq. 11); the released code's has none."""

    @property
    def label(self) -> str:
        """Words that tell this loss from the paper's; empty for the paper's."""
        chosen = [
            (self.frames.kind, "shrunk"),
            (self.interpolation.kind, "nearest"),
            (self.distance.kind, "squared_error"),
            ("bias" if self.bias else "no bias", "bias"),
        ]
        return ", ".join(kind.replace("_", " ") for kind, papers in chosen if kind != papers)

    def build(self, *, student: int, teacher: int, dropped: tuple[int, ...]) -> "AlignedRegressionLoss":
        """The loss for hidden states of these widths; `dropped` are the blank and the unknown token."""
        return AlignedRegressionLoss(self, student, teacher, dropped)


class AlignedRegressionLoss(nn.Module):
    """One value per utterance: the mean of D(shrink(H) · W_f + b_f, nearest(H^LM)) over positions (eq. 9 to 13)."""

    def __init__(self, config: AlignedRegression, student: int, teacher: int, dropped: tuple[int, ...]) -> None:
        super().__init__()
        self.projection = nn.Linear(student, teacher, bias=config.bias)  # W_f, b_f of eq. 11
        self.config, self.dropped = config, dropped

    def forward(
        self, student: Sequences, teacher: Sequences, labels: Int[Tensor, "batch frames"]
    ) -> Float[Tensor, " batch"]:
        """The losses; student is (batch, frames, D_SM), teacher (batch, tokens, D_LM), labels CTC's argmax."""
        speech = self.config.frames(Sequences(student.values.float(), student.lengths), labels, self.dropped)
        text = self.config.interpolation(teacher, speech.lengths, speech.values.shape[1])
        with torch.autocast(student.values.device.type, enabled=False):
            distances = self.config.distance(self.projection(speech.values), text.values.float())
        return (distances * speech.mask).sum(dim=1) / speech.lengths.clamp(min=1)
