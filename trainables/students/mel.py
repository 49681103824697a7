"""Log-mel filter banks as recognisers take them that are trained from nothing: normalised, with SpecAugment's masks."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from trainables.sequences import Sequences
from trainables.students.encoders import fit_frames
from trainables.students.fbank import LogEnergies

BANDS = 80


class MelBands(nn.Module):
    """80 log-mel energies each 10 ms, with the mean 0 and the variance 1 that they have over a corpus."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, moments: Float[Tensor, "2 bands"] | None = None) -> None:
        """`moments` are the mean and the variance of each band over a corpus; without, the energies stay as they are.

        A student's file has the moments, so that they are those of its training wherever it is used.
        """
        super().__init__()
        self.energies = LogEnergies()
        mean, variance = (torch.zeros(BANDS), torch.ones(BANDS)) if moments is None else moments
        self.register_buffer("mean", mean.clone())
        self.register_buffer("deviation", (variance + 1e-7).sqrt())

    def forward(
        self,
        audio: Sequences,
        masked: Bool[Tensor, "batch frames"] | None,
        bands: Bool[Tensor, "batch bands"] | None,
    ) -> Sequences:
        """Features (batch, frames, 80) of waveforms (batch, samples), the mean where they are hidden.

        A clip that is shorter than one window is one frame of means.
        """
        energies = self.energies(audio)
        values = (energies.values - self.mean) / self.deviation
        if masked is not None:
            values = values.masked_fill(fit_frames(masked, values.shape[1])[:, :, None], 0)
        if bands is not None:
            values = values.masked_fill(bands[:, None], 0)
        features = Sequences(values, energies.lengths).zero_padded()
        return Sequences(features.values, features.lengths.clamp(min=1))
