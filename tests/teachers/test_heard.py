"""Another clip in place of the student's: which one, and in what length."""

import numpy as np
import pytest
import torch

from trainables.batch import Batch
from trainables.sequences import Sequences
from trainables.teachers.heard import HEARD, AnotherClip, OwnClip, heard

CLIPS = [torch.tensor(values) for values in ([1.0, 2.0], [3.0, 4.0, 5.0, 6.0], [7.0, 8.0, 9.0])]


def clips(indices):
    return Sequences.stack([CLIPS[i] for i in indices])


def test_another_clip_is_repeated_or_cut_to_the_own_length():
    found = AnotherClip().source(clips, 3)(np.arange(3))
    assert found.lengths.tolist() == [2, 4, 3]
    others = []
    for i, (row, length) in enumerate(zip(found.values, found.lengths.tolist(), strict=True)):
        (other,) = (j for j, clip in enumerate(CLIPS) if clip[0] == row[0])
        assert other != i
        assert row[:length].tolist() == CLIPS[other].repeat(4)[:length].tolist()
        assert not row[length:].any()
        others.append(other)
    assert sorted(others) == [0, 1, 2]


def test_which_one_is_drawn_once_for_a_seed():
    source, order = AnotherClip().source(clips, 3), np.array([2, 0, 1])
    every = source(np.arange(3))
    again = AnotherClip().source(clips, 3)(order)
    assert torch.equal(again.values, every.values[torch.from_numpy(order)])
    assert torch.equal(source(np.array([1])).values, every.values[1:2])
    draws = {tuple(AnotherClip(seed=seed).source(clips, 3)(np.arange(3)).values[:, 0].tolist()) for seed in range(9)}
    assert len(draws) == 2  # three clips have two cycles
    with pytest.raises(ValueError, match="Utterances must be at least 2 to be shuffled, but are 1 instead"):
        AnotherClip().source(clips, 1)
    assert OwnClip().source(clips, 3) is clips


def test_features_of_frames_are_repeated_as_they_are():
    def states(indices):
        return Sequences.stack([torch.stack([CLIPS[i], -CLIPS[i]], dim=1) for i in indices])

    found, waveforms = (AnotherClip().source(source, 3)(np.arange(3)).values for source in (states, clips))
    assert torch.equal(found, torch.stack([waveforms, -waveforms], dim=2))


def batch(sources):
    audio = Sequences.stack([torch.zeros(3), torch.zeros(2)])
    return Batch(ids=("a", "b"), audio=audio, scale=torch.ones(2), texts=("", ""), sources=sources)


def test_of_a_stretch_as_much_is_heard_as_of_the_students_clip():
    own = batch({})
    assert heard(own) is own.audio
    found = heard(batch({HEARD: Sequences.stack([torch.arange(1.0, 6.0), torch.arange(1.0, 4.0)])}))
    assert found.values.tolist() == [[1, 2, 3], [1, 2, 0]]
    assert found.lengths.tolist() == [3, 2]
