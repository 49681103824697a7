import hashlib
import json
from collections import Counter
from itertools import islice, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.corpora.audio import SAMPLE_RATE
from trainables.corpora.batching import WINDOW, ByCount, BySeconds, Loader, Shuffled, TimeMasking, global_batches
from trainables.corpora.common_voice import CommonVoice
from trainables.corpora.prepared import PreparedSplit, SplitPreparation
from trainables.corpora.sources import Tokens
from trainables.corpora.text import CharacterVocabulary, Letters
from trainables.sequences import Sequences

SECONDS = st.lists(st.floats(0.5, 10), min_size=1, max_size=60).map(np.array)
BATCHING = st.one_of(
    st.builds(ByCount, utterances=st.integers(1, 9)),
    st.builds(BySeconds, seconds=st.floats(1, 40)),
    st.builds(Shuffled, utterances=st.integers(1, 9)),
)


@pytest.fixture(scope="module")
def split(release, tmp_path_factory):
    """24 utterances."""
    chosen = SplitPreparation(
        corpus=CommonVoice(root=str(release), language="cs"), split="train", normaliser=Letters(), longest=10
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("L2S_CACHE", str(tmp_path_factory.mktemp("cache")))
        return PreparedSplit(chosen.build())


@pytest.fixture
def loader(split):
    masking = TimeMasking(probability=0.4, span=2)
    return Loader(split, {"tokens": Tokens(split, CharacterVocabulary.of(split.texts))}, masking)


def epoch_of(seconds, batching, seed):
    """The batches of the first epoch."""
    batches, seen = [], 0
    for batch in global_batches(seconds, batching, seed):
        batches.append(batch.tolist())
        seen += len(batch)
        if seen >= len(seconds):
            return batches
    raise AssertionError


@pytest.mark.parametrize(
    ("batching", "longest", "expected"),
    [
        (ByCount(utterances=24), 10, (24, 5.0)),
        (ByCount(utterances=24), 3, (24, 3.0)),
        (BySeconds(seconds=48), 10, (10, 4.8)),
        (BySeconds(seconds=48), 3, (16, 3.0)),
        (BySeconds(seconds=2), 10, (1, 2.0)),
    ],
)
def test_a_usual_batch_has_the_seconds_that_are_asked_for_and_no_clip_that_is_too_long(batching, longest, expected):
    assert batching.usual(longest) == pytest.approx(expected)


@given(SECONDS, BATCHING, st.integers(0, 5))
@settings(deadline=None)
def test_a_plan_is_a_function_of_its_seed_and_has_every_utterance_once_an_epoch(seconds, batching, seed):
    batches = epoch_of(seconds, batching, seed)
    assert sorted(i for batch in batches for i in batch) == list(range(len(seconds)))
    assert epoch_of(seconds, batching, seed) == batches


def test_epochs_and_seeds_differ():
    seconds = np.linspace(1, 10, 40)
    stream = global_batches(seconds, ByCount(utterances=8), 1)
    first, second = ([batch.tolist() for batch in islice(stream, 5)] for _ in range(2))
    assert sorted(i for batch in second for i in batch) == list(range(40))
    assert first != second
    assert epoch_of(seconds, ByCount(utterances=8), 2) != first


@given(SECONDS, st.integers(1, 9))
@settings(deadline=None)
def test_by_count_gives_full_batches_and_one_rest(seconds, utterances):
    sizes = sorted(len(batch) for batch in epoch_of(seconds, ByCount(utterances=utterances), 0))
    assert all(size == utterances for size in sizes[1:])
    assert len(sizes) == -(-len(seconds) // utterances)


@given(SECONDS, st.floats(1, 40))
@settings(deadline=None)
def test_by_seconds_bounds_the_seconds_with_padding_and_wastes_no_batch(seconds, bound):
    starts = BySeconds(seconds=bound).cut(np.sort(seconds))
    batches = np.split(np.sort(seconds), starts[1:])
    for batch in batches:
        assert len(batch) == 1 or len(batch) * batch.max() <= bound
    for batch, following in pairwise(batches):
        assert (len(batch) + 1) * following[0] > bound


def test_batches_hold_utterances_of_like_length_and_come_in_random_order():
    seconds = np.random.default_rng(0).uniform(1, 10, 4 * WINDOW)
    batches = epoch_of(seconds, ByCount(utterances=4), 0)
    padded = sum(len(batch) * seconds[batch].max() for batch in batches)
    assert padded < 1.1 * seconds.sum()
    longest = [seconds[batch].max() for batch in batches]
    assert abs(np.corrcoef(longest, np.arange(len(batches)))[0, 1]) < 0.5


def steps_of(loader, *, start=0, shares=1, mine=(0,), steps=6, seed=3):
    stream = loader.training(ByCount(utterances=5), seed=seed, start=start, shares=shares, mine=mine)
    return list(islice(stream, steps - start))


def assert_same(one, other):
    assert one.ids == other.ids
    assert one.texts == other.texts
    for a, b in zip((one.audio, one.sources["tokens"]), (other.audio, other.sources["tokens"]), strict=True):
        assert torch.equal(a.values, b.values)
        assert torch.equal(a.lengths, b.lengths)
    assert torch.equal(one.scale, other.scale)
    assert torch.equal(one.masked, other.masked)
    assert (one.indices, one.step, one.epoch) == (other.indices, other.step, other.epoch)


@pytest.mark.parametrize("start", [1, 5, 7])
def test_starting_at_a_step_continues_exactly(loader, start):
    whole = steps_of(loader, steps=9)[start:]  # 5 steps are an epoch
    continued = steps_of(loader, start=start, steps=9)
    assert len(whole) == len(continued)
    for (one,), (other,) in zip(whole, continued, strict=True):
        assert_same(one, other)


def test_a_batch_is_the_split_at_its_indices(loader, split):
    ((batch,),) = steps_of(loader, steps=1)
    for i, name in enumerate(batch.ids):
        index = split.ids.index(name)
        length = int(batch.audio.lengths[i])
        assert length == split.samples[index]
        expected = torch.from_numpy(split.audio(index).astype(np.float32) / 32768)
        assert torch.equal(batch.audio.values[i, :length], expected)
        assert batch.audio.values[i, length:].eq(0).all()
        assert batch.texts[i] == split.texts[index]
        tokens = batch.sources["tokens"]
        encoded = tokens.values[i, : tokens.lengths[i]].tolist()
        assert loader.sources["tokens"].vocabulary.decode(encoded) == batch.texts[i]
    assert batch.audio.values.abs().max() <= 1


def test_step_k_has_the_plans_batch_k(loader, split):
    batches = global_batches(split.samples / SAMPLE_RATE, ByCount(utterances=5), 3)
    for (batch,), indices in zip(steps_of(loader), batches, strict=False):
        assert batch.ids == tuple(split.ids[i] for i in indices)


@pytest.mark.parametrize(("workers", "shares"), [(1, 1), (1, 3), (2, 2), (2, 3), (2, 4), (3, 12)])
def test_shares_part_the_global_batch_whatever_their_number(loader, workers, shares):
    parts = [steps_of(loader, shares=shares, mine=range(rank, shares, workers)) for rank in range(workers)]
    for step, (whole,) in enumerate(steps_of(loader)):
        batches = [batch for rank in parts for batch in rank[step]]
        assert len(batches) == shares  # every share takes part in every step
        real = [(i, batch) for batch in batches for i in range(len(batch.ids)) if batch.scale[i]]
        assert sorted(batch.ids[i] for i, batch in real) == sorted(whole.ids)
        assert sum(float(batch.scale.sum()) for batch in batches) == pytest.approx(1)
        masks = {batch.ids[i]: batch.masked[i] for i, batch in real}
        for i, name in enumerate(whole.ids):
            frames = min(len(masks[name]), whole.masked.shape[1])
            assert torch.equal(masks[name][:frames], whole.masked[i, :frames])
            assert not whole.masked[i, frames:].any()


def test_a_share_is_the_same_whoever_computes_it(loader):
    alone = steps_of(loader, shares=3, mine=range(3))
    together = [steps_of(loader, shares=3, mine=mine) for mine in ((0, 2), (1,))]
    for whole, first, second in zip(alone, *together, strict=True):
        for one, other in zip(whole, (first[0], second[0], first[1]), strict=True):
            assert_same(one, other)


def test_a_share_without_an_utterance_is_filled_with_one_that_weighs_nothing(loader):
    batches = steps_of(loader, shares=8, mine=range(8))[1]
    assert [len(batch.ids) for batch in batches] == [1] * 8
    assert [float(batch.scale[0]) for batch in batches] == pytest.approx([0.2] * 5 + [0] * 3)
    assert batches[-1].ids == batches[0].ids


def test_masks_change_with_the_step_and_the_seed(loader):
    def mask(seed, step):
        return loader.batch(np.arange(4), scale=1.0, seed=(seed, step)).masked

    assert torch.equal(mask(0, 0), mask(0, 0))
    assert not torch.equal(mask(0, 0), mask(0, 1))
    assert not torch.equal(mask(0, 0), mask(1, 0))
    assert not torch.equal(mask(0, 0)[0], mask(0, 0)[1])


def test_a_mask_has_a_frame_for_every_20_ms_and_none_in_the_padding(loader, split):
    batch = loader.batch(np.arange(12), scale=1.0, seed=(0, 0))
    frames = split.samples[:12] * 50 // SAMPLE_RATE
    assert batch.masked.shape == (12, frames.max())
    for row, n in zip(batch.masked, frames, strict=True):
        assert not row[n:].any()


def test_the_share_of_masked_frames_is_about_the_probability():
    random = np.random.default_rng(0)
    for probability, span in [(0.05, 10), (0.2, 5)]:
        masking = TimeMasking(probability=probability, span=span)
        share = np.mean([masking.draw(300, random).mean() for _ in range(1000)])
        assert 0.8 * probability < share <= 1.02 * probability  # overlaps make it less


def test_masks_come_in_spans():
    mask = TimeMasking(probability=0.03, span=10).draw(500, np.random.default_rng(1))
    runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], mask, [0]]))))[::2]
    assert len(runs) >= 1
    assert runs.min() >= 10


@pytest.mark.parametrize(("probability", "frames"), [(0.0, 100), (0.9, 9), (0.9, 0)])
def test_no_masks_where_none_are_wanted_or_none_fit(probability, frames):
    mask = TimeMasking(probability=probability, span=10).draw(frames, np.random.default_rng(0))
    assert mask.shape == (frames,)
    assert not mask.any()


@pytest.mark.parametrize("world_size", [1, 2, 3, 50])
def test_evaluation_has_every_utterance_once_over_all_ranks(loader, split, world_size):
    found = []
    for rank in range(world_size):
        lengths = []
        for batch in loader.evaluation(seconds=6, rank=rank, world_size=world_size):
            assert batch.masked is None
            assert batch.audio.values.numel() <= 6 * SAMPLE_RATE or len(batch.ids) == 1
            lengths.append(batch.audio.values.shape[1])
            found += batch.ids
        assert lengths == sorted(lengths, reverse=True)
    assert sorted(found) == sorted(split.ids)


def test_sources_are_asked_for_the_utterances_of_the_batch(split):
    def features(indices):
        return Sequences.stack([torch.full((len(split.texts[i]), 1), float(i)) for i in indices])

    loader = Loader(split, {"teacher": features})
    for batches in steps_of(loader, shares=2, mine=(0, 1)):
        for batch in batches:
            assert batch.masked is None
            assert batch.indices == tuple(split.ids.index(name) for name in batch.ids)
            assert batch.sources["teacher"].values[:, 0, 0].tolist() == [*batch.indices]


@pytest.mark.parametrize("batching", [ByCount(utterances=5), BySeconds(seconds=4), Shuffled(utterances=7)])
@pytest.mark.parametrize("shares", [1, 3])
def test_a_batch_knows_its_step_and_its_epoch(loader, split, batching, shares):
    seen, steps = Counter(), 0
    for step, batches in enumerate(loader.training(batching, seed=1, start=0, shares=shares, mine=range(shares))):
        assert {batch.step for batch in batches} == {step}
        (epoch,) = {batch.epoch for batch in batches}
        if epoch > 3:
            break
        seen.update(
            (epoch, i) for batch in batches for i, scale in zip(batch.indices, batch.scale, strict=True) if scale
        )
        steps = step + 1
    assert seen == Counter((epoch, i) for epoch in (1, 2, 3) for i in range(len(split)))
    # A resumed loader says the same, and evaluation is in no epoch.
    (last,) = next(loader.training(batching, seed=1, start=steps - 1, shares=1, mine=(0,)))
    assert (last.step, last.epoch) == (steps - 1, 3)
    assert all((b.step, b.epoch) == (0, 0) for b in loader.evaluation(seconds=9, rank=0, world_size=1))


def test_a_share_of_the_utterances_makes_epochs_of_its_own(split):
    loader = Loader(split, usable=np.arange(10))
    batches = [batch for (batch,) in steps_of(loader, steps=6)]
    assert [batch.epoch for batch in batches] == [1, 1, 2, 2, 3, 3]


def test_shuffled_batches_are_the_permutation_itself():
    seconds = np.linspace(1, 10, 200)
    batches = epoch_of(seconds, Shuffled(utterances=64), 3)
    assert [len(batch) for batch in batches] == [64, 64, 64, 8]
    assert [i for batch in batches for i in batch] == np.random.default_rng((3, 0)).permutation(200).tolist()


@pytest.mark.parametrize(
    ("batching", "filled"),
    [(ByCount(utterances=4), True), (ByCount(utterances=5), False), (BySeconds(seconds=8), True),
     (BySeconds(seconds=9), False), (Shuffled(utterances=4), True), (Shuffled(utterances=5), False)],
)  # fmt: skip
def test_a_batching_knows_what_fills_a_batch(batching, filled):
    assert batching.filled_by(np.full(4, 2.0)) is filled


def test_order_masks_and_scales_are_those_of_finished_trials():
    """Drawn before there were other ways to make batches: whatever becomes of the code, they stay."""
    seconds = np.random.default_rng(7).uniform(1, 10, 300)
    digests = []
    for batching in (ByCount(utterances=24), BySeconds(seconds=48)):
        batches = islice(global_batches(seconds, batching, 5), 60)
        digests.append(hashlib.sha256(json.dumps([b.tolist() for b in batches]).encode()).hexdigest()[:16])
    assert digests == ["86bbeb0f3e8db538", "e99a4454d4e1ea57"]
    masked = TimeMasking().draw(400, np.random.default_rng((1, 2, 3)))
    assert np.flatnonzero(masked).tolist() == [*range(43, 53), *range(340, 350)]


def test_of_a_long_clip_a_stretch_is_taken_another_one_in_each_step(split):
    crop, longest = 9_600, int(split.samples.argmax())
    loader = Loader(split, crop=crop, masking=TimeMasking(probability=0.4, span=2), usable=np.array([longest]))
    first, second = (batch for (batch,) in islice(loader.training(ByCount(utterances=1), **ONE, start=3), 2))
    whole = torch.from_numpy(split.audio(longest).astype(np.float32) / 32768)
    for batch in (first, second):
        assert batch.audio.values.shape == (1, crop)
        assert any(torch.equal(batch.audio.values[0], stretch) for stretch in whole.unfold(0, crop, 1))
        assert batch.masked is not None
        assert batch.masked.shape[1] == crop // 320
    assert not torch.equal(first.audio.values, second.audio.values)
    (again,) = next(loader.training(ByCount(utterances=1), **ONE, start=4))
    assert torch.equal(again.audio.values, second.audio.values)


def test_a_clip_that_is_short_enough_is_taken_whole_and_evaluation_knows_no_stretches(split):
    loader, whole = Loader(split, crop=9_600), Loader(split)
    short = np.flatnonzero(split.samples <= 9_600)
    assert len(short)
    some = loader.batch(short, scale=1.0, seed=(1, 2)), whole.batch(short, scale=1.0, seed=(1, 2))
    assert torch.equal(some[0].audio.values, some[1].audio.values)
    for batch, expected in zip(*(x.evaluation(seconds=30, rank=0, world_size=1) for x in (loader, whole)), strict=True):
        assert torch.equal(batch.audio.values, expected.audio.values)


ONE = {"seed": 1, "shares": 1, "mine": [0]}
