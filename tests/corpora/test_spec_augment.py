from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from trainables.corpora.batching import Loader
from trainables.corpora.common_voice import CommonVoice
from trainables.corpora.prepared import PreparedSplit, SplitPreparation
from trainables.corpora.spec_augment import MEL_BANDS, MEL_HOP, BandMasks, TimeMasks


def runs(masked: np.ndarray) -> list[int]:
    """Lengths of the spans of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], masked.astype(int), [0]])))
    return (edges[1::2] - edges[::2]).tolist()


def test_one_span_has_each_width_up_to_the_widest_and_lies_anywhere() -> None:
    time, bands = TimeMasks(count=1, share=0.05), BandMasks(count=1)
    drawn = [time.draw(100, np.random.default_rng(i)) for i in range(2000)]
    widths = [sum(runs(masked)) for masked in drawn]
    assert all(len(runs(masked)) <= 1 for masked in drawn)
    assert set(widths) == set(range(6))
    assert np.allclose(np.bincount(widths) / 2000, 1 / 6, atol=0.04)  # 5 deviations
    assert np.logical_or.reduce(drawn).all()
    assert {int(bands.draw(MEL_BANDS, np.random.default_rng(i)).sum()) for i in range(2000)} == set(range(28))


def test_the_papers_masks_are_ten_of_time_and_two_of_bands() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        masked = TimeMasks().draw(1000, random)
        assert len(runs(masked)) <= 10
        assert max(runs(masked), default=0) <= 10 * 50
        assert len(runs(BandMasks().draw(MEL_BANDS, random))) <= 2
    assert not TimeMasks().draw(19, random).any()  # ⌊0.05 · 19⌋ = 0
    assert len(TimeMasks().draw(0, random)) == 0
    assert not TimeMasks(count=0).draw(100, random).any()
    assert len(BandMasks(widest=27).draw(5, random)) == 5


@pytest.mark.parametrize(("masks", "values"), [(TimeMasks, {"share": 1.5}), (BandMasks, {"widest": 0})])
def test_masks_that_cannot_be_are_refused(masks: type, values: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(values))):
        masks(**values)


def test_the_loader_draws_by_seed_step_and_utterance_alone(release: Path) -> None:
    chosen = SplitPreparation(corpus=CommonVoice(root=str(release), language="cs"), split="train", longest=10)
    loader = Loader(
        PreparedSplit(chosen.build()), masking=TimeMasks(share=0.2), hop=MEL_HOP, channel_masking=BandMasks(),
        features=MEL_BANDS,
    )  # fmt: skip

    def masks(seed: int, step: int, indices: list[int]) -> list[torch.Tensor]:
        batch = loader.batch(np.array(indices), scale=1.0, seed=(seed, step))
        assert batch.masked is not None
        assert batch.channels is not None
        frames = batch.audio.lengths // MEL_HOP
        return [torch.cat([row[:n], bands]) for row, n, bands in zip(batch.masked, frames, batch.channels, strict=True)]

    whole = masks(1, 2, [3, 1, 2])
    assert torch.equal(masks(1, 2, [1])[0], whole[1])
    for other in (masks(1, 3, [1])[0], masks(2, 2, [1])[0], whole[0][: len(whole[1])]):
        assert not torch.equal(other, whole[1])
    evaluated = loader.batch(np.array([1]), scale=1.0, seed=None)
    assert evaluated.masked is None
    assert evaluated.channels is None
