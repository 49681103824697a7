"""Every aligner with every distance, against one utterance at a time."""

import math
from itertools import groupby, product

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from trainables.aligners import AllFrames, Frames, Interpolation, Linear, Nearest, Shrunk
from trainables.losses.distances import AbsoluteError, Cosine, Distance, SmoothL1, SquaredError
from trainables.losses.regression import AlignedRegression
from trainables.losses.transport import OptimalTransport
from trainables.sequences import Sequences
from trainables.testing import differentiable

BLANK, UNKNOWN = 0, 1
PATHS = [[0, 2, 2, 0, 3, 1, 3, 3, 2], [0, 0, 0, 0], [4, 5], [2]]
FRAMES: tuple[Frames, ...] = (Shrunk(), AllFrames())
INTERPOLATIONS: tuple[Interpolation, ...] = (Nearest(), Linear())
DISTANCES: tuple[Distance, ...] = (SquaredError(), AbsoluteError(), SmoothL1(), SmoothL1(beta=0.2), Cosine())


def positions(hidden: Tensor, path: list[int], frames: Frames) -> list[Tensor]:
    if isinstance(frames, AllFrames):
        return list(hidden)
    runs, at = [], 0
    for label, group in groupby(path):
        size = len(list(group))
        if label not in (BLANK, UNKNOWN):
            runs.append(hidden[at : at + size].mean(dim=0))
        at += size
    return runs if len(runs) > 1 else list(hidden)


def target(text: Tensor, i: int, count: int, interpolation: Interpolation) -> Tensor:
    if isinstance(interpolation, Nearest):
        return text[i * len(text) // count]
    place = min(max((i + 0.5) * len(text) / count - 0.5, 0), len(text) - 1)
    low = math.floor(place)
    return text[low] + (place - low) * (text[min(low + 1, len(text) - 1)] - text[low])


def between(x: Tensor, y: Tensor, distance: Distance) -> Tensor:
    difference = (x - y).abs()
    match distance:
        case SquaredError():
            return (difference**2).mean()
        case AbsoluteError():
            return difference.mean()
        case SmoothL1(beta=beta):
            small = difference < beta
            return torch.where(small, difference**2 / (2 * beta), difference - beta / 2).mean()
        case Cosine():
            return 1 - x @ y / (x.norm() * y.norm())


def batch_of(items: list[Tensor], padding: float = 7.0) -> Sequences:
    stacked = differentiable(items)
    return Sequences(torch.where(stacked.mask[:, :, None], stacked.values, padding), stacked.lengths)


def labels_of(paths: list[list[int]]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(path) for path in paths], True, 5)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("tokens", [1, 5])
@pytest.mark.parametrize(
    ("frames", "interpolation", "distance"),
    list(product(FRAMES, INTERPOLATIONS, DISTANCES)),
    ids=lambda v: v.kind,
)
def test_equals_one_utterance_at_a_time(
    frames: Frames, interpolation: Interpolation, distance: Distance, tokens: int, bias: bool
) -> None:
    torch.manual_seed(tokens)
    config = AlignedRegression(frames=frames, interpolation=interpolation, distance=distance, bias=bias)
    loss = config.build(student=6, teacher=4, dropped=(BLANK, UNKNOWN))
    assert (loss.projection.bias is not None) == bias
    student = [torch.randn(len(path), 6, requires_grad=True) for path in PATHS]
    teacher = [torch.randn(tokens + i, 4) for i in range(len(PATHS))]
    expected = []
    for hidden, text, path in zip(student, teacher, PATHS, strict=True):
        speech = [loss.projection(x) for x in positions(hidden, path, frames)]
        each = [between(x, target(text, i, len(speech), interpolation), distance) for i, x in enumerate(speech)]
        expected.append(torch.stack(each).mean())
    wanted = torch.autograd.grad(torch.stack(expected).sum(), [*student, *loss.projection.parameters()])

    ours = loss(batch_of(student), Sequences.stack(teacher), labels_of(PATHS))
    got = torch.autograd.grad(ours.sum(), [*student, *loss.projection.parameters()])
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, torch.stack(expected), atol=1e-5, rtol=1e-5)
    for mine, theirs in zip(got, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


LOSSES = [
    *(AlignedRegression(distance=distance, bias=False) for distance in DISTANCES),
    *(AlignedRegression(frames=frames, interpolation=Linear(), bias=False) for frames in FRAMES),
    *(OptimalTransport(frames=frames, bias=False) for frames in FRAMES),
]


@pytest.mark.parametrize("config", LOSSES, ids=lambda config: config.label or "paper")
def test_padding_and_neighbours_never_change_a_value(config: AlignedRegression | OptimalTransport) -> None:
    torch.manual_seed(3)
    loss = config.build(student=6, teacher=4, dropped=(BLANK, UNKNOWN))
    student = [torch.randn(len(path), 6) for path in PATHS]
    teacher = [torch.randn(2 + i, 4) for i in range(len(PATHS))]
    together = loss(batch_of(student), Sequences.stack(teacher), labels_of(PATHS))
    for i, path in enumerate(PATHS):
        alone = loss(batch_of(student[i : i + 1]), Sequences.stack(teacher[i : i + 1]), labels_of([path]))
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("config", LOSSES, ids=lambda config: config.label or "paper")
def test_utterances_of_nothing_or_of_zeros_have_finite_gradients(config: AlignedRegression | OptimalTransport) -> None:
    """One of no frame, one of no token, one of a single frame, and one whose hidden states are all zero."""
    torch.manual_seed(4)
    loss = config.build(student=6, teacher=4, dropped=(BLANK, UNKNOWN))
    hidden = torch.randn(4, 5, 6)
    hidden[3] = 0
    hidden.requires_grad_()
    text = Sequences(torch.randn(4, 3, 4), torch.tensor([3, 0, 2, 3])).zero_padded()
    values = loss(Sequences(hidden, torch.tensor([0, 5, 1, 5])), text, torch.randint(0, 5, (4, 5)))
    assert torch.isfinite(values).all()
    assert values[0] == 0
    gradients = torch.autograd.grad(values.sum(), [hidden, *loss.projection.parameters()])
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert not gradients[0][0].any()


@pytest.mark.parametrize("config", LOSSES, ids=lambda config: config.label or "paper")
def test_all_are_float32_under_autocast(config: AlignedRegression | OptimalTransport) -> None:
    loss = config.build(student=6, teacher=4, dropped=(BLANK,))
    hidden, text = Sequences.stack([torch.randn(9, 6)]), Sequences.stack([torch.randn(3, 4)])
    labels = torch.randint(0, 4, (1, 9))
    exact = loss(hidden, text, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(loss(hidden, text, labels), exact)


def test_labels_say_what_is_not_the_papers() -> None:
    assert AlignedRegression().label == ""
    other = AlignedRegression(frames=AllFrames(), interpolation=Linear(), distance=Cosine(), bias=False)
    assert other.label == "all frames, linear, cosine, no bias"
    assert AlignedRegression(distance=SmoothL1(beta=0.5)).label == "smooth l1"
    assert OptimalTransport().label == "optimal transport, ε = 0.1"


@pytest.mark.parametrize("fields", [{"epsilon": 0}, {"iterations": 0}])
def test_transport_wants_positive_numbers(fields: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match="greater than 0"):
        OptimalTransport.model_validate(fields)
