"""Forward and backward sums over a transducer's lattice, in float64 (Graves 2012, §2.4).

Node (t, u): frame t = 0 … T − 1 is looked at, u = 0 … N tokens were emitted. Blank leads to (t + 1, u), token y_{u+1}
to (t, u + 1). Every path starts at (0, 0), takes T blanks and N tokens, and ends with the blank out of (T − 1, N).

In float32 a sum over hundreds of frames loses two decimal digits of the gradient; the lattice is small beside the joint
network's product with the vocabulary, so it is in float64, on a GPU too.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

NEVER = float("-inf")
"""log 0. `torch.logaddexp` takes it as it should, and nothing here is differentiated by autograd."""

Nodes = Float[Tensor, "batch frames prefixes"]


@dataclass(frozen=True, slots=True)
class Posteriors:
    """−log P(y | X) of each utterance, and how likely a path takes each edge of its lattice; all in float64.

    Σ_u `blanks`[t, u] is 1 for each of its frames, Σ_t `tokens`[t, u] is 1 for each of its tokens; 0 beyond its ends.
    """

    losses: Float[Tensor, " batch"]
    blanks: Nodes
    """ξ_b, the probability that node (t, u) is left by a blank."""
    tokens: Nodes
    """ξ_y, the probability that node (t, u) is left by token y_{u+1}; 0 in column N."""


def posteriors(blank: Nodes, token: Nodes, frames: Int[Tensor, " batch"], tokens: Int[Tensor, " batch"]) -> Posteriors:
    """Posteriors of all edges, from the log-probabilities of the blank and of the next token at each node.

    `blank` and `token` are (batch, T, N + 1) of the longest; what they are beyond an utterance's `frames` and `tokens`
    does not matter, nan and infinity included. An utterance without frames has loss 0, and no edges.
    """
    t, u = _places(blank)
    valid = (t < frames[:, None, None]) & (u <= tokens[:, None, None])
    log_b = blank.double().masked_fill(~valid, NEVER)
    log_y = token.double().masked_fill(~(valid & (u < tokens[:, None, None])), NEVER)
    last = (t == frames[:, None, None] - 1) & (u == tokens[:, None, None])  # left by the blank that ends the path
    # β is α of the lattice read from its end, so that one walk over a batch of twice the size gives both. An edge into
    # a node counts there where α's walk comes in, and where β's goes out.
    starts = torch.cat([torch.zeros_like(log_b[:, 0, 0]), log_b.masked_fill(~last, 0).sum(dim=(1, 2))])
    stays = torch.cat([_later(log_b, dim=1), _reversed(log_b, frames, tokens)])
    steps = torch.cat([_later(log_y, dim=2), _reversed(log_y, frames, tokens)])
    alpha, beta = _walk(starts, stays, steps).chunk(2)
    beta = _reversed(beta, frames, tokens)
    total = torch.where(frames > 0, beta[:, 0, 0], 0.0)
    seen = alpha - total[:, None, None]
    after_blank = _sooner(beta, dim=1).masked_fill(last, 0)
    after_token = _sooner(beta, dim=2)
    return Posteriors(-total, (seen + log_b + after_blank).exp(), (seen + log_y + after_token).exp())


def _walk(starts: Float[Tensor, " batch"], stays: Nodes, steps: Nodes) -> Nodes:
    """Logarithms of the sums over all paths from (0, 0) to each node.

    x(t, u) = log(exp(x(t − 1, u) + stays(t, u)) + exp(x(t, u − 1) + steps(t, u))), x(0, 0) = starts. All nodes with the
    same t + u follow from those before them at once: T + N steps, however many utterances there are.
    """
    batch, _, prefixes = stays.shape
    stays, steps = _diagonals(stays), _diagonals(steps)
    # A column in front, where nothing ever is, stands for u = −1.
    sums = stays.new_full((len(stays), batch, prefixes + 1), NEVER)
    sums[0, :, 1] = starts
    for d in range(1, len(stays)):
        before = sums[d - 1]
        torch.logaddexp(before[:, 1:] + stays[d], before[:, :-1] + steps[d], out=sums[d, :, 1:])
    t, u = _places(steps[0], len(stays) - prefixes + 1)
    return sums[(t + u)[0], :, u[0] + 1].permute(2, 0, 1)


def _diagonals(x: Nodes) -> Float[Tensor, "diagonals batch prefixes"]:
    """Row d holds the nodes with t + u = d, each in its column u; log 0 where there is none."""
    frames, prefixes = x.shape[1:]
    d, u = _places(x, frames + prefixes - 1)
    t = (d - u)[0]
    rows = x[:, t.clamp(0, frames - 1), u[0]].masked_fill((t < 0) | (t >= frames), NEVER)
    return rows.transpose(0, 1).contiguous()


def _places(x: Tensor, rows: int | None = None) -> tuple[Int[Tensor, "1 rows 1"], Int[Tensor, "1 1 prefixes"]]:
    """t and u of every node."""
    t = torch.arange(x.shape[1] if rows is None else rows, device=x.device)
    return t[None, :, None], torch.arange(x.shape[-1], device=x.device)[None, None]


def _reversed(x: Nodes, frames: Int[Tensor, " batch"], tokens: Int[Tensor, " batch"]) -> Nodes:
    """The same read from each utterance's end: (T − 1 − t, N − u) at (t, u); log 0 beyond."""
    t, u = _places(x)
    t, u = frames[:, None, None] - 1 - t, tokens[:, None, None] - u
    batch = torch.arange(len(x), device=x.device)[:, None, None]
    return x[batch, t.clamp(min=0), u.clamp(min=0)].masked_fill((t < 0) | (u < 0), NEVER)


def _later(x: Nodes, dim: int) -> Nodes:
    """What stood one place before along `dim`; log 0 in the first."""
    return torch.cat([torch.full_like(x.narrow(dim, 0, 1), NEVER), x.narrow(dim, 0, x.shape[dim] - 1)], dim)


def _sooner(x: Nodes, dim: int) -> Nodes:
    """What stands one place after along `dim`; log 0 in the last."""
    return torch.cat([x.narrow(dim, 1, x.shape[dim] - 1), torch.full_like(x.narrow(dim, 0, 1), NEVER)], dim)
