"""Heads that predict the teacher's distribution over hidden units from a student's last hidden state (W_p of eq. 4).

The released code names three of them type 2, 1 and 3; the first is the paper's. The others compare with the teacher's
label embeddings, which stay as they are.
"""

from abc import ABC, abstractmethod
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from trainables.config import Config
from trainables.losses.hidden_units import cross_entropy, divergence
from trainables.sequences import Sequences

Embeddings = Float[Tensor, "units embedding"]


class Logits(Config):
    """p_s = softmax(W_p h + b_p), one output for each unit (eq. 4; type 2), compared by KL(p_t, p_s)."""

    kind: Literal["logits"] = "logits"
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """τ that divides the logits. Eq. 4 has none; the released code's switch gives the teacher's 0.1."""

    def build(self, *, student: int, labels: Embeddings) -> "UnitHead":
        """The head on hidden states of this width, for the units with these label embeddings."""
        return LogitsHead(student, len(labels), self.temperature)


class CosineToLabels(Config):
    """p_s = softmax(cos(W_p h + b_p, l) / τ) as the teacher's own (type 1), compared by KL(p_t, p_s)."""

    kind: Literal["cosine_to_labels"] = "cosine_to_labels"
    temperature: Annotated[float, Field(gt=0)] = 0.1
    """τ that divides the cosines: HuBERT's."""

    def build(self, *, student: int, labels: Embeddings) -> "UnitHead":
        """The head on hidden states of this width, for the units with these label embeddings."""
        return CosineHead(student, labels, self.temperature)


class HardLabels(Config):
    """The same p_s, compared with the teacher's likeliest unit alone, by cross entropy (type 3; InfoNCE over units)."""

    kind: Literal["hard_labels"] = "hard_labels"
    temperature: Annotated[float, Field(gt=0)] = 0.1
    """τ that divides the cosines: HuBERT's."""

    def build(self, *, student: int, labels: Embeddings) -> "UnitHead":
        """The head on hidden states of this width, for the units with these label embeddings."""
        return HardLabelsHead(student, labels, self.temperature)


UnitHeads = Annotated[Logits | CosineToLabels | HardLabels, Field(discriminator="kind")]


class UnitHead(nn.Module, ABC):
    """log p_s of hidden units, and its distance from the teacher's log p_t: L_disc."""

    def __init__(self, student: int, outputs: int, temperature: float) -> None:
        super().__init__()
        self.projection = nn.Linear(student, outputs)  # W_p of eq. 4
        self.temperature = temperature

    def forward(self, hidden: Sequences) -> Sequences:
        """log p_s (batch, frames, units) in float32, of last hidden states (batch, frames, features)."""
        with torch.autocast(hidden.values.device.type, enabled=False):
            logits = self.logits(self.projection(hidden.values.float()))
            return Sequences((logits / self.temperature).log_softmax(dim=2), hidden.lengths)

    @abstractmethod
    def logits(self, projected: Float[Tensor, "batch frames features"]) -> Float[Tensor, "batch frames units"]:
        """What the temperature divides, of projected hidden states."""

    def distance(self, student: Sequences, teacher: Sequences) -> Float[Tensor, " batch"]:
        """One value per utterance from log p_s and log p_t, (batch, frames, units) each."""
        return divergence(student, teacher)


class LogitsHead(UnitHead):
    """A linear layer with an output for each unit."""

    def logits(self, projected: Float[Tensor, "batch frames units"]) -> Float[Tensor, "batch frames units"]:
        """Themselves."""
        return projected


class CosineHead(UnitHead):
    """A linear layer, and the cosines of its output with the label embeddings."""

    labels: Embeddings

    def __init__(self, student: int, labels: Embeddings, temperature: float) -> None:
        super().__init__(student, labels.shape[1], temperature)
        normalised = functional.normalize(labels.detach().float(), dim=1)
        self.register_buffer("labels", normalised, persistent=False)  # the teacher's, with which it is rebuilt

    def logits(self, projected: Float[Tensor, "batch frames features"]) -> Float[Tensor, "batch frames units"]:
        """Cosines with all label embeddings, as one matrix product."""
        return functional.normalize(projected, dim=2) @ self.labels.T


class HardLabelsHead(CosineHead):
    """The same, whose target is the teacher's likeliest unit."""

    @override
    def distance(self, student: Sequences, teacher: Sequences) -> Float[Tensor, " batch"]:
        return cross_entropy(student, teacher)
