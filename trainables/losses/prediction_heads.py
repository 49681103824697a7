"""Heads that predict a teacher's layers and hidden units from a student's: they exist only in distillation."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from trainables.config import Config
from trainables.sequences import Sequences


class LayerHeads(nn.Module, ABC):
    """Predictions of a teacher's layers from a student's hidden states."""

    wanted: Collection[int]
    """The student's layers that it looks at."""

    @abstractmethod
    def forward(self, states: Mapping[int, Sequences]) -> dict[int, Sequences]:
        """By the teacher's layer, its hidden states as predicted (batch, frames, D_t) from the student's, by layer."""


class OnLast(Config):
    """Some of the teacher's layers, all predicted from the student's last one (Fig. 1, right; DistilHuBERT §3.1).

    A linear layer to as many times D_t features as there are layers, GELU, and a linear layer for each.
    """

    kind: Literal["on_last"] = "on_last"
    layers: tuple[Annotated[int, Field(gt=0)], ...] = (4, 8, 12)
    """The teacher's (§4.1)."""

    def targets(self, depth: int) -> tuple[int, ...]:
        """The teacher's layers that are predicted."""
        return self.layers

    def build(self, width: int, depth: int, teacher: int) -> LayerHeads:
        """Heads on a student of this width and depth, for a teacher of width `teacher`."""
        return _OnLast(width, depth, teacher, self.layers)


class LayerToLayer(Config):
    """Layer i of the teacher from layer i of the student, each by a linear layer of its own (Fig. 1, left)."""

    kind: Literal["layer_to_layer"] = "layer_to_layer"

    def targets(self, depth: int) -> tuple[int, ...]:
        """The teacher's layers that are predicted, of a student with `depth` layers."""
        return tuple(range(1, depth + 1))

    def build(self, width: int, depth: int, teacher: int) -> LayerHeads:
        """Heads on a student of this width and depth, for a teacher of width `teacher`."""
        return _LayerToLayer(width, depth, teacher)


Heads = Annotated[OnLast | LayerToLayer, Field(discriminator="kind")]


class _OnLast(LayerHeads):
    def __init__(self, width: int, depth: int, teacher: int, layers: Sequence[int]) -> None:
        super().__init__()
        self.wanted, self.targets, self.teacher = (depth,), layers, teacher
        self.shared = nn.Sequential(nn.Linear(width, teacher * len(layers)), nn.GELU())
        self.own = nn.ModuleList([nn.Linear(teacher, teacher) for _ in layers])

    @override
    def forward(self, states: Mapping[int, Sequences]) -> dict[int, Sequences]:
        (last,) = (states[layer] for layer in self.wanted)
        parts: tuple[Float[Tensor, "batch frames features"], ...] = self.shared(last.values).split(self.teacher, dim=2)
        heads = zip(self.targets, self.own, parts, strict=True)
        return {layer: Sequences(head(part), last.lengths) for layer, head, part in heads}


class _LayerToLayer(LayerHeads):
    def __init__(self, width: int, depth: int, teacher: int) -> None:
        super().__init__()
        self.wanted = range(1, depth + 1)
        self.own = nn.ModuleList([nn.Linear(width, teacher) for _ in self.wanted])

    @override
    def forward(self, states: Mapping[int, Sequences]) -> dict[int, Sequences]:
        heads = zip(self.wanted, self.own, strict=True)
        return {layer: Sequences(head(states[layer].values), states[layer].lengths) for layer, head in heads}
