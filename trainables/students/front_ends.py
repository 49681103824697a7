"""Front-ends of students whose Transformer is not the one that these were made for: waveforms in, frames out."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from trainables.sequences import Sequences
from trainables.students.fbank import HOP, WINDOW, LogEnergies
from trainables.students.whisper_parts import convolved, log_mel, mel_spectrogram, positioned

if TYPE_CHECKING:
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

BINS = 80


class FrontEnd(nn.Module, ABC):
    """Waveforms (batch, samples) at 16 kHz to 50 frames a second as a Transformer takes them."""

    @abstractmethod
    def forward(self, audio: Sequences) -> Sequences:
        """Frames (batch, frames, features)."""

    @property
    @abstractmethod
    def convolutions(self) -> tuple[nn.Module, ...]:
        """Its parts with weights, the lowest first; all goes through the last."""


class FilterBankFrontEnd(FrontEnd):
    """Kaldi's log-mel features, a convolution of stride 2 with a gated linear unit, and a linear layer (§3.3).

    From n samples come exactly the ⌊(n − 400) / 320⌋ + 1 frames that the convolutions of wav2vec 2.0 and HuBERT make,
    frame t of the samples from 320 t to 320 t + 400 as theirs. `centred` makes ⌈⌈n / 160⌉ / 2⌉ instead, around the
    samples 320 t, which are Whisper's.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        width: int,
        moments: Float[Tensor, "2 bins"] | None = None,
        *,
        dropout: float = 0.1,
        centred: bool = False,
    ) -> None:
        """`moments` are the mean and the variance of each bin over a corpus; without, the features stay as they are."""
        super().__init__()
        self.centred, self.energies = centred, LogEnergies(saved=True)
        mean, variance = (torch.zeros(BINS), torch.ones(BINS)) if moments is None else moments
        self.register_buffer("mean", mean.clone())
        self.register_buffer("deviation", (variance + 1e-7).sqrt())
        self.convolution = nn.Conv1d(BINS, 2 * width, kernel_size=5, stride=2, padding=2)
        self.linear, self.dropout = nn.Linear(width, width), nn.Dropout(dropout)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    @property
    @override
    def convolutions(self) -> tuple[nn.Module, ...]:
        return self.convolution, self.linear

    @override
    def forward(self, audio: Sequences) -> Sequences:
        energies = self.energies(_centred(audio) if self.centred else audio)
        # Zeros beyond each length, as the convolution sees them beyond the end of a clip alone.
        features = Sequences((energies.values - self.mean) / self.deviation, energies.lengths).zero_padded()
        hidden = functional.glu(self.convolution(features.values.transpose(1, 2)), dim=1).transpose(1, 2)
        return Sequences(self.dropout(self.linear(hidden)), (features.lengths + 1) // 2).zero_padded()


def _centred(audio: Sequences) -> Sequences:
    """Clips with so much silence around them that ⌈n / 160⌉ windows fit, the first one around the first sample."""
    hops, longest = (audio.lengths + HOP - 1) // HOP, -(-audio.values.shape[1] // HOP)
    before, samples = WINDOW // 2, (longest - 1) * HOP + WINDOW
    values = functional.pad(audio.values, (before, samples - before - audio.values.shape[1]))
    return Sequences(values, (hops - 1) * HOP + WINDOW)


class WhisperStem(FrontEnd):
    """Whisper's log-mel features, its two convolutions and positions, and a linear layer to another width."""

    def __init__(self, encoder: "WhisperEncoder", width: int) -> None:
        """Takes the convolutions and positions of `encoder`, which share their weights then."""
        super().__init__()
        self.mel = mel_spectrogram(encoder.num_mel_bins)
        self.conv1, self.conv2, self.positions = encoder.conv1, encoder.conv2, encoder.embed_positions
        self.positions.requires_grad_(False)
        self.projection = nn.Linear(encoder.config.d_model, width)

    @property
    @override
    def convolutions(self) -> tuple[nn.Module, ...]:
        return self.conv1, self.conv2

    @override
    def forward(self, audio: Sequences) -> Sequences:
        frames = positioned(self.positions, convolved(self.conv1, self.conv2, log_mel(self.mel, audio)))
        return Sequences(self.projection(frames.values), frames.lengths).zero_padded()
