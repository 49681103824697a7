"""The benchmark of a distillation's step, on tiny models."""

import pytest
import torch
from transformers import HubertConfig

from benchmarks import distillation_step
from benchmarks.distillation_step import AsReleased, Size, measure, most_held
from trainables.students.distilled import DeepThin

TEACHER = HubertConfig(
    hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, conv_dim=(8,) * 7,
    num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2,
)  # fmt: skip
STUDENT = DeepThin(width=8, feed_forward=8, layers=2, heads=2, position_kernel=8, position_groups=2)
TINY = Size(TEACHER, STUDENT, units=200, embedding=64, clips=2, seconds=1.0)


def test_a_step_is_measured_in_time_and_memory() -> None:
    time, memory = measure(1, TINY)
    assert (time.claim, memory.claim) == (distillation_step.TIME, distillation_step.MEMORY)
    assert time.repeats[0] > 0
    assert "2 x 16 into 2 x 8, 2 clips of 1 s; medians in s: ours" in time.note
    # The peer holds 98 frames of 200 units in 64 features, 5 MB, beside which all that ours makes is little.
    assert memory.repeats[0] < 50


def test_the_losses_must_be_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distillation_step, "TEMPERATURE", 0.5)
    monkeypatch.setattr(AsReleased, "log_probabilities", lambda _, hidden: torch.zeros(len(hidden), 200))
    with pytest.raises(ValueError, match="The losses must be the same without dropout, but are"):
        measure(1, TINY)


def test_what_is_held_at_once_counts() -> None:
    def run() -> None:
        for _ in range(3):
            torch.zeros(1_000_000)  # one after the other
        torch.zeros(1_000_000).add(1)  # two at once

    assert most_held(run) == pytest.approx(0.008, rel=0.01)
