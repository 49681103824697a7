"""The tokens that an attention decoder says of an encoder's frames: the likeliest next one each time, or a beam.

A clip of T frames has at most ⌊1.5 T⌋ + 10 tokens, with 40 ms to a frame 37 a second, and ends with [SEP]. A decoder
that never says [SEP] is cut off there.
"""

from abc import ABC, abstractmethod
from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from trainables.config import Config
from trainables.sequences import Sequences
from trainables.students.las import LasModel


class _Spelling(Config, ABC):
    """A way to find the tokens of clips."""

    @abstractmethod
    def search(self, model: LasModel, frames: Sequences) -> list[list[int]]:
        """The tokens of each clip, of the encoder's frames (batch, frames, features); [SEP], if said, is the last."""


class GreedySpelling(_Spelling):
    """The likeliest token each time."""

    kind: Literal["greedy"] = "greedy"

    def __str__(self) -> str:
        return "greedy"

    @override
    @torch.no_grad()
    def search(self, model: LasModel, frames: Sequences) -> list[list[int]]:
        memory, state = model.listened(frames)
        most = limits(frames)
        tokens = torch.full_like(most, model.start)
        said, ends = [], most  # of each clip, so many tokens are its own
        for step in range(int(most.max())):
            states, state = model.step(tokens, state, memory)
            tokens = model.output(states).argmax(dim=1)
            said.append(tokens)
            ends = torch.where((tokens == model.end) & (ends > step), step + 1, ends)
            if bool((ends <= step + 1).all()):
                break
        rows = torch.stack(said, dim=1).tolist()
        return [row[:end] for row, end in zip(rows, ends.tolist(), strict=True)]


class BeamSpelling(_Spelling):
    """The `width` likeliest beginnings each time; of all that have ended, that with the best score.

    The score of n tokens, [SEP] counted, is log P / ((5 + n) / 6)^length (arXiv 1609.08144, eq. 14 without coverage).
    A clip is done when nothing that has not ended can still be better, or at the limit; if nothing has ended by then,
    the likeliest beginning is taken.
    """

    kind: Literal["beam"] = "beam"
    width: Annotated[int, Field(gt=0)] = 8
    length: Annotated[float, Field(ge=0)] = 0.6
    """0 takes probabilities as they are, which favours short texts."""

    def __str__(self) -> str:
        return f"beam {self.width}"

    @override
    @torch.no_grad()
    def search(self, model: LasModel, frames: Sequences) -> list[list[int]]:
        memory, state = model.listened(frames)
        most, clips = limits(frames), len(frames.values)
        rows = torch.arange(clips, device=most.device).repeat_interleave(self.width)
        memory, state = memory.select(rows), state.select(rows)
        begins = torch.arange(clips, device=most.device)[:, None] * self.width
        scores = torch.full((clips, self.width), -torch.inf, device=most.device)
        scores[:, 0] = 0  # all of a clip's hypotheses are the same one at first
        tokens, history = torch.full_like(rows, model.start), most.new_zeros(clips, self.width, 0)
        kept = _Kept(most, int(most.max()))
        for step in range(1, int(most.max()) + 1):
            states, state = model.step(tokens, state, memory)
            steps = functional.log_softmax(model.output(states).float(), dim=1).view(clips, self.width, -1)
            size = steps.shape[2]
            # Twice as many as are kept, so that enough are left when some of them end.
            best, index = (scores[:, :, None] + steps).flatten(1).topk(2 * self.width)
            parents, labels = index.div(size, rounding_mode="floor"), index % size
            longer = torch.cat([history.gather(1, parents[:, :, None].expand(-1, -1, step - 1)), labels[:, :, None]], 2)
            ended = labels == model.end
            kept.take(best[:, : self.width] / self._norm(step), ended[:, : self.width], longer)
            scores, chosen = best.masked_fill(ended, -torch.inf).topk(self.width)
            history = longer.gather(1, chosen[:, :, None].expand(-1, -1, step))
            state = state.select((begins + parents.gather(1, chosen)).flatten())
            tokens = history[:, :, -1].flatten()
            kept.close(scores[:, 0], scores[:, 0] / self._norm(most), history[:, 0])
            if not bool(kept.running.any()):
                break
        return kept.tokens()

    def _norm(self, tokens: int | Tensor) -> Tensor:
        return ((5 + torch.as_tensor(tokens)) / 6) ** self.length


class _Kept:
    """The best hypothesis of each clip that has ended."""

    def __init__(self, most: Int[Tensor, " clips"], longest: int) -> None:
        self.most = most
        self.score = torch.full(most.shape, -torch.inf, device=most.device)
        self.said, self.length = most.new_zeros(len(most), longest), torch.zeros_like(most)
        self.running = torch.ones_like(most, dtype=torch.bool)

    def take(
        self,
        scores: Float[Tensor, "clips width"],
        ended: Tensor,
        said: Int[Tensor, "clips candidates tokens"],
    ) -> None:
        """Keep what has ended with a better score, where the search goes on."""
        best, which = scores.masked_fill(~ended, -torch.inf).max(dim=1)
        self._put(self.running & (best > self.score), best, said[torch.arange(len(said), device=said.device), which])

    def close(
        self, likeliest: Float[Tensor, " clips"], bound: Float[Tensor, " clips"], said: Int[Tensor, "clips tokens"]
    ) -> None:
        """End the search of clips at their limit, and where no score within the `bound` can be better.

        `said` is the likeliest hypothesis that has not ended, which is kept at the limit where none has.
        """
        at_limit = self.running & (self.most == said.shape[1])
        self._put(at_limit & self.score.isneginf(), likeliest, said)
        self.running = self.running & ~at_limit & (bound > self.score)

    def tokens(self) -> list[list[int]]:
        """What is kept of each clip."""
        return [row[:length] for row, length in zip(self.said.tolist(), self.length.tolist(), strict=True)]

    def _put(self, where: Tensor, score: Tensor, said: Tensor) -> None:
        self.score = torch.where(where, score, self.score)
        self.length = torch.where(where, said.shape[1], self.length)
        self.said[:, : said.shape[1]] = torch.where(where[:, None], said, self.said[:, : said.shape[1]])


Spelling = Annotated[GreedySpelling | BeamSpelling, Field(discriminator="kind")]


def limits(frames: Sequences) -> Int[Tensor, " batch"]:
    """The most tokens of each clip."""
    return (1.5 * frames.lengths).long() + 10
