"""The base of distillation losses that other packages bring."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from trainables.own import Own
from trainables.sequences import Sequences


class OwnLoss(Own, ABC):
    """A distance between a student's hidden states and a teacher's, defined in a package of the user's own.

    The student's are projected to the teacher's width by weights that learn with the student's. A loss that has other
    weights, or none, or asks for CTC's labels, has a `build` of its own.
    """

    @property
    def label(self) -> str:
        """Words that tell this loss from others where trials are listed: by default the name of its class."""
        return type(self).__name__

    @abstractmethod
    def distance(self, speech: Sequences, text: Sequences) -> Float[Tensor, " batch"]:
        """One value per utterance, in float32, from the student's hidden states and the teacher's.

        Both are of the teacher's width, (batch, frames, D_LM) and (batch, tokens, D_LM), in float32, with zeros beyond
        each length.
        """

    def build(self, *, student: int, teacher: int, dropped: tuple[int, ...]) -> nn.Module:
        """The loss for hidden states of these widths; `dropped` are the blank and the unknown token.

        It is called with the student's hidden states, the teacher's, and CTC's likeliest labels, (batch, frames).
        """
        return ProjectedLoss(self, student, teacher)


class ProjectedLoss(nn.Module):
    """One value per utterance: the distance between H · W + b, of the teacher's width, and H^LM."""

    def __init__(self, config: OwnLoss, student: int, teacher: int) -> None:
        super().__init__()
        self.projection = nn.Linear(student, teacher)
        self.config = config

    def forward(
        self, student: Sequences, teacher: Sequences, labels: Int[Tensor, "batch frames"]
    ) -> Float[Tensor, " batch"]:
        """The losses; student is (batch, frames, D_SM), teacher (batch, tokens, D_LM)."""
        with torch.autocast(student.values.device.type, enabled=False):
            speech = Sequences(self.projection(student.values.float()), student.lengths).zero_padded()
            return self.config.distance(speech, Sequences(teacher.values.float(), teacher.lengths))
