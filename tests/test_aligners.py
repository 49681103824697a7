import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trainables.aligners import AllFrames, linear, nearest, shrink
from trainables.sequences import Sequences

DROPPED = (0, 1)
paths = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=12), min_size=1, max_size=5)


def batch_of(labels: list[list[int]], extra: int = 0) -> tuple[Sequences, Tensor]:
    """Hidden states that are a function of the labels' place, and the labels, padded by `extra` more frames."""
    items = [torch.tensor([[len(p) + t, (t * 7 + label) % 5] for t, label in enumerate(p)]).double() for p in labels]
    stacked = Sequences.stack(items)
    padded = torch.nn.functional.pad(stacked.values, (0, 0, 0, extra))
    path = torch.full(padded.shape[:2], 3)
    for i, row in enumerate(labels):
        path[i, : len(row)] = torch.tensor(row)
    return Sequences(padded, stacked.lengths), path


def rows(sequences: Sequences) -> list[Tensor]:
    return [row[:length] for row, length in zip(sequences.values, sequences.lengths.tolist(), strict=True)]


@settings(deadline=None)
@given(paths, st.integers(1, 9))
def test_padding_never_changes_a_result(labels: list[list[int]], extra: int) -> None:
    plain = rows(shrink(*batch_of(labels), DROPPED))
    padded = rows(shrink(*batch_of(labels, extra), DROPPED))
    alone = [rows(shrink(*batch_of([path]), DROPPED))[0] for path in labels]
    for a, b, c in zip(plain, padded, alone, strict=True):
        torch.testing.assert_close(a, b)
        torch.testing.assert_close(a, c)


@settings(deadline=None)
@given(paths, st.randoms(use_true_random=False))
def test_the_order_of_utterances_never_matters(labels: list[list[int]], random) -> None:
    order = list(range(len(labels)))
    random.shuffle(order)
    plain = rows(shrink(*batch_of(labels), DROPPED))
    shuffled = rows(shrink(*batch_of([labels[i] for i in order]), DROPPED))
    for position, i in enumerate(order):
        torch.testing.assert_close(shuffled[position], plain[i])


@settings(deadline=None)
@given(paths)
def test_a_run_repeated_shrinks_to_the_same(labels: list[list[int]]) -> None:
    """Every frame said twice: the same runs, so the same means, unless frames are kept as they are."""
    twice = [[label for label in path for _ in (0, 1)] for path in labels]
    hidden, path = batch_of(labels)
    doubled = Sequences(hidden.values.repeat_interleave(2, dim=1), hidden.lengths * 2)
    _, twice_path = batch_of(twice)
    once, both = shrink(hidden, path, DROPPED), shrink(doubled, twice_path, DROPPED)
    for a, b, kept in zip(rows(once), rows(both), labels, strict=True):
        if len(a) == len(b):
            torch.testing.assert_close(a, b)
        else:
            assert len(a) == len(kept)
            assert len(b) == 2 * len(kept)


def test_values_beyond_the_length_are_zero() -> None:
    shrunk = shrink(*batch_of([[2, 2, 3, 0, 2], [0, 2]], extra=4), DROPPED)
    assert shrunk.lengths.tolist() == [3, 2]
    assert not shrunk.values[~shrunk.mask].any()


def test_nearest_takes_the_floor() -> None:
    hidden = Sequences.stack([torch.arange(3.0)[:, None], torch.arange(5.0)[:, None]])
    longer = nearest(hidden, torch.tensor([7, 2]), 7)
    assert longer.values[0, :, 0].tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert longer.values[1, :, 0].tolist() == [0, 2, 0, 0, 0, 0, 0]


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40))
def test_nearest_agrees_with_image_processing(length: int, target: int) -> None:
    values = torch.randn(1, length, 2, dtype=torch.float64)
    ours = nearest(Sequences(values, torch.tensor([length])), torch.tensor([target]), target).values
    index = [i * length // target for i in range(target)]
    assert torch.equal(ours[0], values[0, index])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=4), st.integers(0, 5))
def test_linear_is_torchs_interpolation_of_each_utterance(sizes: list[tuple[int, int]], extra: int) -> None:
    texts = [torch.randn(length, 2, dtype=torch.float64) for length, _ in sizes]
    targets = torch.tensor([target for _, target in sizes])
    hidden = Sequences.stack(texts)
    ours = linear(Sequences(hidden.values + 7.0 * ~hidden.mask[:, :, None], hidden.lengths), targets, 40 + extra)
    assert torch.equal(ours.lengths, targets)
    assert not ours.values[~ours.mask].any()
    for row, text, target in zip(rows(ours), texts, targets.tolist(), strict=True):
        theirs = torch.nn.functional.interpolate(text.T[None], size=target, mode="linear", align_corners=False)
        torch.testing.assert_close(row, theirs[0].T)


@pytest.mark.parametrize("interpolate", [nearest, linear])
def test_a_speech_or_a_text_of_nothing_is_zero(interpolate) -> None:
    text = Sequences(torch.randn(2, 3, 4), torch.tensor([0, 3]))
    aligned = interpolate(text.zero_padded(), torch.tensor([2, 0]), 2)
    assert aligned.lengths.tolist() == [2, 0]
    assert not aligned.values.any()


def test_all_frames_are_the_valid_ones_whatever_their_labels() -> None:
    hidden, labels = batch_of([[0, 0, 2], [1]], extra=2)
    noisy = Sequences(hidden.values + 7.0 * ~hidden.mask[:, :, None], hidden.lengths)
    kept = AllFrames()(noisy, labels, DROPPED)
    assert torch.equal(kept.values, hidden.values)
    assert torch.equal(kept.lengths, hidden.lengths)
