"""The tokens that a transducer makes of an encoder's frames: the likeliest step each time, or a beam.

On one frame it says at most ten tokens and goes on to the next then. A transcript's [CLS] and [SEP] are tokens like
others: the search ends with the last frame.
"""

import heapq
import math
from abc import ABC, abstractmethod
from typing import Annotated, Literal, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from trainables.config import Config
from trainables.sequences import Sequences
from trainables.students.transducer import LstmState, TransducerModel


class _Transduction(Config, ABC):
    """A way to find the tokens of clips."""

    at_most: Annotated[int, Field(gt=0)] = 10
    """Tokens on one frame."""

    @abstractmethod
    def search(self, model: TransducerModel, frames: Sequences) -> list[list[int]]:
        """The tokens of each clip, blanks left out, of the encoder's frames (batch, frames, features)."""


class GreedyTransduction(_Transduction):
    """The likeliest of all tokens and the blank each time.

    Each clip goes along its frames at its own pace, so that a batch takes as many steps as its slowest clip has frames
    and tokens, and no clip waits at a frame for another one.
    """

    kind: Literal["greedy"] = "greedy"

    def __str__(self) -> str:
        return "greedy"

    @override
    @torch.no_grad()
    def search(self, model: TransducerModel, frames: Sequences) -> list[list[int]]:
        acoustic, lengths = model.listened(frames).values, frames.lengths
        rows, at, here = torch.arange(len(acoustic), device=lengths.device), *[torch.zeros_like(lengths)] * 2
        language, state = model.step(torch.full_like(lengths, model.blank), None)
        found: list[Tensor] = []
        while bool((going := at < lengths).any()):
            best = model.joined(acoustic[rows, at.clamp(max=acoustic.shape[1] - 1)], language).argmax(dim=1)
            said = going & (best != model.blank)
            found.append(torch.where(said, best, model.blank))
            if bool(said.any()):
                after, (hidden, cell) = model.step(best, state)
                new = said[:, None]
                language = torch.where(new, after, language)
                state = torch.where(new, hidden, state[0]), torch.where(new, cell, state[1])
            here = torch.where(said, here + 1, 0)
            full = here == self.at_most
            at = at + (full | ~said)
            here = here.masked_fill(full, 0)
        if not found:
            return [[] for _ in rows]
        return [[token for token in row if token != model.blank] for row in torch.stack(found, dim=1).tolist()]


class BeamTransduction(_Transduction):
    """The `width` likeliest token sequences after each frame, of which those that are alike are merged: the search of
    arXiv 1211.3711, but in step with the frames, so that what is compared has heard as much.

    The probability of a sequence is the sum over the alignments that the beam has seen, whatever frames its tokens
    stand on. There is no correction for length: blanks tell how long a clip is.
    """

    kind: Literal["beam"] = "beam"
    width: Annotated[int, Field(gt=0)] = 8

    def __str__(self) -> str:
        return f"beam {self.width}"

    @override
    @torch.no_grad()
    def search(self, model: TransducerModel, frames: Sequences) -> list[list[int]]:
        acoustic, lengths = model.listened(frames).values, frames.lengths.tolist()
        language, state = model.step(torch.full_like(frames.lengths, model.blank), None)
        known = _Predictions(language, state)
        beams: list[_Beam] = [{(): _Hypothesis(0.0, clip)} for clip in range(len(lengths))]
        for frame in range(max(lengths)):
            going = [clip for clip, length in enumerate(lengths) if frame < length]
            after = self._frame(model, acoustic[:, frame], known, {clip: beams[clip] for clip in going})
            for clip, beam in after.items():
                best = heapq.nlargest(self.width, beam.items(), key=lambda item: item[1].score)
                beams[clip] = dict(best)
            known, beams = known.compacted(beams)
        return [list(max(beam, key=lambda tokens: beam[tokens].score)) for beam in beams]

    def _frame(
        self,
        model: TransducerModel,
        acoustic: Float[Tensor, "clips joint"],
        known: "_Predictions",
        begin: "dict[int, _Beam]",
    ) -> "dict[int, _Beam]":
        """What the beams of some clips are after one more frame: every sequence that ended it with a blank."""
        after: dict[int, _Beam] = {clip: {} for clip in begin}
        rows = [(clip, tokens, each) for clip, beam in begin.items() for tokens, each in beam.items()]
        for count in range(self.at_most + 1):
            at = torch.tensor([each.row for _, _, each in rows], device=acoustic.device)
            clips = torch.tensor([clip for clip, _, _ in rows], device=acoustic.device)
            steps = functional.log_softmax(model.joined(acoustic[clips], known.language[at]).float(), dim=1)
            for (clip, tokens, each), blank in zip(rows, steps[:, model.blank].tolist(), strict=True):
                before = after[clip].get(tokens)
                score = each.score + blank
                total = score if before is None else _logaddexp(before.score, score)
                after[clip][tokens] = _Hypothesis(total, each.row)
            if count == self.at_most:
                break
            steps[:, model.blank] = -torch.inf
            found = steps.topk(min(self.width, steps.shape[1] - 1), dim=1)
            rows = self._extended(rows, found.values.tolist(), found.indices.tolist(), after)
            if not rows:
                break
            parents = torch.tensor([each.row for _, _, each in rows], device=acoustic.device)
            labels = torch.tensor([tokens[-1] for _, tokens, _ in rows], device=acoustic.device)
            first = known.extend(model, labels, parents)
            rows = [(clip, tokens, each._replace(row=first + i)) for i, (clip, tokens, each) in enumerate(rows)]
        return after

    def _extended(
        self, rows: "list[_Row]", values: list[list[float]], labels: list[list[int]], after: "dict[int, _Beam]"
    ) -> "list[_Row]":
        """The best of each clip's sequences with one more token, of those that may still come among its best.

        Their row is that of what they extend.
        """
        ways: dict[int, list[_Row]] = {}
        for (clip, tokens, each), gains, names in zip(rows, values, labels, strict=True):
            ways.setdefault(clip, []).extend(
                (clip, (*tokens, name), _Hypothesis(each.score + gain, each.row))
                for gain, name in zip(gains, names, strict=True)
            )
        found: list[_Row] = []
        for clip, candidates in ways.items():
            best = heapq.nlargest(self.width, (each.score for each in after[clip].values()))
            least = best[-1] if len(best) == self.width else -math.inf
            chosen = heapq.nlargest(self.width, candidates, key=lambda row: row[2].score)
            found += [row for row in chosen if row[2].score > least]
        return found


class _Hypothesis(NamedTuple):
    score: float
    """Logarithm of the summed probability of its alignments."""
    row: int
    """Its row in `_Predictions`."""


_Beam = dict[tuple[int, ...], _Hypothesis]
_Row = tuple[int, tuple[int, ...], _Hypothesis]


class _Predictions:
    """What the prediction network says after each token sequence that is of use, and its states: a row for each."""

    def __init__(self, language: Float[Tensor, "rows joint"], state: LstmState) -> None:
        self.language, self.state = language, state

    def extend(self, model: TransducerModel, labels: Tensor, parents: Tensor) -> int:
        """Add rows for one more token after each of the `parents`; returns the first new one's number."""
        first = len(self.language)
        language, state = model.step(labels, (self.state[0][parents], self.state[1][parents]))
        self.language = torch.cat([self.language, language])
        self.state = torch.cat([self.state[0], state[0]]), torch.cat([self.state[1], state[1]])
        return first

    def compacted(self, beams: list[_Beam]) -> "tuple[_Predictions, list[_Beam]]":
        """The rows of these beams alone, and the beams with their new numbers."""
        numbers = [each.row for beam in beams for each in beam.values()]
        rows, place = torch.tensor(numbers, device=self.language.device), iter(range(len(numbers)))
        moved = [{tokens: each._replace(row=next(place)) for tokens, each in beam.items()} for beam in beams]
        return _Predictions(self.language[rows], (self.state[0][rows], self.state[1][rows])), moved


Transduction = Annotated[GreedyTransduction | BeamTransduction, Field(discriminator="kind")]


def _logaddexp(a: float, b: float) -> float:
    high, low = max(a, b), min(a, b)
    return high + math.log1p(math.exp(low - high))
