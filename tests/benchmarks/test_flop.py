"""What is counted: each gradient of a convolution is as much work as the convolution, whatever its groups."""

import pytest
import torch

from benchmarks.flop import counter


@pytest.mark.parametrize("groups", [1, 16])
@pytest.mark.parametrize("gradients", [1, 2])
def test_gradients_of_convolutions(groups: int, gradients: int) -> None:
    frames = torch.randn(2, 32, 100, requires_grad=gradients == 2)
    convolution = torch.nn.Conv1d(32, 48, 8, stride=2, groups=groups)
    with counter() as forward:
        output = convolution(frames)
    with counter() as backward:
        output.sum().backward()
    assert forward.get_total_flops() == 2 * output.numel() * 8 * 32 // groups
    assert backward.get_total_flops() == gradients * forward.get_total_flops()


def test_products_are_counted_as_torch_does() -> None:
    layer = torch.nn.Linear(10, 20)
    with counter() as counted:
        layer(torch.randn(5, 10)).sum().backward()
    assert counted.get_total_flops() == 2 * 2 * 5 * 10 * 20
