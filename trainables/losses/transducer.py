"""The transducer's loss over a vocabulary of any size (Graves 2012), exact, without frames × tokens × vocabulary.

At 30 522 word pieces one utterance of LibriSpeech (308 frames, 40 tokens) has 1.5 GB of logits, and a loss that is
given them makes a gradient of the same size. All that the sum over alignments needs of a node is log p(blank) and
log p(next token). So the logits are made for some nodes at a time, of which two numbers and the normaliser stay, and
once more in the backward pass, where

    ∂L/∂z(t, u, k) = γ(t, u) p(k) − [k = blank] ξ_b(t, u) − [k = y_{u+1}] ξ_y(t, u),    γ = ξ_b + ξ_y,

is multiplied into the gradients at once. That is four products with the vocabulary instead of three, less those of
nodes that no path visits. The posteriors ξ come with the loss: what else is aligned to frames takes them from here.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from trainables.config import Config, Where
from trainables.losses.lattice import NEVER, Nodes, Posteriors, posteriors
from trainables.sequences import Sequences, mask_of

FAINTEST = -60.0
"""Logarithm of the smallest part of ∂L/∂z that is not taken for 0.

e⁻⁶⁰ = 9 · 10⁻²⁷ changes no digit of a gradient. Where alignments are sharp most parts are below it, and become
subnormal numbers, with which a product takes a processor several times as long.
"""


class Limits(Config):
    """How much the loss may hold at once, and what its gradient may leave out: by default nothing that counts."""

    logits: Annotated[int, Field(gt=0), Where()] = 2**22
    """Logits at once, in float32 16 MB; at least one node's, however large the vocabulary is."""
    least: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Nodes that a path visits with at most this probability γ have no gradient. The loss and γ stay exact.

    What is left out of ∂L/∂z is in L1 at most 2 · Σ γ of those nodes, so at most 2 · least · T · (N + 1) for an
    utterance: at 1e-7 less than what float32 rounds off.
    """


EXACT = Limits()


def transducer_loss(
    acoustic: Sequences,
    language: Sequences,
    tokens: Sequences,
    weight: Float[Tensor, "vocabulary hidden"],
    bias: Float[Tensor, " vocabulary"],
    blank: int,
    limits: Limits = EXACT,
) -> Posteriors:
    """−log P(tokens) of each utterance, with gradients, and the posteriors of its alignments, without.

    The logits are tanh(acoustic_t + language_u) · weightᵀ + bias: `acoustic` is the encoder's projection
    (batch, T, hidden), `language` that of the prediction network (batch, N + 1, hidden), which begins before the first
    of the `tokens` (batch, N). What stands beyond the lengths is never read. An utterance without frames has loss 0.

    Losses are in float32 (in float64 for inputs in float64). Under autocast the products with the vocabulary are in its
    type, all else in float32 and the sums over alignments in float64.

    Raises ValueError where there is no language state before each token and after the last.
    """
    if language.values.shape[1] != tokens.values.shape[1] + 1:
        raise ValueError(
            f"`language` must have one state more than there are tokens, {tokens.values.shape[1] + 1}, "
            f"but has {language.values.shape[1]} instead."
        )
    kind = acoustic.values.device.type
    low = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    joint = _Joint(blank, acoustic.lengths, tokens, low)
    with torch.autocast(kind, enabled=False):
        return Posteriors(*_Transducer.apply(acoustic.values, language.values, weight, bias, joint, limits))


@dataclass(frozen=True, slots=True)
class _Joint:
    """What the joint network is asked at each node, and in which type its products are."""

    blank: int
    frames: Int[Tensor, " batch"]
    tokens: Sequences
    low: torch.dtype | None
    """The type of autocast; None for that of the weights."""

    def nodes(self, shape: tuple[int, int, int]) -> Int[Tensor, " nodes"]:
        """Numbers of the nodes inside their utterances, of all (batch, T, N + 1)."""
        valid = mask_of(self.frames, shape[1])[:, :, None] & mask_of(self.tokens.lengths + 1, shape[2])[:, None]
        return valid.flatten().nonzero()[:, 0]

    def wanted(self) -> Int[Tensor, " prefixes"]:
        """The next token of each (batch, N + 1), flat; the blank where there is none, whatever the padding is."""
        following = self.tokens.values.masked_fill(~self.tokens.mask, self.blank)
        return functional.pad(following, (0, 1), value=self.blank).flatten()


class _Transducer(torch.autograd.Function):
    """Losses and posteriors; see the head of this file."""

    @staticmethod
    def forward(
        ctx: Any, acoustic: Tensor, language: Tensor, weight: Tensor, bias: Tensor, joint: _Joint, limits: Limits
    ) -> tuple[Tensor, Tensor, Tensor]:
        shape = (acoustic.shape[0], acoustic.shape[1], language.shape[1])
        chunks = _Chunks(acoustic, language, weight, bias, joint, limits)
        blank, token, total = (chunks.bias.new_full(shape, NEVER) for _ in range(3))
        for chunk in chunks.over(joint.nodes(shape)):
            z = chunk.logits
            blank.view(-1)[chunk.nodes] = z[:, joint.blank]
            token.view(-1)[chunk.nodes] = z.gather(1, chunk.wanted)[:, 0]
            largest = z.amax(dim=1)
            total.view(-1)[chunk.nodes] = z.sub_(largest[:, None]).exp_().sum(dim=1).log_().add_(largest)
        found = posteriors(blank - total, token - total, joint.frames, joint.tokens.lengths)
        ctx.save_for_backward(acoustic, language, weight, bias, total, found.blanks, found.tokens)
        ctx.joint, ctx.limits = joint, limits
        ctx.mark_non_differentiable(found.blanks, found.tokens)
        ctx.set_materialize_grads(False)
        return found.losses.to(total.dtype), found.blanks, found.tokens

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        return _gradients(ctx, *grad_outputs)


@once_differentiable
def _gradients(ctx: Any, upstream: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    """Gradients of acoustic, language, weight and bias; no second derivatives."""
    if upstream is None:
        return (None,) * 6
    acoustic, language, weight, bias, total, by_blank, by_token = ctx.saved_tensors
    with torch.autocast(upstream.device.type, enabled=False):
        chunks = _Chunks(acoustic, language, weight, bias, ctx.joint, ctx.limits)
        gradients = chunks.gradients(total, by_blank, by_token, upstream)
    inputs = (acoustic, language, weight, bias)
    return *(made.view_as(x).to(x.dtype) for made, x in zip(gradients, inputs, strict=True)), None, None


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Some nodes, with all that the joint network makes of them."""

    nodes: Int[Tensor, " nodes"]
    frame: Int[Tensor, " nodes"]
    prefix: Int[Tensor, " nodes"]
    wanted: Int[Tensor, "nodes 1"]
    hidden: Float[Tensor, "nodes hidden"]
    logits: Float[Tensor, "nodes vocabulary"]


class _Chunks:
    """The joint network over any nodes, so many at a time that the limit is kept."""

    def __init__(
        self, acoustic: Tensor, language: Tensor, weight: Tensor, bias: Tensor, joint: _Joint, limits: Limits
    ) -> None:
        full = torch.promote_types(acoustic.dtype, torch.float32)
        self.frames, self.prefixes = acoustic.shape[1], language.shape[1]
        self.acoustic, self.language = (x.flatten(0, 1).to(full) for x in (acoustic, language))
        self.bias, self.weight = bias.to(full), weight.to(joint.low or full)
        self.joint, self.limits, self.wanted = joint, limits, joint.wanted()

    def over(self, nodes: Int[Tensor, " nodes"]) -> Iterator[_Chunk]:
        """Each chunk of these nodes; its logits may be overwritten, and are by the next."""
        rows = max(1, min(self.limits.logits // len(self.bias), len(nodes)))
        room = self.bias.new_empty(rows, len(self.bias))
        for some in nodes.split(rows):
            frame, u = some // self.prefixes, some % self.prefixes
            prefix = frame // self.frames * self.prefixes + u
            hidden = self.acoustic[frame].add_(self.language[prefix]).tanh_()
            logits = self._logits(hidden, room[: len(some)])
            yield _Chunk(some, frame, prefix, self.wanted[prefix, None], hidden, logits)

    def _logits(self, hidden: Tensor, room: Tensor) -> Tensor:
        if self.weight.dtype == hidden.dtype:
            return torch.addmm(self.bias, hidden, self.weight.t(), out=room)
        return room.copy_(hidden.to(self.weight.dtype) @ self.weight.t()).add_(self.bias)

    def gradients(self, total: Nodes, by_blank: Nodes, by_token: Nodes, upstream: Tensor) -> tuple[Tensor, ...]:
        """Gradients of acoustic, language, weight and bias."""
        d_acoustic, d_language, d_bias = (torch.zeros_like(x) for x in (self.acoustic, self.language, self.bias))
        d_weight = torch.zeros_like(self.weight, dtype=self.bias.dtype)
        visits = by_blank + by_token
        kept = (visits > max(self.limits.least, math.exp(FAINTEST))).flatten().nonzero()[:, 0]
        # γ p = exp(z − normaliser + log γ)
        lowered = (total - visits.log()).to(total.dtype).flatten()
        blank, token = (x.to(total.dtype).flatten() for x in (by_blank, by_token))
        scale = upstream.to(total.dtype).repeat_interleave(self.frames)[:, None]
        for chunk in self.over(kept):
            some, factor = chunk.nodes, scale[chunk.frame]
            slope = chunk.logits.sub_(lowered[some, None])
            slope = functional.threshold(slope, FAINTEST, NEVER, inplace=True).exp_()
            slope[:, self.joint.blank] -= blank[some]
            slope.scatter_add_(1, chunk.wanted, -token[some, None])
            # What comes from above is multiplied where it is a factor of `hidden` numbers, and not of the vocabulary.
            d_bias.addmv_(slope.t(), factor[:, 0])
            slope = slope.to(self.weight.dtype)
            _add_product(d_weight, slope.t(), (chunk.hidden * factor).to(slope.dtype))
            d_hidden = (slope @ self.weight).to(total.dtype).mul_(factor - factor * chunk.hidden.square())
            d_acoustic.index_add_(0, chunk.frame, d_hidden)
            d_language.index_add_(0, chunk.prefix, d_hidden)
        return d_acoustic, d_language, d_weight, d_bias


def _add_product(to: Tensor, left: Tensor, right: Tensor) -> None:
    """Add a product, in place where it is of the same type: a temporary of the weight's size is 78 MB for BERT's."""
    if left.dtype == to.dtype:
        to.addmm_(left, right)
    else:
        to += left @ right
