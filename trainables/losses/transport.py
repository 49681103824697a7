"""Distillation by optimal transport: no alignment is given, the cheapest one is found.

Lu et al., *Cross-Modal Alignment with Optimal Transport for CTC-Based ASR* (ASRU 2023), with the iterations of
Cuturi, *Sinkhorn Distances* (NeurIPS 2013), in the log domain (Peyré & Cuturi, *Computational Optimal
Transport*, §4.4).
"""

from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from trainables.aligners import AllFrames, Frames
from trainables.config import Config
from trainables.sequences import Sequences, mask_of


class OptimalTransport(Config):
    """Transport the speech, projected linearly, onto the text, at cosine costs and with an entropy term."""

    kind: Literal["optimal_transport"] = "optimal_transport"
    frames: Frames = AllFrames()
    epsilon: Annotated[float, Field(gt=0)] = 0.1
    """Weight of the entropy; costs go from 0 to 2. The smaller, the sharper the plan, and the more iterations."""
    iterations: Annotated[int, Field(gt=0)] = 50
    """Iterations of Sinkhorn's algorithm."""
    bias: bool = True
    """Whether the projection has a bias."""

    @property
    def label(self) -> str:
        """Words that tell this loss from the paper's regression."""
        frames = "" if self.frames.kind == "all_frames" else f" of {self.frames.kind} frames"
        return f"optimal transport{frames}, ε = {self.epsilon:g}" + ("" if self.bias else ", no bias")

    def build(self, *, student: int, teacher: int, dropped: tuple[int, ...]) -> "OptimalTransportLoss":
        """The loss for hidden states of these widths; `dropped` are the blank and the unknown token."""
        return OptimalTransportLoss(self, student, teacher, dropped)


class OptimalTransportLoss(nn.Module):
    """One value per utterance: ⟨P, C⟩, C the cosine distances between frames and tokens, P the plan between them."""

    def __init__(self, config: OptimalTransport, student: int, teacher: int, dropped: tuple[int, ...]) -> None:
        super().__init__()
        self.projection = nn.Linear(student, teacher, bias=config.bias)
        self.config, self.dropped = config, dropped

    def forward(
        self, student: Sequences, teacher: Sequences, labels: Int[Tensor, "batch frames"]
    ) -> Float[Tensor, " batch"]:
        """The losses; student is (batch, frames, D_SM), teacher (batch, tokens, D_LM), labels CTC's argmax.

        The plan is a constant for the gradient, which is then that of the regularised problem's optimum
        (envelope theorem), and nothing of the iterations is kept.
        """
        speech = self.config.frames(Sequences(student.values.float(), student.lengths), labels, self.dropped)
        with torch.autocast(student.values.device.type, enabled=False):
            projected = functional.normalize(self.projection(speech.values), dim=2)
            cost = 1 - projected @ functional.normalize(teacher.values.float(), dim=2).mT
            transport = plan(
                cost.detach(), speech.lengths, teacher.lengths,
                epsilon=self.config.epsilon, iterations=self.config.iterations,
            )  # fmt: skip
            return (transport * cost).sum(dim=(1, 2))


@torch.no_grad()
def plan(
    cost: Float[Tensor, "batch frames tokens"],
    frames: Int[Tensor, " batch"],
    tokens: Int[Tensor, " batch"],
    *,
    epsilon: float,
    iterations: int,
) -> Float[Tensor, "batch frames tokens"]:
    """The plan P that minimises ⟨P, C⟩ − `epsilon` · H(P) with equal mass on each frame and on each token.

    `frames` and `tokens` are the lengths of each utterance; the plan is zero beyond them, and zero throughout
    where one of them is 0. Its columns' sums are exact, its rows' as good as the iterations are many.
    """
    rows, columns = _log_weights(frames, cost.shape[1]), _log_weights(tokens, cost.shape[2])
    kernel = -cost / epsilon
    # Potentials over epsilon; each update makes the sums of rows or of columns exact.
    g = torch.zeros_like(columns)
    f = torch.zeros_like(rows)
    for _ in range(iterations):
        f = -torch.logsumexp(kernel + (columns + g)[:, None, :], dim=2)
        g = -torch.logsumexp(kernel + (rows + f)[:, :, None], dim=1)
    there = ((frames > 0) & (tokens > 0))[:, None, None]
    return torch.exp(kernel + (rows + f)[:, :, None] + (columns + g)[:, None, :]) * there


def _log_weights(lengths: Int[Tensor, " batch"], time: int) -> Float[Tensor, "batch {time}"]:
    """log(1 / length) on the valid positions, minus infinity elsewhere; an empty sequence counts as one position."""
    lengths = lengths.clamp(min=1)
    return -lengths[:, None].log().expand(-1, time).masked_fill(~mask_of(lengths, time), float("inf"))
