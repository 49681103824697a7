"""L_reg, L_disc and L_frontend against loops in NumPy, and what they must not depend on."""

import math

import numpy as np
import pytest
import torch

from trainables.losses import hidden_units as losses
from trainables.sequences import Sequences

LENGTHS = (4, 2, 7)


def sequences(features, *, seed, padding=0, lengths=LENGTHS):
    generator = torch.Generator().manual_seed(seed)
    items = [torch.randn(n, features, generator=generator) for n in lengths]
    stacked = Sequences.stack(items)
    values = torch.nn.functional.pad(stacked.values, (0, 0, 0, padding), value=3.0 if padding else 0.0)
    return Sequences(values, stacked.lengths)


def rows(found):
    return [found.values[i, : int(n)].double().numpy() for i, n in enumerate(found.lengths)]


def test_the_distance_is_the_mean_over_frames_and_features():
    s, t = sequences(5, seed=1), sequences(5, seed=2)
    pairs = list(zip(rows(s), rows(t), strict=True))
    np.testing.assert_allclose(losses.distance(s, t), [np.abs(a - b).mean() for a, b in pairs], rtol=1e-5)
    np.testing.assert_allclose(losses.distance(s, t, "l2"), [np.square(a - b).mean() for a, b in pairs], rtol=1e-5)


def test_the_cosine_is_of_each_frame():
    s, t = sequences(5, seed=1), sequences(5, seed=2)
    loss, similarity = losses.cosine(s, t)
    for i, (a, b) in enumerate(zip(rows(s), rows(t), strict=True)):
        cosines = [x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(a, b, strict=True)]
        assert similarity[i].item() == pytest.approx(np.mean(cosines), rel=1e-5)
        assert loss[i].item() == pytest.approx(np.mean([math.log(1 + math.exp(-c)) for c in cosines]), rel=1e-5)
    assert losses.cosine(s, s)[0].tolist() == pytest.approx([math.log(1 + math.exp(-1))] * 3)


def test_the_divergence_is_from_the_teacher_to_the_student():
    s, t = sequences(6, seed=1), sequences(6, seed=2)
    log_t = Sequences(t.values.log_softmax(dim=2), t.lengths)
    found = losses.divergence(s, log_t)
    for i, (a, b) in enumerate(zip(rows(s), rows(log_t), strict=True)):
        log_s = a - np.log(np.exp(a).sum(axis=1, keepdims=True))
        assert found[i].item() == pytest.approx((np.exp(b) * (b - log_s)).sum(axis=1).mean(), rel=1e-5)
    assert (found > 0).all()
    assert losses.divergence(log_t, log_t).tolist() == pytest.approx([0, 0, 0], abs=1e-6)


def test_hard_labels_are_the_teachers_likeliest_units():
    s, t = sequences(6, seed=1), sequences(6, seed=2)
    found = losses.cross_entropy(s, t)
    for i, (a, b) in enumerate(zip(rows(s), rows(t), strict=True)):
        log_s = a - np.log(np.exp(a).sum(axis=1, keepdims=True))
        expected = -np.mean([log[unit] for log, unit in zip(log_s, b.argmax(axis=1), strict=True)])
        assert found[i].item() == pytest.approx(expected, rel=1e-5)


def test_agreement_is_the_share_of_equal_units():
    s, t = (
        Sequences(torch.eye(3)[torch.tensor(units)][None], torch.tensor([4])) for units in ([0, 1, 2, 0], [0, 1, 1, 1])
    )
    assert losses.agreement(s, t).tolist() == [0.5]


def test_padding_the_batch_beside_and_its_order_do_not_matter():
    s, t = sequences(5, seed=1), sequences(5, seed=2)
    wide_s, wide_t = (sequences(5, seed=seed, padding=3) for seed in (1, 2))
    order = torch.tensor([2, 0, 1])
    for loss in (
        losses.distance,
        losses.divergence,
        losses.cross_entropy,
        losses.agreement,
        lambda a, b: losses.cosine(a, b)[0],
    ):
        expected = loss(s, t)
        torch.testing.assert_close(loss(wide_s, wide_t), expected)
        torch.testing.assert_close(loss(s.changed(lambda v: v[order]), t.changed(lambda v: v[order])), expected[order])
        alone_s, alone_t = (Sequences(each.values[1:2, :2], each.lengths[1:2]) for each in (s, t))
        torch.testing.assert_close(loss(alone_s, alone_t), expected[1:2])


def test_losses_are_in_float32_whatever_the_precision():
    s, t = sequences(5, seed=1), sequences(5, seed=2)
    with torch.autocast("cpu", torch.bfloat16):
        low = losses.divergence(s.changed(lambda v: v.bfloat16() if v.is_floating_point() else v), t)
    assert low.dtype == torch.float32
