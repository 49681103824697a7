"""Masks over features, drawn as those over frames are, but once for all frames of an utterance."""

from pathlib import Path

import numpy as np
import pytest
import torch

from trainables.corpora.batching import ByCount, ChannelMasking, Loader, TimeMasking
from trainables.corpora.common_voice import CommonVoice
from trainables.corpora.prepared import PreparedSplit, SplitPreparation


@pytest.fixture
def loader(release: Path) -> Loader:
    chosen = SplitPreparation(corpus=CommonVoice(root=str(release), language="cs"), split="train", longest=10)
    masking = ChannelMasking(probability=0.4, span=8)
    return Loader(PreparedSplit(chosen.build()), masking=TimeMasking(), channel_masking=masking, features=96)


def test_they_are_functions_of_seed_step_and_utterance(loader: Loader) -> None:
    def channels(seed: int, step: int, indices: list[int]) -> torch.Tensor:
        found = loader.batch(np.array(indices), scale=1.0, seed=(seed, step)).channels
        assert found is not None
        return found

    whole = channels(0, 0, [3, 1, 2])
    assert whole.shape == (3, 96)
    assert torch.equal(channels(0, 0, [1])[0], whole[1]), "whoever computes it beside whichever others"
    assert not torch.equal(whole[0], whole[1])
    assert not torch.equal(channels(0, 1, [1])[0], whole[1])
    assert not torch.equal(channels(1, 0, [1])[0], whole[1])


def test_time_masks_stay_what_they_were(loader: Loader) -> None:
    without = Loader(loader.split, masking=loader.masking)
    batches = [each.batch(np.arange(4), scale=1.0, seed=(1, 2)) for each in (loader, without)]
    assert batches[0].masked is not None
    assert batches[1].masked is not None
    assert torch.equal(batches[0].masked, batches[1].masked)
    assert batches[1].channels is None


def test_they_come_in_spans_of_about_the_share() -> None:
    random, masking = np.random.default_rng(0), ChannelMasking()
    masks = [masking.draw(768, random) for _ in range(500)]
    assert 0.37 < np.mean(masks) < 0.43  # six spans of 64 that may overlap: 1 - (1 - 64/705)^6 and a little less
    for mask in masks[:20]:
        runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], mask, [0]]))))[::2]
        assert all(runs >= 64)


def test_evaluation_hides_nothing_and_they_move_with_the_batch(loader: Loader) -> None:
    assert all(batch.channels is None for batch in loader.evaluation(seconds=60, rank=0, world_size=1))
    stream = loader.training(ByCount(utterances=4), seed=1, start=0, shares=1, mine=[0])
    (batch,) = next(stream)
    assert batch.channels is not None
    assert batch.to(torch.device("meta")).channels.device.type == "meta"  # pyright: ignore[reportOptionalMemberAccess]
