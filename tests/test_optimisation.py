import pytest
import torch
from pydantic import ValidationError
from torch import nn

from trainables.optimisation import (
    Average,
    Constant,
    Cosine,
    Exponential,
    Group,
    InverseSquareRoot,
    Linear,
    Optimisation,
    TriStage,
)


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


SCHEDULES = [
    # T, w and values at steps: by hand from the formulas; HuBERT's fine-tuning stops within its decay.
    (Linear(), 100, 10, {10: 1, 55: 0.5, 99: 1 / 90}),
    (Constant(), 100, 10, {10: 1, 99: 1}),
    (InverseSquareRoot(), 1000, 100, {100: 1, 400: 0.5, 900: 1 / 3}),
    (InverseSquareRoot(), 100, 0, {0: 1, 3: 0.5, 8: 1 / 3}),
    (Exponential(half_life=20), 100, 10, {10: 1, 30: 0.5, 50: 0.25, 90: 1 / 16}),
    (Exponential(half_life=100_000, hold=49_000, floor=0.01), 900_000, 1_000,
     {1_000: 1, 50_000: 1, 150_000: 0.5, 899_999: 0.01}),
    (TriStage(decay=72_000), 25_000, 8_000, {7_999: 1, 8_000: 1, 24_999: 0.05 ** (16_999 / 72_000)}),
    (TriStage(decay=72_000), 100_000, 8_000, {25_000: 0.493, 80_000: 0.05, 99_999: 0.05}),
    (TriStage(hold=10_000, final=0.01), 25_000, 2_500, {2_500: 1, 12_500: 1, 18_750: 0.1, 24_999: 0.01}),
    (TriStage(hold=200), 100, 10, {10: 1, 99: 1}),
]  # fmt: skip


@pytest.mark.parametrize(("schedule", "steps", "warmup", "values"), SCHEDULES)
def test_after_the_warm_up_comes_the_schedule(schedule, steps, warmup, values):
    chosen = optimisation(steps=steps, warmup=warmup, schedule=schedule)
    assert {step: chosen.factor(step) for step in values} == pytest.approx(values, rel=1e-3)
    if warmup:
        assert chosen.factor(0) == 1 / warmup
        assert chosen.factor(warmup - 1) == 1
    assert Optimisation.model_validate_json(chosen.model_dump_json()) == chosen


@pytest.mark.parametrize("schedule", [{"kind": "step"}, {"kind": "exponential"}, {"kind": "tri_stage", "final": 0.0}])
def test_a_schedule_that_is_none_is_refused(schedule):
    with pytest.raises(ValidationError, match=r"schedule"):
        optimisation(schedule=schedule)


def test_what_came_later_is_no_part_of_the_identity_while_it_changes_nothing():
    assert set(optimisation(schedule=Cosine(), epsilon=1e-8, ema=None).identity()) == {
        "steps", "warmup", "learning_rate", "new_learning_rate", "betas", "weight_decay", "clip", "evaluate_every",
        "shares", "precision",
    }  # fmt: skip
    changed = optimisation(schedule=Linear(), epsilon=1e-6, ema=0.99).identity()
    assert (changed["schedule"], changed["epsilon"], changed["ema"]) == ({"kind": "linear"}, 1e-6, 0.99)


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


def groups(task, chosen):
    return [
        Group("encoder", list(task["encoder"].parameters()), chosen.learning_rate),
        Group("head", list(task["head"].parameters()), chosen.peak_of_new),
    ]


def test_groups_have_their_own_peaks_and_frozen_weights_none(task):
    chosen = optimisation(new_learning_rate=1e-2, weight_decay=0.1, betas=(0.8, 0.95), epsilon=1e-6)
    encoder, new = chosen.build(task, groups(task, chosen)).param_groups
    assert (encoder["name"], new["name"]) == ("encoder", "head")
    assert (encoder["peak"], new["peak"]) == (1e-3, 1e-2)
    assert [p is task["encoder"].weight for p in encoder["params"]] == [True]
    assert {id(p) for p in new["params"]} == {id(p) for p in task["head"].parameters()}
    assert encoder["betas"] == new["betas"] == (0.8, 0.95)
    assert encoder["weight_decay"] == new["weight_decay"] == 0.1
    assert encoder["eps"] == new["eps"] == 1e-6


def test_new_layers_follow_the_encoder_if_nothing_else_is_said(task):
    encoder, new = optimisation().build(task, groups(task, optimisation())).param_groups
    assert encoder["peak"] == new["peak"] == 1e-3


def test_each_weight_that_learns_must_be_in_one_group(task):
    encoder, head = groups(task, optimisation())
    for parts, found in (([encoder], 0), ([encoder, head, head], 2)):
        names = ", ".join(group.name for group in parts)
        sentence = rf"^`head\.weight` must be in one of the task's groups, {names}, but is in {found} instead\.$"
        with pytest.raises(ValueError, match=sentence):
            optimisation().build(task, parts)


def test_an_average_follows_the_weights_at_its_decay_once_it_is_warm():
    module = nn.BatchNorm1d(2)
    weights = module.state_dict()
    average, expected = Average(0.5, weights), module.weight.detach().clone()
    for step in range(20):
        with torch.no_grad():
            module.weight.fill_(step)
            weights["num_batches_tracked"].fill_(step)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    torch.testing.assert_close(average.values["weight"], expected)
    assert average.values["num_batches_tracked"] == 19  # has no fraction: copied
    assert average.values["weight"].tolist() == pytest.approx([18, 18], abs=0.01)  # the mean age at ½ is a step
    with average.in_place():
        assert torch.equal(module.weight, average.values["weight"])
    assert module.weight.tolist() == [19, 19]


def test_a_wholly_frozen_encoder_leaves_the_new_layers_to_train(task):
    task["encoder"].requires_grad_(False)
    optimiser = optimisation().build(task, groups(task, optimisation()))
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
