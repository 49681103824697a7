"""How much quicker the vectorised loss of Distill-L2S is than a loop over frames, forward and backward.

The claim: at least 20 times on a GPU and 3 times on a CPU, at 12 clips of 499 frames of 1024 and a teacher of 768.
The peer: a loop over utterances and frames, as the authors' released code has one, written here from eq. 9 to 13.
The floor: projecting the segments and reading and writing the hidden states and their gradient once.
"""

from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
from torch import Tensor, nn

from benchmarks.ratios import Arm, Claim, Measurement, alternate, device, not_measured, on, ratios, seconds
from trainables.losses.regression import AlignedRegression, AlignedRegressionLoss
from trainables.sequences import Sequences

CLAIM = Claim(
    "Distill-L2S loss, forward and backward",
    "a loop over utterances and frames",
    "projecting the segments; hidden states and their gradient read and written once",
    target=3,
    better="at least",
)
CLAIMS = {"cuda": on(CLAIM, "GPU", 20), "cpu": on(CLAIM, "CPU", 3)}


@dataclass(frozen=True)
class Size:
    """The sizes of the batch; by default those of the claim."""

    utterances: int = 12
    frames: int = 499
    student: int = 1024
    teacher: int = 768
    vocabulary: int = 40
    characters: int = 90
    """Characters of each transcript, each a run of two frames, between blanks."""
    tokens: int = 25
    times: int = 2
    """Calls in one repeat."""


class FrameByFrame(nn.Module):
    """The loss as a reader of §2.4 and §2.5 would write it, one utterance after the other.

    Labels come to the host once per utterance: asking for each would make a GPU wait 6 000 times, and flatter us.
    """

    def __init__(self, projection: nn.Linear, dropped: tuple[int, ...], *, unbound: bool = False) -> None:
        """`unbound` takes an utterance's frames apart at once: indexed, each has a gradient of all frames' size."""
        super().__init__()
        self.projection, self.dropped, self.unbound = projection, dropped, unbound

    def forward(self, student: Sequences, teacher: Sequences, labels: Tensor) -> Tensor:
        """The losses, (batch,), as of `AlignedRegressionLoss`, whose arguments these are."""
        losses = []
        for b in range(len(labels)):
            hidden = student.values[b, : int(student.lengths[b])].float()
            text = teacher.values[b, : int(teacher.lengths[b])].float()
            shrunk = self._shrink(hidden, labels[b])
            index = [i * len(text) // len(shrunk) for i in range(len(shrunk))]  # eq. 10
            stretched = torch.stack([text[i] for i in index])
            losses.append(nn.functional.mse_loss(self.projection(shrunk), stretched))  # eq. 11 and 13
        return torch.stack(losses)

    def _shrink(self, hidden: Tensor, labels: Tensor) -> Tensor:
        """Eq. 9: the mean of each run of equal labels, without blanks."""
        means: list[Tensor] = []
        run: list[Tensor] = []
        last = None
        frames = hidden.unbind() if self.unbound else hidden
        for t, label in enumerate(labels[: len(hidden)].tolist()):
            if label != last and run:
                means.append(torch.stack(run).mean(dim=0))
                run = []
            if label not in self.dropped:
                run.append(frames[t])
            last = label
        if run:
            means.append(torch.stack(run).mean(dim=0))
        return torch.stack(means) if len(means) > 1 else hidden


def example(size: Size, where: torch.device) -> tuple[Sequences, Sequences, Tensor]:
    """Hidden states of the student and of the teacher, and labels as a trained student predicts them: spikes."""
    torch.manual_seed(0)
    hidden = torch.randn(size.utterances, size.frames, size.student, device=where, requires_grad=True)
    text = torch.randn(size.utterances, size.tokens, size.teacher, device=where)
    blank = size.vocabulary - 1
    labels = torch.full((size.utterances, size.frames), blank)
    for row in labels:
        for start in torch.linspace(0, size.frames - 3, size.characters).long().tolist():
            row[start : start + 2] = torch.randint(size.vocabulary - 2, ())
    full = [torch.full((size.utterances,), n, device=where) for n in (size.frames, size.tokens)]
    return Sequences(hidden, full[0]), Sequences(text, full[1]), labels.to(where)


def arms(size: Size, where: torch.device) -> dict[str, Arm]:
    """Our loss and the two loops, all on one batch. Raises ValueError when they do not agree."""
    batch = example(size, where)
    dropped = (size.vocabulary - 1, size.vocabulary - 2)
    ours = AlignedRegressionLoss(AlignedRegression(), size.student, size.teacher, dropped).to(where)
    loop, unbound = (FrameByFrame(ours.projection, dropped, unbound=way) for way in (False, True))
    hidden = batch[0].values
    found = [(loss(*batch), *torch.autograd.grad(loss(*batch).sum(), hidden)) for loss in (ours, loop, unbound)]
    for name, ours_, *others in zip(("values", "gradients"), *found, strict=True):
        for other in others:
            if not torch.allclose(ours_, other, rtol=1e-3, atol=1e-5):
                raise ValueError(
                    f"The {name} must be the loop's, but differ by up to {(ours_ - other).abs().max():.1e}."
                )

    def call(loss: nn.Module) -> None:
        for _ in range(size.times):
            loss(*batch).sum().backward()
            hidden.grad = None

    losses = {"ours": ours, "loop": loop, "unbound": unbound}
    return {name: seconds(partial(call, loss)) for name, loss in losses.items()}


def measure(repeats: int, size: Size | None = None) -> list[Measurement]:
    """Measure on the device at hand."""
    size, where = size or Size(), device()
    costs = alternate(arms(size, where), repeats)
    each = ", ".join(f"{name} {1000 * median(values) / size.times:.1f}" for name, values in costs.items())
    note = f"{size}; medians in ms: {each}"
    measured = Measurement(CLAIMS[where.type], ratios(costs["loop"], costs["ours"]), note)
    others = [claim for kind, claim in CLAIMS.items() if kind != where.type]
    return [measured, *not_measured(others, f"training here is on {where.type}")]
