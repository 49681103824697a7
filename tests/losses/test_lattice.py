"""The transducer's lattice against every one of its paths, and against what must hold of any."""

import itertools
import math
from functools import partial

import pytest
import torch
from torch import Tensor

from trainables.losses.lattice import Posteriors, posteriors

SIZES = [(1, 0), (1, 1), (1, 3), (3, 0), (2, 1), (4, 3), (5, 4), (3, 5)]
FRAMES, TOKENS = torch.tensor(SIZES).T


def padded(fill: float = 0.0) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the blank and of the next token, and `fill` where no utterance has a node."""
    generator = torch.Generator().manual_seed(1)
    blank, token = torch.full((2, len(SIZES), 6, 7), fill, dtype=torch.float64)
    for i, (frames, tokens) in enumerate(SIZES):
        made = torch.randn(frames, tokens + 1, 3, generator=generator, dtype=torch.float64).log_softmax(2)
        blank[i, :frames, : tokens + 1] = made[..., 0]
        token[i, :frames, :tokens] = made[:, :-1, 1]
    return blank, token


def enumerated(blank: Tensor, token: Tensor, frames: int, tokens: int) -> tuple[float, Tensor, Tensor]:
    """−log P, ξ_b and ξ_y, path by path."""
    by_blank, by_token = torch.zeros(2, frames, tokens + 1, dtype=torch.float64)
    paths = list(itertools.combinations(range(frames + tokens - 1), tokens))
    assert len(paths) == math.comb(frames + tokens - 1, tokens)
    total = 0.0
    for places in paths:
        t, u, score, edges = 0, 0, 0.0, []
        for step in range(frames + tokens):
            emits = step in places
            score += float(token[t, u] if emits else blank[t, u])
            edges.append((by_token if emits else by_blank, t, u))
            t, u = (t, u + 1) if emits else (t + 1, u)
        total += math.exp(score)
        for counts, t, u in edges:
            counts[t, u] += math.exp(score)
    return -math.log(total), by_blank / total, by_token / total


@pytest.mark.parametrize("fill", [0.0, 7.0, math.inf, -math.inf, math.nan])
def test_every_path_is_summed_and_padding_is_not(fill: float) -> None:
    blank, token = padded(fill)
    found = posteriors(blank, token, FRAMES, TOKENS)
    for i, (frames, tokens) in enumerate(SIZES):
        loss, by_blank, by_token = enumerated(blank[i], token[i], frames, tokens)
        assert float(found.losses[i]) == pytest.approx(loss, abs=1e-12)
        for ours, theirs in ((found.blanks[i], by_blank), (found.tokens[i], by_token)):
            expected = torch.zeros(6, 7, dtype=torch.float64)
            expected[:frames, : tokens + 1] = theirs
            torch.testing.assert_close(ours, expected, atol=1e-12, rtol=0)


def uneven(seed: int = 2) -> tuple[Posteriors, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    frames, tokens = torch.tensor([40, 23, 7, 31, 1]), torch.tensor([3, 12, 15, 0, 4])
    scores = torch.randn(5, 40, 16, 5, generator=generator).mul(3).log_softmax(3)
    return posteriors(scores[..., 0], scores[..., 1], frames, tokens), frames, tokens


def test_each_frame_is_consumed_once_and_each_token_emitted_once() -> None:
    found, frames, tokens = uneven()
    same = partial(torch.testing.assert_close, atol=1e-11, rtol=0)
    is_frame, is_token = torch.arange(40) < frames[:, None], torch.arange(16) < tokens[:, None]
    same(found.blanks.sum(dim=2), is_frame.double())
    same(found.tokens.sum(dim=1), is_token.double())
    visits = found.blanks + found.tokens
    same(visits.sum(dim=(1, 2)), (frames + tokens).double())
    same(visits[:, 0, 0], torch.ones(5).double())
    same(visits[range(5), frames - 1, tokens], torch.ones(5).double())
    stays = 1 + found.blanks.sum(dim=1)  # of a prefix: the node that it is reached at, and one for each blank
    stays -= torch.nn.functional.one_hot(tokens, 16)  # the last blank leaves the lattice
    same(visits.sum(dim=1), stays * (torch.arange(16) <= tokens[:, None]))


def test_the_posteriors_are_the_gradient_of_the_logarithm() -> None:
    generator = torch.Generator().manual_seed(3)
    blank, token = torch.randn(2, 1, 6, 4, generator=generator, dtype=torch.float64).log_softmax(0)
    lengths = torch.tensor([6]), torch.tensor([3])
    found = posteriors(blank, token, *lengths)
    for scores, expected in ((blank, found.blanks), (token, found.tokens)):
        for place in ((0, 2, 1), (0, 5, 2), (0, 0, 0)):
            kept, losses = float(scores[place]), []
            for step in (-1e-5, 1e-5):
                scores[place] = kept + step
                losses.append(float(posteriors(blank, token, *lengths).losses))
            scores[place] = kept
            assert (losses[0] - losses[1]) / 2e-5 == pytest.approx(float(expected[place]), abs=1e-8)


def test_an_utterance_without_frames_has_loss_0_and_no_edges() -> None:
    blank, token = padded()
    found = posteriors(blank[:2], token[:2], torch.tensor([0, 1]), torch.tensor([2, 1]))
    alone = posteriors(blank[1:2], token[1:2], torch.tensor([1]), torch.tensor([1]))
    assert found.losses.tolist() == [0.0, float(alone.losses)]
    assert not found.blanks[0].any()
    assert not found.tokens[0].any()


def test_a_sum_over_thousands_of_frames_is_finite() -> None:
    frames, tokens = torch.tensor([3000]), torch.tensor([2])
    found = posteriors(torch.full((1, 3000, 3), -9.0), torch.full((1, 3000, 3), -12.0), frames, tokens)
    paths = math.log(math.comb(3001, 2))
    assert float(found.losses) == pytest.approx(3000 * 9 + 2 * 12 - paths, abs=1e-7)
