"""transformers' speech encoders behind one interface: 16 kHz waveforms in, hidden states out, usually 50 a second."""

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torchaudio
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from trainables.corpora.audio import SAMPLE_RATE
from trainables.sequences import Sequences
from trainables.students import padding
from trainables.students.fbank import KaldiFilterBanks

if TYPE_CHECKING:
    from transformers.models.whisper.modeling_whisper import WhisperEncoder


class WaveformEncoder(nn.Module):
    """wav2vec 2.0, HuBERT, WavLM, data2vec-audio: convolutions over the waveform, then a transformer."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        model._mask_hidden_states = partial(_hidden_away, model)
        self.lengths = padding.kept_out(model)

    def forward(self, audio: Sequences, masked: Bool[Tensor, "batch frames"] | None) -> Sequences:
        """Hidden states (batch, frames, features) of waveforms (batch, samples), whose `masked` frames are hidden."""
        waveform = standardise(audio)
        lengths = self.model._get_feat_extract_output_lengths(audio.lengths)
        self.lengths.samples, self.lengths.frames = audio.lengths, lengths
        frames = int(self.model._get_feat_extract_output_lengths(waveform.shape[1]))
        output = self.model(
            waveform,
            attention_mask=audio.mask.long(),
            mask_time_indices=None if masked is None else fit_frames(masked, frames),
        )
        return Sequences(output.last_hidden_state, lengths).zero_padded()


class Wav2Vec2BertEncoder(nn.Module):
    """w2v-BERT 2.0: a Conformer over stacked Kaldi filter banks."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.front_end = KaldiFilterBanks()
        model._mask_hidden_states = partial(_hidden_away, model)

    def forward(self, audio: Sequences, masked: Bool[Tensor, "batch frames"] | None) -> Sequences:
        """Hidden states (batch, frames, features) of waveforms (batch, samples), whose `masked` frames are hidden."""
        features = self.front_end(audio)
        output = self.model(
            features.values,
            attention_mask=features.mask.long(),
            mask_time_indices=None if masked is None else fit_frames(masked, features.values.shape[1]),
        )
        return Sequences(output.last_hidden_state, features.lengths).zero_padded()


def _hidden_away(
    model: Any,
    hidden_states: Float[Tensor, "batch frames features"],
    mask_time_indices: Bool[Tensor, "batch frames"] | None = None,
    attention_mask: Tensor | None = None,
) -> Float[Tensor, "batch frames features"]:
    """`hidden_states` with the mask's embedding on the masked frames.

    In place of transformers' own method, which indexes with the mask: for that the host waits for the device.
    """
    if mask_time_indices is None:
        return hidden_states
    return torch.where(mask_time_indices[:, :, None], model.masked_spec_embed.to(hidden_states.dtype), hidden_states)


class WhisperFrames(nn.Module):
    """Whisper's encoder on clips of any length up to its 30 s.

    transformers insists on 30 s of input; cutting the table of positions to the clip and masking attention
    gives the same model at a fraction of the cost.
    """

    def __init__(self, encoder: "WhisperEncoder") -> None:
        super().__init__()
        self.encoder = encoder
        encoder.embed_positions.requires_grad_(False)  # fixed sinusoids, which from_pretrained forgets
        with torch.device("cpu"):  # from_pretrained builds on the meta device, where filters cannot be computed
            self.mel = torchaudio.transforms.MelSpectrogram(
                SAMPLE_RATE,
                n_fft=400,
                hop_length=160,
                n_mels=encoder.num_mel_bins,
                norm="slaney",
                mel_scale="slaney",
            )

    def forward(self, audio: Sequences, masked: Bool[Tensor, "batch frames"] | None) -> Sequences:
        """Hidden states (batch, frames, features) of waveforms (batch, samples), whose `masked` frames are hidden."""
        mel = self._log_mel(audio)
        if masked is not None:
            hidden_away = fit_frames(masked, -(-mel.values.shape[1] // 2)).repeat_interleave(2, dim=1)
            mel = Sequences(mel.values.masked_fill(hidden_away[:, : mel.values.shape[1], None], 0), mel.lengths)
        lengths = (mel.lengths + 1) // 2
        # Zeros beyond each length before every convolution: a clip alone sees the same.
        hidden = functional.gelu(self.encoder.conv1(mel.values.transpose(1, 2))).transpose(1, 2)
        hidden = Sequences(hidden, mel.lengths).zero_padded().values
        hidden = functional.gelu(self.encoder.conv2(hidden.transpose(1, 2))).transpose(1, 2)
        frames = hidden.shape[1]
        if frames > self.encoder.max_source_positions:
            raise ValueError(
                f"A clip must have at most {self.encoder.max_source_positions} frames for Whisper, but has {frames}."
            )
        hidden = hidden + self.encoder.embed_positions.weight[:frames]
        hidden = functional.dropout(hidden, self.encoder.dropout, self.training)
        valid = Sequences(hidden, lengths).mask
        mask = torch.zeros_like(valid, dtype=hidden.dtype).masked_fill(~valid, torch.finfo(hidden.dtype).min)
        for layer in self.encoder.layers:
            if self.training and torch.rand([]) < self.encoder.layerdrop:
                continue
            hidden = layer(hidden, mask[:, None, None, :])
        return Sequences(self.encoder.layer_norm(hidden), lengths).zero_padded()

    def _log_mel(self, audio: Sequences) -> Sequences:
        """Whisper's log-mel features (batch, 10 ms frames, bins): log10, floored 8 below each clip's peak."""
        # Half a window of zeros, so that the last frames are the same with and without padding.
        padded = functional.pad(audio.values.float(), (0, 400))
        with torch.autocast(padded.device.type, enabled=False):
            power: Float[Tensor, "batch bins frames"] = self.mel(padded)
        lengths = (audio.lengths + 159) // 160
        frames = -(-audio.values.shape[1] // 160)
        logarithm = power[:, :, :frames].clamp(min=1e-10).log10().transpose(1, 2)
        valid = Sequences(logarithm, lengths).mask[:, :, None]
        peak = logarithm.masked_fill(~valid, -torch.inf).amax(dim=(1, 2), keepdim=True)
        return Sequences((torch.maximum(logarithm, peak - 8) + 4) / 4, lengths).zero_padded()


def standardise(audio: Sequences) -> Float[Tensor, "batch samples"]:
    """Each waveform with zero mean and unit variance, as the encoders were pretrained on; padding stays 0."""
    mask, lengths = audio.mask, audio.lengths[:, None]
    centred = (audio.values - audio.values.sum(dim=1, keepdim=True) / lengths) * mask
    variance = centred.square().sum(dim=1, keepdim=True) / lengths
    return centred / (variance + 1e-7).sqrt()


def fit_frames(masked: Bool[Tensor, "batch frames"], frames: int) -> Bool[Tensor, "batch {frames}"]:
    """Time masks (batch, frames) cut or padded to the frames that an encoder makes of the same clips.

    The loader draws masks over samples // hop frames, 50 of a second; wav2vec 2.0 makes 49 of it (frames.py).
    """
    return functional.pad(masked, (0, max(0, frames - masked.shape[1])))[:, :frames]
