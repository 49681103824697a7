"""Batch norm over a batch's clips without its padding, the same on any number of workers.

torch's own takes the mean and the variance of a channel over all positions. Where clips are padded, these would be of
zeros too: the more, the longer the longest clip is. Here they are of valid frames alone.

In training each share of a global batch is normalised by its own moments, which is a function of the share whoever
computes it. The running moments, which evaluation uses, are another matter: each worker sees its own shares only. So
`settle` gathers those of all workers after the encoder's forward pass, and takes them in by the numbers of the shares,
as one worker would who computes one after the other. For that all workers must have as many shares.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, distributed, nn
from typing_extensions import override


class Valid:
    """The valid frames of the pass: what calls the norm has no argument for them, so they are noted before it."""

    mask: Bool[Tensor, "batch frames"]


class MaskedBatchNorm(nn.BatchNorm1d):
    """`nn.BatchNorm1d` over valid frames: (batch, channels, frames), or (batch, channels, frames, bands)."""

    def __init__(self, channels: int, valid: Valid) -> None:
        super().__init__(channels)
        self.valid = valid
        self.seen: tuple[Tensor, Tensor] | None = None
        """Mean and variance in the last pass of training, until they are settled."""

    @override
    def forward(self, input: Float[Tensor, "batch channels frames *bands"]) -> Tensor:
        assert self.running_mean is not None
        assert self.running_var is not None
        hidden, shape = input.float(), (1, -1, *[1] * (input.dim() - 2))
        if self.training:
            mean, variance = self._moments(hidden)
        else:
            mean, variance = self.running_mean, self.running_var
        scale = self.weight * (variance + self.eps).rsqrt()
        return torch.addcmul((self.bias - mean * scale).view(shape), hidden, scale.view(shape)).to(input.dtype)

    def _moments(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of each channel, and the unbiased variance noted for evaluation."""
        mask = self.valid.mask.view(len(hidden), 1, -1, *[1] * (hidden.dim() - 3)).expand(-1, 1, *hidden.shape[2:])
        count, axes = mask.sum(), [axis for axis in range(hidden.dim()) if axis != 1]
        mean = hidden.masked_fill(~mask, 0).sum(dim=axes) / count
        centred = (hidden - mean.view(1, -1, *[1] * (hidden.dim() - 2))).masked_fill(~mask, 0)
        variance = centred.square().sum(dim=axes) / count
        self.seen = mean.detach(), (variance * count / (count - 1).clamp(min=1)).detach()
        return mean, variance


@torch.no_grad()
def settle(norms: Sequence[MaskedBatchNorm]) -> None:
    """Take the moments of the last pass of training, of all workers, into the running ones."""
    seen = [moment for norm in norms if norm.seen is not None for moment in norm.seen]
    if not seen:
        return
    mine = torch.cat(seen)
    shares = [mine]
    if distributed.is_initialized():
        shares = [torch.empty_like(mine) for _ in range(distributed.get_world_size())]
        distributed.all_gather(shares, mine)
    for share in shares:
        parts = iter(share.split([len(moment) for moment in seen]))
        for norm in norms:
            if norm.seen is not None:
                assert norm.running_mean is not None
                assert norm.running_var is not None
                assert norm.momentum is not None
                norm.running_mean.lerp_(next(parts), norm.momentum)
                norm.running_var.lerp_(next(parts), norm.momentum)
    for norm in norms:
        norm.seen = None


def check_shares(shares: int, workers: int) -> None:
    """Raises ValueError where workers would have unequal numbers of shares, and some wait for others for ever."""
    if shares % workers:
        raise ValueError(
            f"`optimisation.shares` must be a multiple of the number of workers, which is {workers}, where a student "
            f"has batch norm, but is {shares} instead."
        )
