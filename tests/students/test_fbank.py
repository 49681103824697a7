import pytest
import torch
from transformers import SeamlessM4TFeatureExtractor

from trainables.sequences import Sequences
from trainables.students.fbank import HOP, WINDOW, KaldiFilterBanks

LENGTHS = (WINDOW + 9 * HOP, WINDOW + 10 * HOP - 1, WINDOW + 10 * HOP, 16_000, 23_456)
"""Samples: an even number of frames, one sample less than an odd number, an odd number, and more."""


def clips() -> list[torch.Tensor]:
    torch.manual_seed(0)
    # Loud and soft, with an offset, and one that begins with silence.
    noise = [scale * torch.randn(length) + 0.01 for scale, length in zip((1, 0.1, 0.01, 1, 1), LENGTHS, strict=True)]
    noise[3][:8000] = 0
    return noise


def test_a_batch_is_what_the_extractor_makes_of_each_clip() -> None:
    found = KaldiFilterBanks()(Sequences.stack(clips()))
    extractor = SeamlessM4TFeatureExtractor()
    for clip, values, length in zip(clips(), found.values, found.lengths.tolist(), strict=True):
        alone = extractor(clip.numpy(), sampling_rate=16_000, return_tensors="pt")
        expected, counted = alone["input_features"][0], int(alone["attention_mask"].sum())
        assert length == counted
        torch.testing.assert_close(values[:length], expected[:length], rtol=0, atol=2e-3)
        assert not values[length:].any()


@pytest.mark.parametrize("samples", [WINDOW + HOP, WINDOW + 2 * HOP])
def test_two_frames_are_enough(samples: int) -> None:
    found = KaldiFilterBanks()(Sequences.stack([torch.randn(samples)]))
    assert found.lengths.tolist() == [1]
    assert found.values.isfinite().all()
