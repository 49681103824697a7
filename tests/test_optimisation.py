import pytest
import torch
from pydantic import ValidationError
from torch import nn

from trainables.optimisation import Optimisation


def optimisation(**changes):
    return Optimisation(**{"steps": 100, "warmup": 10, "learning_rate": 1e-3, **changes})


def test_warm_up_is_linear_up_to_the_peak():
    factors = [optimisation().factor(step) for step in range(10)]
    assert factors == pytest.approx([0.1 * (step + 1) for step in range(10)])


def test_cosine_from_the_peak_through_a_half_to_zero():
    schedule = optimisation()
    assert schedule.factor(10) == pytest.approx(1)
    assert schedule.factor(55) == pytest.approx(0.5)
    assert schedule.factor(100) == pytest.approx(0)
    factors = [schedule.factor(step) for step in range(10, 101)]
    assert factors == sorted(factors, reverse=True)
    assert factors[1] > 0.999  # flat at the peak, unlike a straight line


def test_no_warm_up_starts_at_the_peak():
    assert optimisation(warmup=0).factor(0) == pytest.approx(1)


@pytest.mark.parametrize("warmup", [100, 101])
def test_a_warm_up_that_never_ends_is_refused(warmup):
    sentence = f"`warmup` must be less than `steps`, which is 100, but is {warmup} instead."
    with pytest.raises(ValidationError, match=sentence):
        optimisation(warmup=warmup)


@pytest.fixture
def task():
    task = nn.ModuleDict({"encoder": nn.Linear(3, 2), "head": nn.Linear(2, 5)})
    task["encoder"].bias.requires_grad_(False)
    return task


def test_encoder_and_new_layers_have_their_own_peaks_and_frozen_weights_none(task):
    chosen = optimisation(new_learning_rate=1e-2, weight_decay=0.1, betas=(0.8, 0.95))
    encoder, new = chosen.build(task, task["encoder"]).param_groups
    assert (encoder["peak"], new["peak"]) == (1e-3, 1e-2)
    assert [p is task["encoder"].weight for p in encoder["params"]] == [True]
    assert {id(p) for p in new["params"]} == {id(p) for p in task["head"].parameters()}
    assert encoder["betas"] == new["betas"] == (0.8, 0.95)
    assert encoder["weight_decay"] == new["weight_decay"] == 0.1


def test_new_layers_follow_the_encoder_if_nothing_else_is_said(task):
    encoder, new = optimisation().build(task, task["encoder"]).param_groups
    assert encoder["peak"] == new["peak"] == 1e-3


def test_a_wholly_frozen_encoder_leaves_the_new_layers_to_train(task):
    task["encoder"].requires_grad_(False)
    optimiser = optimisation().build(task, task["encoder"])
    before = task["head"].weight.clone()
    for group in optimiser.param_groups:
        group["lr"] = group["peak"]
    task["head"](torch.ones(1, 2)).sum().backward()
    optimiser.step()
    assert not torch.equal(task["head"].weight, before)


@pytest.mark.parametrize(("shares", "workers"), [(1, 1), (2, 2), (3, 2), (4, 1), (5, 3)])
def test_every_share_has_one_worker_and_every_worker_one_share_at_least(shares, workers):
    parts = [list(optimisation(shares=shares).shares_of(rank, workers)) for rank in range(workers)]
    assert sorted(share for part in parts for share in part) == list(range(shares))
    assert all(parts)
    # The loop seeds a worker's micro-batch by its place among them.
    assert all(share == i * workers + rank for rank, part in enumerate(parts) for i, share in enumerate(part))


def test_more_workers_than_shares_are_refused():
    with pytest.raises(ValueError, match=r"`optimisation\.shares` must be at least .* which is 3, but is 2 instead\."):
        optimisation(shares=2).shares_of(0, 3)
