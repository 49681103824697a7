"""Speech encoders put together from a front-end and a Transformer that were not made for each other."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import PreTrainedModel
from typing_extensions import override

from trainables.sequences import Sequences
from trainables.students.encoders import SpeechEncoder, fit_frames
from trainables.students.front_ends import FrontEnd
from trainables.students.noted import hide
from trainables.students.padding import Lengths, kept_out_of_positions
from trainables.students.whisper_parts import positioned, transformed

if TYPE_CHECKING:
    from transformers.models.whisper.modeling_whisper import WhisperEncoder


class Transformer(nn.Module, ABC):
    """The part of an encoder above its front-end and projection: positions, layers, norm."""

    width: int
    skips_layers: bool
    pre_norm: bool

    @abstractmethod
    def forward(self, frames: Sequences) -> Sequences:
        """Hidden states of frames, both (batch, frames, features)."""

    @property
    @abstractmethod
    def layers(self) -> nn.ModuleList:
        """Its layers, the lowest first."""


class ConvolutionalPositions(Transformer):
    """The Transformer of wav2vec 2.0, HuBERT, WavLM or data2vec: positions come from a convolution over its frames."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Takes the encoder of `model`, with which it shares its weights then."""
        super().__init__()
        config: Any = model.config
        self.encoder: Any = model.encoder
        self.width, self.skips_layers = config.hidden_size, config.layerdrop > 0
        self.pre_norm = getattr(config, "do_stable_layer_norm", False)
        self.lengths = Lengths()
        kept_out_of_positions(self.encoder, self.lengths)

    @property
    @override
    def layers(self) -> nn.ModuleList:
        return self.encoder.layers

    @override
    def forward(self, frames: Sequences) -> Sequences:
        self.lengths.frames = frames.lengths
        # A copy, since the encoder writes zeros into the padding of what it is given.
        output = self.encoder(frames.values.clone(), attention_mask=frames.mask)
        return Sequences(output.last_hidden_state, frames.lengths).zero_padded()


class WhisperLayers(Transformer):
    """The Transformer of Whisper's encoder: positions are a table of sinusoids."""

    pre_norm = True

    def __init__(self, encoder: "WhisperEncoder") -> None:
        """Takes `encoder`, whose convolutions are removed."""
        super().__init__()
        del encoder.conv1, encoder.conv2
        encoder.embed_positions.requires_grad_(False)
        self.encoder = encoder
        self.width, self.skips_layers = encoder.config.d_model, encoder.config.encoder_layerdrop > 0

    @property
    @override
    def layers(self) -> nn.ModuleList:
        return self.encoder.layers

    @override
    def forward(self, frames: Sequences) -> Sequences:
        return transformed(self.encoder, positioned(self.encoder.embed_positions, frames))


class ComposedEncoder(SpeechEncoder):
    """A front-end and a Transformer of the same width, and between them the masks of SpecAugment."""

    def __init__(self, front_end: FrontEnd, transformer: Transformer) -> None:
        super().__init__()
        self.front_end, self.transformer = front_end, transformer
        self.width, self.skips_layers = transformer.width, transformer.skips_layers
        self.pre_norm = transformer.pre_norm
        self.mask_embedding: Float[Tensor, " features"] = nn.Parameter(torch.empty(self.width).uniform_())

    @property
    @override
    def layers(self) -> nn.ModuleList:
        return self.transformer.layers

    @property
    @override
    def convolutions(self) -> tuple[nn.Module, ...]:
        return self.front_end.convolutions

    @override
    def forward(
        self,
        audio: Sequences,
        masked: Bool[Tensor, "batch frames"] | None,
        channels: Bool[Tensor, "batch features"] | None = None,
    ) -> Sequences:
        frames = self.front_end(audio)
        if masked is not None:
            masked = fit_frames(masked, frames.values.shape[1])
        return self.transformer(
            Sequences(hide(frames.values, masked, channels, self.mask_embedding), frames.lengths).zero_padded()
        )
