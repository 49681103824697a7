"""How long a training step takes on this device, before anything has been prepared."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from trainables.batch import Batch
from trainables.corpora.audio import SAMPLE_RATE
from trainables.corpora.batching import Batching
from trainables.corpora.filters import FRAME
from trainables.corpora.spec_augment import Masks
from trainables.corpora.text import BLANK, DELIMITER, UNKNOWN, CharacterVocabulary
from trainables.optimisation import Optimisation
from trainables.sequences import Sequences
from trainables.task import Task
from trainables.training import Meter, World, train_step

WARM_UP, MEASURED = 3, 5
"""Steps: the first ones choose kernels and fill the allocator's pools, of the others the median counts."""
VOCABULARY = CharacterVocabulary((DELIMITER, *(chr(ord("α") + i) for i in range(37)), UNKNOWN, BLANK))
"""As large as a language's."""
CHARACTERS_PER_SECOND, TOKENS_PER_SECOND = 12, 4
"""Rates of transcripts, about: the loss takes longer over longer ones."""


def noise(
    batching: Batching,
    *,
    longest: float,
    shares: int,
    masking: Masks | None = None,
    teacher: int | None = None,
    hop: int = FRAME,
) -> list[Batch]:
    """The micro-batches of one global batch of the usual size: noise for audio and for a teacher of this width.

    Without a width there are transcripts, for a teacher that reads them at each step. `hop` are the samples from one
    frame of the student to the next. What else a loss needs is the recipe's to add.
    """
    utterances, seconds = batching.usual(longest)
    random = np.random.default_rng(0)
    batches = []
    for i in range(shares):
        count = len(range(i, utterances, shares))
        size = max(count, 1)  # the filler of an empty share takes its time too
        frames = int(seconds * SAMPLE_RATE) // hop
        masks = np.stack([masking.draw(frames, random) for _ in range(size)]) if masking else None
        characters, tokens = 1 + int(seconds * CHARACTERS_PER_SECOND), int(seconds * TOKENS_PER_SECOND)
        batches.append(
            Batch(
                ids=("noise",) * size,
                audio=_equal(0.1 * torch.randn(size, max(1, int(seconds * SAMPLE_RATE)))),
                scale=torch.full((size,), 1 / utterances if count else 0.0),
                texts=(" ".join("a" * tokens),) * size,
                sources={"tokens": _equal(torch.randint(VOCABULARY.unknown, (size, characters)))}
                | ({"teacher": _equal(torch.randn(size, 2 + tokens, teacher))} if teacher else {}),
                masked=None if masks is None else torch.from_numpy(masks),
            )
        )
    return batches


def seconds_per_step(task: Task, micro_batches: Sequence[Batch], optimisation: Optimisation) -> float:
    """The median over some steps of the training loop itself, by one worker on its device. Trains `task`."""
    world = replace(World.here(), rank=0, size=1)
    task.to(world.device).train()
    optimiser, meter, seconds = optimisation.build(task, task.groups(optimisation)), Meter(), []
    for step in range(WARM_UP + MEASURED):
        begun = time.perf_counter()
        train_step(
            task, optimiser, micro_batches, step=step, seed=0, optimisation=optimisation, world=world, meter=meter
        )
        if world.device.type == "cuda":
            torch.cuda.synchronize(world.device)
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds[WARM_UP:])


def _equal(values: torch.Tensor) -> Sequences:
    return Sequences(values, torch.full((len(values),), values.shape[1]))
