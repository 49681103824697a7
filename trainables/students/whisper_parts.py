"""The parts of Whisper's encoder on clips of any length: log-mel features, convolutions, positions, Transformer.

transformers insists on 30 s of input; cutting the table of positions to the clip and masking attention gives the same
model at a fraction of the cost.
"""

from typing import TYPE_CHECKING

import torch
import torchaudio
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from trainables.corpora.audio import SAMPLE_RATE
from trainables.sequences import Sequences

if TYPE_CHECKING:
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

HOP, TRANSFORM = 160, 400
"""Samples from one frame to the next, and of its window and Fourier transform."""


def mel_spectrogram(bins: int) -> torchaudio.transforms.MelSpectrogram:
    """Whisper's filters over the powers of a clip."""
    with torch.device("cpu"):  # from_pretrained builds on the meta device, where filters cannot be computed
        return torchaudio.transforms.MelSpectrogram(
            SAMPLE_RATE, n_fft=TRANSFORM, hop_length=HOP, n_mels=bins, norm="slaney", mel_scale="slaney"
        )


def log_mel(mel: torchaudio.transforms.MelSpectrogram, audio: Sequences) -> Sequences:
    """Whisper's log-mel features (batch, 10 ms frames, bins): log10, floored 8 below each clip's peak."""
    # Half a window of zeros, so that the last frames are the same with and without padding.
    padded = functional.pad(audio.values.float(), (0, TRANSFORM))
    with torch.autocast(padded.device.type, enabled=False):
        power: Float[Tensor, "batch bins frames"] = mel(padded)
    lengths = (audio.lengths + HOP - 1) // HOP
    frames = -(-audio.values.shape[1] // HOP)
    logarithm = power[:, :, :frames].clamp(min=1e-10).log10().transpose(1, 2)
    valid = Sequences(logarithm, lengths).mask[:, :, None]
    peak = logarithm.masked_fill(~valid, -torch.inf).amax(dim=(1, 2), keepdim=True)
    return Sequences((torch.maximum(logarithm, peak - 8) + 4) / 4, lengths).zero_padded()


def convolved(first: nn.Conv1d, second: nn.Conv1d, mel: Sequences) -> Sequences:
    """Log-mel features after the two convolutions, of which the second halves the frames: (batch, frames, features)."""
    # Zeros beyond each length before every convolution: a clip alone sees the same.
    hidden = functional.gelu(first(mel.values.transpose(1, 2))).transpose(1, 2)
    hidden = Sequences(hidden, mel.lengths).zero_padded().values
    hidden = functional.gelu(second(hidden.transpose(1, 2))).transpose(1, 2)
    return Sequences(hidden, (mel.lengths + 1) // 2).zero_padded()


def positioned(positions: nn.Embedding, hidden: Sequences) -> Sequences:
    """The same frames with their positions added. Raises ValueError when a clip has more frames than positions."""
    frames = hidden.values.shape[1]
    if frames > positions.num_embeddings:
        raise ValueError(f"A clip must have at most {positions.num_embeddings} frames for Whisper, but has {frames}.")
    return Sequences(hidden.values + positions.weight[:frames], hidden.lengths)


def transformed(encoder: "WhisperEncoder", frames: Sequences) -> Sequences:
    """Frames with their positions after dropout, the encoder's layers and its last norm."""
    hidden, valid = functional.dropout(frames.values, encoder.dropout, encoder.training), frames.mask
    mask = torch.zeros_like(valid, dtype=hidden.dtype).masked_fill(~valid, torch.finfo(hidden.dtype).min)
    for layer in encoder.layers:
        if encoder.training and torch.rand([]) < encoder.layerdrop:
            continue
        hidden = layer(hidden, mask[:, None, None, :])
    return Sequences(encoder.layer_norm(hidden), frames.lengths).zero_padded()
