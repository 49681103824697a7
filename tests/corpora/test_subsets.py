"""Random parts of a split."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pytest
from pydantic import ValidationError

from trainables.config import explain
from trainables.corpora.audio import SAMPLE_RATE
from trainables.corpora.batching import ByCount, BySeconds
from trainables.corpora.prepared import PreparedSplit
from trainables.corpora.subsets import Subset


@dataclass
class Clips:
    """In place of a prepared split: the seconds of its clips."""

    seconds: np.ndarray

    def __len__(self) -> int:
        return len(self.seconds)

    @property
    def samples(self) -> np.ndarray:
        return (self.seconds * SAMPLE_RATE).astype(np.int64)


def split(count: int, seconds: float = 3.0) -> PreparedSplit:
    return cast(PreparedSplit, Clips(np.full(count, seconds)))


SIZES = "A subset must have one of `share`, `hours` and `count`"
FSC = split(23_132)
"""As large as the training split of Fluent Speech Commands."""


@pytest.mark.parametrize(("share", "size"), [(0.1, 2_313), (0.01, 231), (1.0, 23_132)])
def test_a_share_has_its_size_and_nothing_twice(share: float, size: int) -> None:
    chosen = Subset(share=share).indices(FSC)
    assert len(chosen) == len(set(chosen.tolist())) == size
    assert chosen.tolist() == sorted(chosen.tolist())


def test_a_subset_is_a_function_of_seed_and_index() -> None:
    first = Subset(share=0.1, seed=3, index=7).indices(FSC).tolist()
    assert Subset(share=0.1, seed=3, index=7).indices(FSC).tolist() == first
    expected = np.random.default_rng((3, 7)).choice(23_132, 2_313, replace=False)
    assert first == sorted(expected.tolist())
    assert Subset(count=2_313, seed=3, index=7).indices(FSC).tolist() == first
    assert Subset(share=0.1, seed=7, index=3).indices(FSC).tolist() != first


def test_subsets_of_several_indices_are_independent() -> None:
    subsets = [set(Subset(share=0.1, index=i).indices(FSC).tolist()) for i in range(10)]
    overlaps = [len(a & b) / len(a) for i, a in enumerate(subsets) for b in subsets[:i]]
    assert min(overlaps) > 0.05
    assert max(overlaps) < 0.15
    assert not set(Subset(share=0.01).indices(FSC).tolist()) <= subsets[0]


def test_hours_are_at_most_what_is_asked_for_and_fewer_lie_within_more() -> None:
    lengths = np.random.default_rng(0).uniform(1, 9, 20_000)
    clips = cast(PreparedSplit, Clips(lengths))
    one, ten = (Subset(hours=hours, index=2).indices(clips) for hours in (1, 10))
    for hours, chosen in ((1, one), (10, ten)):
        assert 3600 * hours - 9 < clips.samples[chosen].sum() / SAMPLE_RATE <= 3600 * hours
    assert set(one.tolist()) < set(ten.tolist())
    assert not set(Subset(hours=1, index=3).indices(clips).tolist()) <= set(ten.tolist())


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ({}, f"{SIZES}, but has none."),
        ({"share": 0.5, "count": 3}, f"{SIZES}, but has `share` and `count`."),
        ({"share": 0}, "`share` must be greater than 0, but is 0 instead."),
        ({"share": 1.5}, "`share` must be less than or equal to 1, but is 1.5 instead."),
        ({"hours": -1}, "`hours` must be greater than 0, but is -1 instead."),
        ({"count": 0}, "`count` must be greater than 0, but is 0 instead."),
    ],
)  # fmt: skip
def test_a_size_that_makes_no_sense_is_one_sentence(sizes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError) as error:
        Subset(**sizes)
    assert explain(error.value) == sentence


@pytest.mark.parametrize(
    ("subset", "sentence"),
    [
        (Subset(count=101), r"`subset.count` must be at most what the split has, 100 utterances, but is 101 instead\."),
        (Subset(hours=1), r"`subset.hours` must be at most what the split has, 0\.0833 hours, but is 1 instead\."),
        (
            Subset(share=0.001),
            r"A subset must have at least one utterance, but 0\.1 % no\. 0 has 0 utterances of 0 s\.",
        ),
    ],
)
def test_a_subset_larger_than_its_split_or_of_nothing_is_one_sentence(subset: Subset, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        subset.indices(split(100))


@pytest.mark.parametrize("batching", [ByCount(utterances=9), BySeconds(seconds=25)])
def test_a_subset_smaller_than_a_batch_is_one_sentence(batching: ByCount | BySeconds) -> None:
    assert len(Subset(count=9).indices(split(100), batching)) == 9
    sentence = r"^A subset must have at least one batch, but 8 no\. 4 has 8 utterances of 24 s\.$"
    with pytest.raises(ValueError, match=sentence):
        Subset(count=8, index=4).indices(split(100), batching)


@pytest.mark.parametrize(
    ("subset", "label"),
    [(Subset(share=0.1, index=3), "10 % no. 3"), (Subset(hours=0.5), "0.5 h no. 0"), (Subset(count=7), "7 no. 0")],
)
def test_its_label_says_size_and_number(subset: Subset, label: str) -> None:
    assert str(subset) == label
