"""Sinkhorn over a padded batch against POT, one utterance at a time."""

import numpy as np
import ot
import pytest
import torch
from torch import Tensor

from trainables.losses.transport import OptimalTransport, OptimalTransportLoss, plan
from trainables.sequences import Sequences
from trainables.testing import differentiable

SIZES = [(9, 4), (3, 7), (1, 5), (6, 1), (30, 12)]


def problem(dtype: torch.dtype = torch.float32) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
    """Cosine costs of unequal sizes, alone and padded with what must not matter, and the sizes."""
    generator = torch.Generator().manual_seed(1)
    costs = []
    for frames, tokens in SIZES:
        x, y = (torch.randn(n, 6, generator=generator, dtype=dtype) for n in (frames, tokens))
        costs.append(1 - torch.nn.functional.cosine_similarity(x[:, None], y[None], dim=2))
    padded = torch.full((len(SIZES), 33, 12), -5.0, dtype=dtype)
    for i, cost in enumerate(costs):
        padded[i, : cost.shape[0], : cost.shape[1]] = cost
    frames, tokens = torch.tensor(SIZES).T
    return costs, padded, frames, tokens


def pots(cost: Tensor, epsilon: float, iterations: int = 5000) -> np.ndarray:
    rows, columns = (np.full(n, 1 / n) for n in cost.shape)
    transport = ot.sinkhorn(
        rows, columns, cost.double().numpy(), epsilon, method="sinkhorn_log", numItermax=iterations, stopThr=1e-12,
        warn=False,
    )  # fmt: skip
    assert isinstance(transport, np.ndarray)
    return transport


@pytest.mark.parametrize("epsilon", [0.05, 0.1, 1.0])
def test_the_plan_is_pots(epsilon: float) -> None:
    costs, padded, frames, tokens = problem()
    plans = plan(padded, frames, tokens, epsilon=epsilon, iterations=2000)
    for ours, cost in zip(plans, costs, strict=True):
        n, m = cost.shape
        torch.testing.assert_close(ours[:n, :m].double(), torch.from_numpy(pots(cost, epsilon)), atol=2e-6, rtol=1e-3)
        assert not ours[n:].any()
        assert not ours[:, m:].any()


def test_a_small_epsilon_comes_near_the_exact_cost() -> None:
    costs, padded, frames, tokens = problem()
    plans = plan(padded, frames, tokens, epsilon=0.01, iterations=2000)
    for ours, cost in zip(plans, costs, strict=True):
        n, m = cost.shape
        exact = ot.emd2(np.full(n, 1 / n), np.full(m, 1 / m), cost.double().numpy())
        assert isinstance(exact, float)
        assert exact - 1e-3 <= float((ours[:n, :m] * cost).sum()) <= exact + 0.02


def test_the_default_iterations_spread_the_mass_evenly() -> None:
    """Hidden states of chance are harder than trained ones: their costs differ more."""
    _, padded, frames, tokens = problem()
    config = OptimalTransport()
    plans = plan(padded, frames, tokens, epsilon=config.epsilon, iterations=config.iterations)
    for ours, (n, m) in zip(plans, SIZES, strict=True):
        torch.testing.assert_close(ours.sum(dim=0)[:m], torch.full((m,), 1 / m))
        assert (ours.sum(dim=1)[:n] - 1 / n).abs().sum() < 0.01


def test_nothing_has_no_plan() -> None:
    plans = plan(torch.rand(3, 4, 2), torch.tensor([0, 4, 0]), torch.tensor([2, 0, 0]), epsilon=0.1, iterations=5)
    assert not plans.any()


def inputs(seed: int = 5) -> tuple[OptimalTransportLoss, list[Tensor], list[Tensor], Tensor]:
    torch.manual_seed(seed)
    loss = OptimalTransport(iterations=2000).build(student=6, teacher=4, dropped=(0,))
    student = [torch.randn(n, 6) for n, _ in SIZES]
    teacher = [torch.randn(m, 4) for _, m in SIZES]
    return loss, student, teacher, torch.zeros(len(SIZES), 30, dtype=torch.long)


def costs_of(loss: OptimalTransportLoss, student: Tensor, teacher: Tensor) -> Tensor:
    weight, bias = (parameter.double() for parameter in loss.projection.parameters())
    projected = torch.nn.functional.linear(student.double(), weight, bias)
    return 1 - torch.nn.functional.cosine_similarity(projected[:, None], teacher.double()[None], dim=2)


def test_the_value_is_pots_and_its_gradient_that_of_pots_plan() -> None:
    loss, student, teacher, labels = inputs()
    for hidden in student:
        hidden.requires_grad_()
    values = loss(differentiable(student), Sequences.stack(teacher), labels)
    gradients = torch.autograd.grad(values.sum(), [*student, loss.projection.weight], retain_graph=True)
    expected = []
    for hidden, text in zip(student, teacher, strict=True):
        cost = costs_of(loss, hidden, text)
        expected.append((torch.from_numpy(pots(cost.detach(), 0.1)) * cost).sum())
    wanted = torch.autograd.grad(torch.stack(expected).sum(), [*student, loss.projection.weight])
    torch.testing.assert_close(values.double(), torch.stack(expected), atol=1e-5, rtol=1e-5)
    for mine, theirs in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


def test_the_gradient_is_that_of_the_regularised_optimum() -> None:
    """By finite differences of ⟨P, C⟩ − ε H(P) at POT's plan, which is what the envelope theorem speaks of."""
    loss, student, teacher, labels = inputs()

    def optimum(hidden: Tensor) -> float:
        cost = costs_of(loss, hidden, teacher[0]).detach()
        transport = pots(cost, 0.1)
        return float((transport * cost.numpy()).sum() + 0.1 * (transport * np.log(transport)).sum())

    hidden = student[0].requires_grad_()
    values = loss(differentiable(student), Sequences.stack(teacher), labels)
    (gradient,) = torch.autograd.grad(values[0], hidden)
    for place in [(0, 0), (4, 2), (8, 5)]:
        step = torch.zeros(9, 6, dtype=torch.float64)
        step[place] = 1e-4
        slope = (optimum(hidden.detach() + step) - optimum(hidden.detach() - step)) / 2e-4
        assert slope == pytest.approx(float(gradient[place]), abs=1e-4)


def test_equal_sequences_in_another_order_cost_almost_nothing() -> None:
    loss = OptimalTransport(epsilon=0.02, iterations=500).build(student=8, teacher=8, dropped=())
    with torch.no_grad():
        loss.projection.weight.copy_(torch.eye(8))
        loss.projection.bias.zero_()
    text = torch.eye(8)
    value = loss(Sequences.stack([text.flip(0)]), Sequences.stack([text]), torch.zeros(1, 8, dtype=torch.long))
    assert value.item() < 1e-6
