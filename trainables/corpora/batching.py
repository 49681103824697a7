"""Batches that are functions of (seed, step) alone, whoever asks and on however many workers.

An epoch is a permutation of the utterances, cut into global batches; how is for a member of `Batching` to say. A global
batch is dealt out to shares like cards, so that all have nearly the same length.

A share is the part of a global batch that goes through the model at once. There are `optimisation.shares` of them
however many workers there are: worker r of W computes the shares r, r + W, r + 2W, …, one after the other, and their
gradients add up to that of the whole batch. All that is random in a share (dropout, layerdrop) is drawn from (seed,
step, number of the share), and masks from (seed, step, utterance). So it changes nothing which worker computes a share,
and any number of workers up to that of shares gives the same model.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from typing_extensions import override

from trainables.batch import Batch
from trainables.config import Config
from trainables.corpora.audio import SAMPLE_RATE
from trainables.corpora.filters import FRAME
from trainables.corpora.prepared import PreparedSplit
from trainables.corpora.sources import FeatureSource, Indices
from trainables.corpora.spec_augment import Masks
from trainables.sequences import Sequences

WINDOW = 50
"""Batches that are sorted by length together: wide enough for little padding, narrow enough to stay random."""

CHANNELS, STRETCHES = 1, 2
"""Last words of the seeds of channel masks and of stretches, drawn apart from the same utterance's time masks."""

USUAL_CLIP = 5.0
"""Seconds of a clip, where no corpus has been read that could tell."""

Seconds = NDArray[np.float64]


class _Batching(Config, ABC):
    """How the utterances of an epoch become global batches."""

    @abstractmethod
    def epoch(self, seconds: Seconds, random: np.random.Generator) -> Iterator[Indices]:
        """The global batches of one epoch, in order, drawn from `random` alone: each utterance once."""

    @abstractmethod
    def usual(self, longest: float) -> tuple[int, float]:
        """Utterances of a usual batch and the seconds of each, where clips have at most `longest` seconds."""

    @abstractmethod
    def filled_by(self, seconds: Seconds) -> bool:
        """Whether utterances of these lengths make at least one whole batch."""


class _ByLength(_Batching):
    """Utterances of nearly one length together, for little padding.

    The permutation is cut into windows; each window is sorted by length and cut into batches, whose order is then
    shuffled.
    """

    @abstractmethod
    def width(self, seconds: Seconds) -> int:
        """Utterances of a mean batch."""

    @abstractmethod
    def cut(self, seconds: Seconds) -> list[int]:
        """Indices at which batches begin in a row of utterances of non-decreasing length."""

    @override
    def epoch(self, seconds: Seconds, random: np.random.Generator) -> Iterator[Indices]:
        order, width = random.permutation(len(seconds)), self.width(seconds)
        batches: list[Indices] = []
        for start in range(0, len(order), WINDOW * width):
            window = order[start : start + WINDOW * width]
            window = window[np.argsort(seconds[window], kind="stable")]
            batches += np.split(window, self.cut(seconds[window])[1:])
        for i in random.permutation(len(batches)):
            yield batches[i]


class ByCount(_ByLength):
    """Batches of a fixed number of utterances of like length, as the paper's."""

    kind: Literal["by_count"] = "by_count"
    utterances: Annotated[int, Field(gt=0)] = 24

    @override
    def width(self, seconds: Seconds) -> int:
        return self.utterances

    @override
    def cut(self, seconds: Seconds) -> list[int]:
        return list(range(0, len(seconds), self.utterances))

    @override
    def usual(self, longest: float) -> tuple[int, float]:
        return self.utterances, min(USUAL_CLIP, longest)

    @override
    def filled_by(self, seconds: Seconds) -> bool:
        return len(seconds) >= self.utterances


class BySeconds(_ByLength):
    """Batches of about a fixed number of seconds, padding included."""

    kind: Literal["by_seconds"] = "by_seconds"
    seconds: Annotated[float, Field(gt=0)] = 48.0

    @override
    def width(self, seconds: Seconds) -> int:
        return max(1, int(self.seconds / max(float(seconds.mean()), 1e-3)))

    @override
    def cut(self, seconds: Seconds) -> list[int]:
        starts = [0]
        for i, longest in enumerate(seconds):
            if i > starts[-1] and (i + 1 - starts[-1]) * longest > self.seconds:
                starts.append(i)
        return starts

    @override
    def usual(self, longest: float) -> tuple[int, float]:
        utterances = math.ceil(self.seconds / min(USUAL_CLIP, longest))
        return utterances, self.seconds / utterances

    @override
    def filled_by(self, seconds: Seconds) -> bool:
        return float(seconds.sum()) >= self.seconds


class Shuffled(_Batching):
    """Batches of a fixed number of utterances as the permutation has them, whatever their lengths.

    Where length tells the label, as that of a command does, batches of one length would have few labels each.
    """

    kind: Literal["shuffled"] = "shuffled"
    utterances: Annotated[int, Field(gt=0)] = 64

    @override
    def epoch(self, seconds: Seconds, random: np.random.Generator) -> Iterator[Indices]:
        order = random.permutation(len(seconds))
        yield from np.split(order, range(self.utterances, len(order), self.utterances))

    @override
    def usual(self, longest: float) -> tuple[int, float]:
        return self.utterances, min(USUAL_CLIP, longest)

    @override
    def filled_by(self, seconds: Seconds) -> bool:
        return len(seconds) >= self.utterances


Batching = Annotated[ByCount | BySeconds | Shuffled, Field(discriminator="kind")]


class TimeMasking(Config):
    """SpecAugment's masks in time, drawn for each utterance on the host (wav2vec 2.0 §4.3)."""

    probability: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Expected share of frames under a mask, if masks did not overlap (the released code; the paper has no masks)."""
    span: Annotated[int, Field(gt=0)] = 10
    """Frames of the student, of 20 ms in nearly all, that one mask covers."""

    def draw(self, frames: int, random: np.random.Generator) -> NDArray[np.bool_]:
        """True on the masked ones of `frames` frames."""
        return _spans(frames, self.probability, self.span, random)


class ChannelMasking(Config):
    """SpecAugment's masks over features, drawn for each utterance on the host (wav2vec 2.0, appendix B)."""

    probability: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Expected share of features under a mask, if masks did not overlap."""
    span: Annotated[int, Field(gt=0)] = 64
    """Neighbouring features that one mask covers."""

    def draw(self, features: int, random: np.random.Generator) -> NDArray[np.bool_]:
        """True on the masked ones of a student's `features`."""
        return _spans(features, self.probability, self.span, random)


def _spans(length: int, probability: float, span: int, random: np.random.Generator) -> NDArray[np.bool_]:
    """True under spans that may overlap, whose lengths add up to a share `probability` of `length`."""
    masked = np.zeros(length, dtype=bool)
    places = length - span + 1
    if probability and places > 0:
        count = int(probability * length / span + random.random())
        starts = random.choice(places, size=min(count, places), replace=False)
        masked[(starts[:, None] + np.arange(span)).ravel()] = True
    return masked


def global_batches(seconds: Seconds, batching: Batching, seed: int) -> Iterator[Indices]:
    """The global batches of step 0, 1, 2, …: indices into a split, without end."""
    epoch = 0
    while True:
        yield from batching.epoch(seconds, np.random.default_rng((seed, epoch)))
        epoch += 1


@dataclass(frozen=True)
class Loader:
    """Turns indices of a prepared split into batches."""

    split: PreparedSplit
    sources: Mapping[str, FeatureSource] = field(default_factory=dict)
    """Sources of all that a batch carries besides audio, by name."""
    masking: Masks | None = None
    """Masks over frames, such as `TimeMasking`."""
    hop: int = FRAME
    """Samples from one frame of the student to the next, in which masks are drawn."""
    usable: Indices | None = None
    """The utterances to train on, or to evaluate; by default all."""
    channel_masking: Masks | None = None
    """Masks over features, in all frames of a clip, such as `ChannelMasking`."""
    features: int = 0
    """Features over which those are drawn: of the student's frames, or mel bands."""
    crop: int | None = None
    """Samples; in training, of a longer clip a stretch of this length is taken, another one in each step."""

    def training(
        self, batching: Batching, *, seed: int, start: int, shares: int, mine: Sequence[int]
    ) -> Iterator[list[Batch]]:
        """From step `start` on: this worker's micro-batches, those numbered `mine` of `shares` in all.

        A share that gets no utterance (of a global batch smaller than `shares`) is filled with one of scale 0,
        so that every worker takes part in every step.
        """
        usable = np.arange(len(self.split)) if self.usable is None else self.usable
        before = 0  # utterances of earlier steps
        samples = self.split.samples[usable]
        if self.crop is not None:
            samples = np.minimum(samples, self.crop)
        for step, chosen in enumerate(global_batches(samples / SAMPLE_RATE, batching, seed)):
            if step >= start:
                indices, epoch = usable[chosen], 1 + before // len(usable)
                parts, of_sample = [indices[i::shares] for i in mine], 1 / int(samples[chosen].sum())
                yield [
                    self.batch(part, scale=1 / len(indices), seed=(seed, step), epoch=epoch, of_sample=of_sample)
                    if len(part)
                    else self.batch(indices[:1], scale=0.0, seed=(seed, step), epoch=epoch, of_sample=0.0)
                    for part in parts
                ]
            before += len(chosen)

    def evaluation(self, *, seconds: float, rank: int, world_size: int) -> Iterator[Batch]:
        """This rank's part of the split, each utterance once over all ranks, longest batches first."""
        lengths = self.split.samples / SAMPLE_RATE
        usable = np.arange(len(lengths)) if self.usable is None else self.usable
        order = usable[np.argsort(lengths[usable], kind="stable")]
        batches = np.split(order, BySeconds(seconds=seconds).cut(lengths[order])[1:])
        for indices in batches[::-1][rank::world_size]:
            yield self.batch(indices, scale=1.0, seed=None)

    def batch(
        self,
        indices: Indices,
        *,
        scale: float,
        seed: tuple[int, int] | None,
        epoch: int = 0,
        of_sample: float | None = None,
    ) -> Batch:
        """The utterances at `indices`; `of_sample` is one sample's part of the audio of the global batch.

        In training, `seed` is (seed, step), and masks and stretches of long clips are drawn from (seed, step,
        utterance); in evaluation it is None.
        """
        clips = [self._stretch(int(i), seed) if seed else self.split.audio(int(i)) for i in indices]
        waveforms = [clip.astype(np.float32) / 32768 for clip in clips]
        return Batch(
            ids=tuple(self.split.ids[i] for i in indices),
            audio=Sequences.stack(waveforms),
            scale=torch.full((len(indices),), scale),
            texts=tuple(self.split.texts[i] for i in indices),
            sources={name: source(indices) for name, source in self.sources.items()},
            masked=self._masks(indices, [len(clip) for clip in clips], seed) if self.masking and seed else None,
            audio_share=None if of_sample is None else of_sample * torch.tensor([len(clip) for clip in clips]),
            indices=tuple(indices.tolist()),
            step=seed[1] if seed else 0,
            epoch=epoch,
            channels=self._channels(indices, seed) if self.channel_masking and seed else None,
        )

    def _channels(self, indices: Indices, seed: tuple[int, int]) -> torch.Tensor:
        assert self.channel_masking is not None
        generators = [np.random.default_rng((*seed, int(i), CHANNELS)) for i in indices]
        return torch.from_numpy(np.stack([self.channel_masking.draw(self.features, each) for each in generators]))

    def _stretch(self, index: int, seed: tuple[int, int]) -> NDArray[np.int16]:
        audio = self.split.audio(index)
        if self.crop is None or len(audio) <= self.crop:
            return audio
        begin = int(np.random.default_rng((*seed, index, STRETCHES)).integers(len(audio) - self.crop + 1))
        return audio[begin : begin + self.crop]

    def _masks(self, indices: Indices, samples: Sequence[int], seed: tuple[int, int]) -> torch.Tensor:
        assert self.masking is not None
        frames = [count // self.hop for count in samples]
        masks = [
            self.masking.draw(n, np.random.default_rng((*seed, int(i)))) for i, n in zip(indices, frames, strict=True)
        ]
        return Sequences.stack(masks).values
