"""Kaldi's filter banks for a whole batch, where the batch is."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from transformers import SeamlessM4TFeatureExtractor
from typing_extensions import override

from trainables.sequences import Sequences

WINDOW, HOP, TRANSFORM = 400, 160, 512
"""Samples of a frame, from one frame to the next, and of its Fourier transform."""
PREEMPHASIS = 0.97
FLOOR = 1.192092955078125e-07
"""Least energy in a bin: the step of a float32 at 1, as in Kaldi."""


class LogEnergies(nn.Module):
    """Kaldi's logarithms of the energies in 80 mel bins, a frame each 10 ms, without dither."""

    window: Tensor
    filters: Tensor

    def __init__(self, *, saved: bool = False) -> None:
        """`saved` puts window and filters into files of weights: from_pretrained forgets all that is not in these."""
        super().__init__()
        extractor = SeamlessM4TFeatureExtractor()
        self.register_buffer("window", torch.tensor(extractor.window, dtype=torch.float32), persistent=saved)
        self.register_buffer("filters", torch.tensor(extractor.mel_filters, dtype=torch.float32), persistent=saved)

    def forward(self, audio: Sequences) -> Sequences:
        """Log energies (batch, 10 ms frames, 80) of the windows that fit into each clip; beyond these, of its padding.

        Unlike those of other sequences, the values in padding are not zero: zero is a loud frame here.
        """
        with torch.autocast(audio.values.device.type, enabled=False):
            energies = self._energies(audio.values.float())
        return Sequences(energies, ((audio.lengths - WINDOW).div(HOP, rounding_mode="floor") + 1).clamp(min=0))

    def _energies(self, samples: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch frames bins"]:
        samples = functional.pad(samples, (0, max(0, WINDOW - samples.shape[1])))
        windows = samples.unfold(1, WINDOW, HOP) * 2**15  # Kaldi counts in 16-bit integers
        windows = windows - windows.mean(dim=2, keepdim=True)
        before = torch.cat([windows[:, :, :1], windows[:, :, :-1]], dim=2)
        spectrum = torch.fft.rfft((windows - PREEMPHASIS * before) * self.window, n=TRANSFORM)
        return (spectrum.abs().square() @ self.filters).clamp(min=FLOOR).log()


class KaldiFilterBanks(LogEnergies):
    """Two frames of 10 ms side by side, 80 bins each, as w2v-BERT 2.0 was pretrained on them.

    The same as `SeamlessM4TFeatureExtractor`, which takes one clip after the other, on the host.
    """

    @override
    def forward(self, audio: Sequences) -> Sequences:
        """Standardised log energies (batch, 20 ms frames, 160)."""
        energies = super().forward(audio)
        values = _standardised(energies)
        values = functional.pad(values, (0, 0, 0, values.shape[1] % 2))
        # A last frame without a second one is kept in a batch's padding, but does not count.
        return Sequences(values.unflatten(1, (-1, 2)).flatten(2), energies.lengths // 2).zero_padded()


def _standardised(energies: Sequences) -> Float[Tensor, "batch frames bins"]:
    """Each clip's bins with zero mean and unit variance over its frames."""
    mask, count = energies.mask[:, :, None], energies.lengths[:, None, None]
    centred = (energies.values - (energies.values * mask).sum(dim=1, keepdim=True) / count) * mask
    variance = centred.square().sum(dim=1, keepdim=True) / (count - 1).clamp(min=1)
    return centred / (variance + 1e-7).sqrt()
