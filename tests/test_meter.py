"""What training tells of its own speed."""

import time
from collections.abc import Iterator

import pytest
import torch

from trainables.corpora.audio import SAMPLE_RATE
from trainables.corpora.batching import ByCount, TimeMasking
from trainables.recipes import probe
from trainables.training import Losses, Meter


def test_waiting_is_the_time_until_a_batch_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    (batch,) = probe.noise(ByCount(utterances=2), longest=1.5, shares=1, masking=TimeMasking(), teacher=None)
    losses = Losses(torch.tensor(1.0), {})

    def batches() -> Iterator[int]:
        for item in range(4):
            clock[0] += 1
            yield item

    meter, found = Meter(), []
    for step, _ in enumerate(meter.fetched(batches()), 1):
        clock[0] += 3
        meter.add(losses, batch)
        if step % 2 == 0:
            found.append(meter.read(step))
            clock[0] += 100  # an evaluation, which is none of the training's time
            meter.begin()
    assert found[0] == found[1]
    assert found[0]["waiting_for_data_percent"] == 25
    seconds = 2 * float(batch.audio.lengths.sum()) / SAMPLE_RATE
    assert found[0]["audio_seconds_per_second"] == pytest.approx(seconds / 8)
    assert found[0]["train/loss"] == 1.0
