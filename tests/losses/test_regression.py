"""The vectorised loss against the paper's equations written out frame by frame."""

from itertools import groupby

import pytest
import torch
from torch import Tensor

from trainables.losses.regression import AlignedRegression
from trainables.sequences import Sequences
from trainables.testing import differentiable

BLANK, UNKNOWN = 0, 1


def reference(
    student: list[Tensor], teacher: list[Tensor], labels: list[list[int]], weight: Tensor, bias: Tensor
) -> Tensor:
    """Equations 9 to 13, one utterance and one frame at a time."""
    losses = []
    for hidden, text, path in zip(student, teacher, labels, strict=True):
        runs, at = [], 0
        for label, group in groupby(path):
            size = len(list(group))
            if label not in (BLANK, UNKNOWN):
                runs.append(torch.stack([hidden[t] for t in range(at, at + size)]).sum(dim=0) / size)
            at += size
        if len(runs) <= 1:
            runs = [hidden[t] for t in range(len(path))]
        total = torch.zeros(())
        for i, run in enumerate(runs):
            target = text[i * len(text) // len(runs)]
            total = total + ((run @ weight.T + bias - target) ** 2).mean()
        losses.append(total / len(runs))
    return torch.stack(losses)


CASES = {
    "random": [[0, 2, 2, 0, 3, 3, 3, 2, 1, 2, 0, 4], [2, 3, 4, 4, 0, 0, 2]],
    "all blank": [[0, 0, 0, 0, 0], [2, 0, 3, 0, 4, 0, 5]],
    "one run": [[0, 0, 2, 2, 0], [3, 3, 3]],
    "unknown tokens": [[1, 1, 1], [1, 2, 1, 3, 1], [0, 1, 0, 1]],
    "same label on both sides of a blank": [[2, 0, 2, 0, 2, 2], [2]],
    "single frames": [[2], [0], [3]],
    "run up to the last frame": [[2, 2, 3, 3], [2, 3, 3, 3, 3, 3]],
}


@pytest.mark.parametrize("tokens", [1, 3, 40], ids=["one token", "shorter teacher", "longer teacher"])
@pytest.mark.parametrize("case", CASES)
def test_equals_the_equations(case: str, tokens: int) -> None:
    torch.manual_seed(len(case) + tokens)
    paths = CASES[case]
    loss = AlignedRegression().build(student=6, teacher=4, dropped=(BLANK, UNKNOWN)).double()
    student = [torch.randn(len(p), 6, dtype=torch.float64, requires_grad=True) for p in paths]
    teacher = [torch.randn(tokens + i, 4, dtype=torch.float64) for i in range(len(paths))]

    expected = reference(student, teacher, paths, loss.projection.weight, loss.projection.bias)
    expected_gradients = torch.autograd.grad(expected.mean(), [*student, *loss.projection.parameters()])

    # Whatever stands in the padding must not matter: fill it with labels and values that would.
    batch = differentiable(student)
    noisy = torch.where(batch.mask[:, :, None], batch.values, torch.full_like(batch.values, 7.0))
    labels = torch.full(batch.mask.shape, 5)
    for i, path in enumerate(paths):
        labels[i, : len(path)] = torch.tensor(path)
    loss = loss.float()
    with torch.no_grad():
        targets = Sequences.stack([t.float() for t in teacher])
    ours = loss(Sequences(noisy.float(), batch.lengths), targets, labels)
    gradients = torch.autograd.grad(ours.mean(), [*student, *loss.projection.parameters()])

    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours.double(), expected.double(), atol=1e-5, rtol=1e-5)
    for got, wanted in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(got.double(), wanted.double(), atol=1e-5, rtol=1e-5)


def test_is_float32_under_autocast() -> None:
    loss = AlignedRegression().build(student=6, teacher=4, dropped=(BLANK,))
    hidden, text = Sequences.stack([torch.randn(9, 6)]), Sequences.stack([torch.randn(3, 4)])
    labels = torch.randint(0, 4, (1, 9))
    exact = loss(hidden, text, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(loss(hidden, text, labels), exact)
