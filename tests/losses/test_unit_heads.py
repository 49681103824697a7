"""W_p in its three kinds: its size, its distribution, and what it learns from."""

import pytest
import torch
from torch.nn import functional

from trainables.losses.hidden_units import cross_entropy, divergence
from trainables.losses.unit_heads import CosineToLabels, HardLabels, Logits
from trainables.sequences import Sequences

LENGTHS = torch.tensor([4, 2])


@pytest.fixture
def labels():
    torch.manual_seed(3)
    return 5 * torch.randn(7, 3)


@pytest.fixture
def hidden():
    torch.manual_seed(1)
    return Sequences(torch.randn(2, 4, 6), LENGTHS)


def test_parameters_are_those_of_the_papers_students():
    for width, expected in ((768, 387_576), (480, 242_424)):
        head = Logits().build(student=width, labels=torch.empty(504, 256))
        assert sum(weight.numel() for weight in head.parameters()) == expected


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_logits_are_a_softmax_over_units(hidden, labels, temperature):
    head = Logits(temperature=temperature).build(student=6, labels=labels)
    logits = hidden.values @ head.projection.weight.T + head.projection.bias
    torch.testing.assert_close(head(hidden).values.exp(), (logits / temperature).softmax(dim=2))
    assert torch.equal(head(hidden).lengths, LENGTHS)


@pytest.mark.parametrize("config", [CosineToLabels(temperature=0.5), HardLabels(temperature=0.5)])
def test_cosines_are_those_to_each_label(hidden, labels, config):
    head = config.build(student=6, labels=labels)
    projected = hidden.values @ head.projection.weight.T + head.projection.bias
    cosines = torch.stack([functional.cosine_similarity(projected, label, dim=2) for label in labels], dim=2)
    torch.testing.assert_close(head(hidden).values.exp(), (cosines / 0.5).softmax(dim=2))


def test_hard_labels_are_learned_by_cross_entropy_and_the_others_by_divergence(hidden, labels):
    torch.manual_seed(5)
    teacher = Sequences(torch.randn(2, 4, 7).log_softmax(dim=2), LENGTHS)
    for config, expected in ((Logits(), divergence), (CosineToLabels(), divergence), (HardLabels(), cross_entropy)):
        head = config.build(student=6, labels=labels)
        student = head(hidden)
        assert torch.equal(head.distance(student, teacher), expected(student, teacher))


@pytest.mark.parametrize("config", [Logits(), CosineToLabels(), HardLabels()])
def test_gradients_reach_the_student_and_the_head_and_leave_label_embeddings_alone(hidden, labels, config):
    labels.requires_grad_()
    values = hidden.values.clone().requires_grad_()
    teacher = Sequences(torch.randn(2, 4, 7).log_softmax(dim=2), LENGTHS)
    head = config.build(student=6, labels=labels)
    head.distance(head(Sequences(values, LENGTHS)), teacher).sum().backward()
    assert values.grad is not None
    assert (values.grad.abs().sum(dim=2) > 0).equal(hidden.mask)
    assert head.projection.weight.grad.abs().sum() > 0
    assert labels.grad is None
    assert list(head.state_dict()) == ["projection.weight", "projection.bias"]


@pytest.mark.parametrize("config", [Logits(), CosineToLabels(), HardLabels()])
def test_distributions_are_float32_under_autocast(hidden, labels, config):
    head = config.build(student=6, labels=labels)
    exact = head(hidden).values
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(head(hidden).values, exact)
        assert head(Sequences(hidden.values.bfloat16(), LENGTHS)).values.dtype == torch.float32
