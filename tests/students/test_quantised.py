"""Linear layers in int8 calculate what they did, within what eight bits can hold; nothing else changes."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import AutoModel

from trainables import testing
from trainables.sequences import Sequences
from trainables.students.encoders import speech_encoder
from trainables.students.quantised import quantised

pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask:UserWarning")


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_is_as_exact_as_eight_bits_are(bias: bool) -> None:
    torch.manual_seed(1)
    linear, inputs = nn.Linear(64, 32, bias=bias), torch.randn(5, 64)
    expected = linear(inputs)
    (layer,) = quantised(nn.Sequential(linear)).children()
    assert type(layer) is not nn.Linear
    error = (layer(inputs) - expected).abs().max() / expected.abs().max()
    assert 0 < error < 0.03


@pytest.mark.parametrize("family", ["hubert-base", "wavlm", "whisper"])
@torch.no_grad()
def test_an_encoder_stays_what_it_is(family: str, tmp_path: Path) -> None:
    model = AutoModel.from_pretrained(testing.speech_encoder(family, tmp_path / "model"), dtype=torch.float32)
    encoder = speech_encoder(model).eval()
    audio = Sequences.stack([0.1 * torch.randn(9_000), 0.1 * torch.randn(16_000)])
    expected, left = encoder(audio, None).values, sum(type(m) is nn.Linear for m in encoder.modules())
    found = quantised(encoder)(audio, None).values
    kept = sum(type(m) is nn.Linear for m in encoder.modules())
    assert kept < left
    assert (kept > 0) == (family == "wavlm"), "whose attention reads the weights of its linear layers"
    assert 0 < (found - expected).norm() / expected.norm() < 0.05


def test_a_processor_without_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends, "quantized", SimpleNamespace(supported_engines=["none"]))
    with pytest.raises(ValueError, match=r"^`precision` must be float32 or bfloat16 on this processor"):
        quantised(nn.Linear(2, 2))
