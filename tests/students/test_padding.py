from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel

from trainables import testing
from trainables.students.padding import kept_out

FRAMES = torch.tensor([31, 100])


@pytest.fixture
def layer(tmp_path: Path) -> Any:
    """The first layer of a wav2vec2-base with lengths noted, whose norm has learned something."""
    model: Any = AutoModel.from_pretrained(testing.speech_encoder("wav2vec2-base", tmp_path / "model"))
    kept_out(model).samples = 5 * FRAMES + 5  # windows of 10, 5 apart
    layer = model.feature_extractor.conv_layers[0]
    torch.manual_seed(1)
    for parameter in layer.layer_norm.parameters():
        torch.nn.init.normal_(parameter)
    return layer


def hidden() -> Tensor:
    torch.manual_seed(2)
    return torch.randn(2, 8, 100) + 3


def expected(norm: torch.nn.GroupNorm, values: Tensor) -> Tensor:
    """PyTorch's own, in double precision."""
    assert norm.weight is not None
    weight, bias = norm.weight.double(), norm.bias.double()
    return functional.group_norm(values.double(), norm.num_groups, weight, bias, norm.eps)


def test_a_clip_is_normalised_over_its_own_frames_as_pytorch_does_it_alone(layer: Any) -> None:
    values = hidden()
    normalised = layer.layer_norm(values)
    for row, clip, frames in zip(normalised, values, FRAMES.tolist(), strict=True):
        own = expected(layer.layer_norm, clip[None, :, :frames])[0]
        torch.testing.assert_close(row[:, :frames].double(), own, rtol=0, atol=2e-6)


def test_gradients_are_pytorchs_alone(layer: Any) -> None:
    direction, found, own = torch.randn(2, 8, 100), hidden().requires_grad_(), hidden().requires_grad_()
    inside = torch.arange(100) < FRAMES[:, None, None]
    weights = [found, layer.layer_norm.weight, layer.layer_norm.bias]
    gradients = torch.autograd.grad((layer.layer_norm(found) * direction * inside).sum(), weights)
    alone = sum(
        (expected(layer.layer_norm, own[i : i + 1, :, :n])[0] * direction[i, :, :n]).sum()
        for i, n in enumerate(FRAMES.tolist())
    )
    for gradient, other in zip(gradients, torch.autograd.grad(alone, [own, *weights[1:]]), strict=True):  # pyright: ignore
        torch.testing.assert_close(gradient, other, rtol=0, atol=1e-4)
    assert gradients[0][0, :, 31:].eq(0).all()


def test_in_bfloat16_the_statistics_are_of_single_precision(layer: Any) -> None:
    values = (hidden() + 30).bfloat16()  # of which a mean in 8 bits would be off by a tenth
    with torch.autocast("cpu", dtype=torch.bfloat16):
        normalised = layer.layer_norm(values)
    assert normalised.dtype == torch.float32
    own = expected(layer.layer_norm, values[1:])[0]
    torch.testing.assert_close(normalised[1].double(), own, rtol=0, atol=1e-4)
