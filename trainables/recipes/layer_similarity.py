"""The similarity of a student's layers before and after fine-tuning (arXiv 2210.15631 §4.4, Figure 3).

Both networks hear the same clips of the first test set, in evaluation mode and in float32; of each layer, all frames of
all clips are compared. Of the paper's 100 clips of test-clean nothing is known but their number: here they are spread
over the split, so that they are of many speakers.
"""

from collections.abc import Iterator
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from trainables.batch import Batch
from trainables.config import Config
from trainables.corpora.audio import SAMPLE_RATE
from trainables.corpora.batching import BySeconds, Loader
from trainables.corpora.prepared import PreparedSplit
from trainables.corpora.sources import Indices
from trainables.similarity import LEAST, ProjectionWeighted, Similarity
from trainables.students.encoders import SpeechEncoder
from trainables.students.frames import Frames


class LayerSimilarity(Config):
    """How alike the layers of a student are before and after it is fine-tuned, and over which clips."""

    clips: Annotated[int, Field(ge=0)] = 100
    """Clips of the first test set, or all that it has; 0 for no comparison."""
    measure: Similarity = ProjectionWeighted()
    """The weights of the canonical correlations are those of the student before fine-tuning: not symmetric."""

    def reports(self, depth: int) -> tuple[str, ...]:
        """Names of the values for a student of `depth` layers: its input, each layer, and the mean over all."""
        return (*(f"similarity/layer_{n}" for n in range(depth + 1)), "similarity/mean") if self.clips else ()

    def check(self, split: PreparedSplit, frames: Frames, width: int) -> None:
        """Raises ValueError where the clips have fewer than ten frames for each of the student's features."""
        there = sum(frames.count(int(samples)) for samples in split.samples[self.chosen(split)])
        if self.clips and there < LEAST * width:
            raise ValueError(
                f"The clips on which layers are compared must have at least {LEAST} frames for each of the student's "
                f"{width} features, {LEAST * width}, but {len(self.chosen(split))} clips have {there}: take more by "
                "`similarity.clips`, or 0 for no comparison."
            )

    def chosen(self, split: PreparedSplit) -> Indices:
        """The clips, evenly spread over the split."""
        count = min(self.clips, len(split))
        return np.arange(count) * len(split) // max(count, 1)

    @torch.no_grad()
    def compare(
        self,
        before: SpeechEncoder,
        after: SpeechEncoder,
        split: PreparedSplit,
        *,
        seconds: float,
        device: torch.device,
    ) -> dict[str, float]:
        """The values of `reports`. Both networks stay on the device, in evaluation mode.

        `seconds` are the padded seconds in one batch. The states wait in main memory, as float32: of 100 clips of 7.4 s
        and 12 layers of 480, 0.9 GB for each network.
        """
        networks = [network.to(device).eval() for network in (before, after)]
        found: list[list[dict[int, Tensor]]] = [[], []]
        layers = range(len(before.layers) + 1)
        for batch in self._batches(split, seconds):
            audio = batch.to(device).audio
            for network, states in zip(networks, found, strict=True):
                hidden = network.states(audio, layers)
                states.append({n: value.values[value.mask].float().cpu() for n, value in hidden.items()})
        alike = [self.measure(*(_layer(states, n) for states in found)) for n in layers]
        return dict(zip(self.reports(layers[-1]), [*alike, sum(alike) / len(alike)], strict=True))

    def _batches(self, split: PreparedSplit, seconds: float) -> Iterator[Batch]:
        chosen = self.chosen(split)
        order = chosen[np.argsort(split.samples[chosen], kind="stable")]
        cuts = BySeconds(seconds=seconds).cut(split.samples[order] / SAMPLE_RATE)[1:]
        return (Loader(split).batch(indices, scale=1.0, seed=None) for indices in np.split(order, cuts))


def _layer(states: list[dict[int, Tensor]], number: int) -> Float[Tensor, "frames features"]:
    return torch.cat([batch.pop(number) for batch in states])
