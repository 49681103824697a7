"""Bidirectional LSTMs over frames, and the encoder of LAS: convolutions over filter banks below them."""

from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from typing_extensions import override

from trainables.config import Config
from trainables.sequences import Sequences, mask_of
from trainables.students.batch_norm import MaskedBatchNorm, Valid, settle
from trainables.students.encoders import SpeechEncoder
from trainables.students.mel import BANDS, MelBands

Size = Annotated[int, Field(gt=0)]


class ConvBlstm(Config):
    """The encoder of LAS in Lingvo's `Librispeech960Wpm`, with random weights: 101.8 M parameters, a frame each 40 ms.

    Two convolutions of 3 × 3 and stride 2, each with batch norm and a ReLU, then bidirectional LSTMs, and after each of
    these but the last a projection with batch norm and a ReLU.
    """

    kind: Literal["conv_blstm"] = "conv_blstm"
    channels: Size = 32
    layers: Size = 4
    cells: Size = 1024
    """Cells of an LSTM in each direction."""

    def build(self, moments: Float[Tensor, "2 bands"] | None = None) -> "ConvBlstmEncoder":
        """The encoder, its weights from torch's generator; `moments` are those of the filter banks over the corpus."""
        return ConvBlstmEncoder(MelBands(moments), self.channels, self.layers, self.cells)


class ConvBlstmEncoder(SpeechEncoder):
    """Waveforms to hidden states, 25 a second."""

    skips_layers = False
    pre_norm = False

    def __init__(self, bands: MelBands, channels: int, layers: int, cells: int) -> None:
        super().__init__()
        self.bands, self.width = bands, 2 * cells
        self.valid = [Valid(), Valid(), Valid()]  # after each of the convolutions, and of the LSTMs
        self.kernels = nn.ModuleList(
            nn.Conv2d(size, channels, 3, stride=2, padding=1, bias=False) for size in (1, channels)
        )
        self.conv_norms = nn.ModuleList(MaskedBatchNorm(channels, valid) for valid in self.valid[:2])
        sizes = [channels * BANDS // 4, *[self.width] * (layers - 1)]
        self.blstms = nn.ModuleList(Blstm(size, cells) for size in sizes)
        self.projections = nn.ModuleList(nn.Linear(self.width, self.width, bias=False) for _ in sizes[1:])
        self.norms = nn.ModuleList(MaskedBatchNorm(self.width, self.valid[2]) for _ in sizes[1:])
        self.batch_norms = [module for module in self.modules() if isinstance(module, MaskedBatchNorm)]

    @property
    @override
    def layers(self) -> nn.ModuleList:
        return self.blstms

    @property
    @override
    def convolutions(self) -> tuple[nn.Module, ...]:
        return *self.kernels, *self.conv_norms

    @override
    def forward(
        self,
        audio: Sequences,
        masked: Bool[Tensor, "batch frames"] | None,
        channels: Bool[Tensor, "batch features"] | None = None,
    ) -> Sequences:
        """Hidden states (batch, frames, features); `masked` are frames of 10 ms and `channels` mel bands."""
        frames = self._convolved(self.bands(audio, masked, channels))
        self.valid[2].mask = frames.mask
        lengths = frames.lengths.cpu()  # once, as whoever packs sequences waits for it
        for i, blstm in enumerate(self.blstms):
            frames = Sequences(blstm(frames.values, lengths), frames.lengths)
            if i < len(self.projections):
                projected = self.norms[i](self.projections[i](frames.values).transpose(1, 2)).transpose(1, 2)
                frames = Sequences(functional.relu(projected), frames.lengths).zero_padded()
        if self.training:
            settle(self.batch_norms)
        return frames

    def _convolved(self, features: Sequences) -> Sequences:
        """Frames (batch, frames / 4, channels × bands / 4), zero beyond each length before every convolution."""
        hidden, lengths = features.values[:, None], features.lengths  # (batch, channels, frames, bands)
        for kernel, norm, valid in zip(self.kernels, self.conv_norms, self.valid, strict=False):
            hidden, lengths = kernel(hidden), (lengths + 1) // 2
            valid.mask = mask_of(lengths, hidden.shape[2])
            hidden = functional.relu(norm(hidden)).masked_fill(~valid.mask[:, None, :, None], 0)
        return Sequences(hidden.transpose(1, 2).flatten(2), lengths)


class Blstm(nn.Module):
    """A bidirectional LSTM whose backward direction begins at the end of each sequence, not of its padding."""

    def __init__(self, features: int, cells: int) -> None:
        """Weights are drawn from U(−0.1, 0.1), biases are 0 (Lingvo)."""
        super().__init__()
        self.lstm = nn.LSTM(features, cells, batch_first=True, bidirectional=True)
        draw_evenly(self.lstm, 0.1)

    def forward(
        self, values: Float[Tensor, "batch frames features"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch frames hidden"]:
        """Hidden states (batch, frames, 2 × cells), 0 beyond each length; `lengths`, at least 1, are on the CPU."""
        packed = pack_padded_sequence(values, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=values.shape[1])[0]


@torch.no_grad()
def draw_evenly(module: nn.Module, bound: float) -> None:
    """Draw the matrices of a module from U(−bound, bound), and make its biases 0."""
    for weight in module.parameters():
        if weight.dim() > 1:
            weight.uniform_(-bound, bound)
        else:
            weight.zero_()
