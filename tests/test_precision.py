from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from trainables.training import World


@pytest.mark.parametrize(("generation", "wanted", "autocast"), [
    (7, "bfloat16", False),  # Volta and Turing only emulate it
    (8, "bfloat16", True),
    (8, "float32", False),
])  # fmt: skip
def test_bfloat16_is_for_gpus_that_have_it(
    monkeypatch: pytest.MonkeyPatch, generation: int, wanted: str, autocast: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(major=generation))
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda _: True)  # emulated, where not in hardware
    precision = World(0, 1, torch.device("cuda", 0)).precision(wanted)
    assert isinstance(precision, torch.autocast) == autocast
    assert isinstance(precision, nullcontext) != autocast
