"""Batches that are functions of (seed, step) alone, whoever asks and on however many workers.

An epoch is a permutation, cut into windows; each window is sorted by length and cut into global batches,
whose order is then shuffled. A global batch is dealt out to shares like cards, so that all have nearly the
same length; which worker computes a share changes nothing in it.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from trainables.batch import Batch
from trainables.config import Config
from trainables.corpora.audio import SAMPLE_RATE
from trainables.corpora.prepared import FRAME, PreparedSplit
from trainables.corpora.text import CharacterVocabulary
from trainables.sequences import Sequences

WINDOW = 50
"""Batches that are sorted by length together: wide enough for little padding, narrow enough to stay random."""

USUAL_CLIP = 5.0
"""Seconds of a clip, where no corpus has been read that could tell."""

Indices = NDArray[np.int64]
FeatureSource = Callable[[Indices], Sequences]
"""Teacher features of the utterances at some indices of a split."""


class ByCount(Config):
    """Batches of a fixed number of utterances, as the paper's."""

    kind: Literal["by_count"] = "by_count"
    utterances: Annotated[int, Field(gt=0)] = 24

    def cut(self, seconds: NDArray[np.float64]) -> list[int]:
        """Where batches begin in a row of utterances of non-decreasing length."""
        return list(range(0, len(seconds), self.utterances))

    def usual(self, longest: float) -> tuple[int, float]:
        """Utterances of a usual batch and the seconds of each, where clips have at most `longest` seconds."""
        return self.utterances, min(USUAL_CLIP, longest)


class BySeconds(Config):
    """Batches of about a fixed number of seconds, padding included."""

    kind: Literal["by_seconds"] = "by_seconds"
    seconds: Annotated[float, Field(gt=0)] = 48.0

    def cut(self, seconds: NDArray[np.float64]) -> list[int]:
        """Where batches begin in a row of utterances of non-decreasing length."""
        starts = [0]
        for i, longest in enumerate(seconds):
            if i > starts[-1] and (i + 1 - starts[-1]) * longest > self.seconds:
                starts.append(i)
        return starts

    def usual(self, longest: float) -> tuple[int, float]:
        """Utterances of a usual batch and the seconds of each, where clips have at most `longest` seconds."""
        utterances = math.ceil(self.seconds / min(USUAL_CLIP, longest))
        return utterances, self.seconds / utterances


Batching = Annotated[ByCount | BySeconds, Field(discriminator="kind")]


class TimeMasking(Config):
    """SpecAugment's masks in time, drawn for each utterance on the host (wav2vec 2.0 §4.3)."""

    probability: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Expected share of frames under a mask, if masks did not overlap (the released code; the paper has no masks)."""
    span: Annotated[int, Field(gt=0)] = 10
    """Frames of the student, of 20 ms in nearly all, that one mask covers."""

    def draw(self, frames: int, random: np.random.Generator) -> NDArray[np.bool_]:
        """True on the masked ones of `frames` frames."""
        masked = np.zeros(frames, dtype=bool)
        places = frames - self.span + 1
        if self.probability and places > 0:
            count = int(self.probability * frames / self.span + random.random())
            starts = random.choice(places, size=min(count, places), replace=False)
            masked[(starts[:, None] + np.arange(self.span)).ravel()] = True
        return masked


def global_batches(seconds: NDArray[np.float64], batching: Batching, seed: int) -> Iterator[Indices]:
    """The global batches of step 0, 1, 2, …: indices into a split, without end."""
    epoch = 0
    while True:
        random = np.random.default_rng((seed, epoch))
        order = random.permutation(len(seconds))
        mean = max(float(seconds.mean()), 1e-3)
        width = batching.utterances if isinstance(batching, ByCount) else max(1, int(batching.seconds / mean))
        batches: list[Indices] = []
        for start in range(0, len(order), WINDOW * width):
            window = order[start : start + WINDOW * width]
            window = window[np.argsort(seconds[window], kind="stable")]
            batches += np.split(window, batching.cut(seconds[window])[1:])
        for i in random.permutation(len(batches)):
            yield batches[i]
        epoch += 1


@dataclass(frozen=True)
class Loader:
    """Turns indices of a prepared split into batches."""

    split: PreparedSplit
    vocabulary: CharacterVocabulary
    features: FeatureSource | None = None
    masking: TimeMasking | None = None
    hop: int = FRAME
    """Samples from one frame of the student to the next: masks are drawn in such."""
    usable: Indices | None = None
    """The utterances to train on; by default all."""

    def training(
        self, batching: Batching, *, seed: int, start: int, shares: int, mine: Sequence[int]
    ) -> Iterator[list[Batch]]:
        """From step `start` on: this worker's micro-batches, those numbered `mine` of `shares` in all.

        A share that gets no utterance (of a global batch smaller than `shares`) is filled with one of scale 0,
        so that every worker takes part in every step.
        """
        usable = np.arange(len(self.split)) if self.usable is None else self.usable
        for step, chosen in enumerate(global_batches(self.split.samples[usable] / SAMPLE_RATE, batching, seed)):
            if step >= start:
                indices = usable[chosen]
                parts = [indices[i::shares] for i in mine]
                yield [
                    self.batch(part, scale=1 / len(indices), seed=(seed, step))
                    if len(part)
                    else self.batch(indices[:1], scale=0.0, seed=(seed, step))
                    for part in parts
                ]

    def evaluation(self, *, seconds: float, rank: int, world_size: int) -> Iterator[Batch]:
        """This rank's part of the split, each utterance once over all ranks, longest batches first."""
        lengths = self.split.samples / SAMPLE_RATE
        order = np.argsort(lengths, kind="stable")
        batches = np.split(order, BySeconds(seconds=seconds).cut(lengths[order])[1:])
        for indices in batches[::-1][rank::world_size]:
            yield self.batch(indices, scale=1.0, seed=None)

    def batch(self, indices: Indices, *, scale: float, seed: tuple[int, int] | None) -> Batch:
        """The utterances at `indices`; time masks are drawn from (seed, step, utterance) where a seed is given."""
        waveforms = [self.split.audio(int(i)).astype(np.float32) / 32768 for i in indices]
        audio, texts = Sequences.stack(waveforms), tuple(self.split.texts[i] for i in indices)
        tokens = [np.array(self.vocabulary.encode(text), np.int64) for text in texts]
        return Batch(
            ids=tuple(self.split.ids[i] for i in indices),
            audio=audio,
            tokens=Sequences.stack(tokens),
            scale=torch.full((len(indices),), scale),
            texts=texts,
            teacher=self.features(indices) if self.features and seed else None,
            masked=self._masks(indices, seed) if self.masking and seed else None,
        )

    def _masks(self, indices: Indices, seed: tuple[int, int]) -> torch.Tensor:
        assert self.masking is not None
        frames = [int(self.split.samples[i]) // self.hop for i in indices]
        masks = [
            self.masking.draw(n, np.random.default_rng((*seed, int(i)))) for i, n in zip(indices, frames, strict=True)
        ]
        return Sequences.stack(masks).values
