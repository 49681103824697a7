"""The Conformer (arXiv 2005.08100) over filter banks: transformers' `ParakeetEncoder`, by its config.

What differs from the paper: the second convolution of the subsampling is separable, as in NVIDIA's models, and the
kernel of the convolutions in the blocks is 31 frames, as an even one has no middle. What transformers leaves out is put
back: dropout on each residual branch, and batch norm that does not see padding.
"""

from functools import partial
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel, ParakeetEncoder, ParakeetEncoderConfig
from typing_extensions import override

from trainables.config import Config
from trainables.sequences import Sequences, mask_of
from trainables.students.attention import attention
from trainables.students.batch_norm import MaskedBatchNorm, Valid, settle
from trainables.students.encoders import SpeechEncoder
from trainables.students.mel import BANDS, MelBands

SUBSAMPLING = 4
"""Frames of filter banks for one of the encoder, which are 40 ms apart."""
Size = Annotated[int, Field(gt=0)]


class Conformer(Config):
    """A Conformer with random weights; by default that of arXiv 2202.07894 §3, 110.2 M parameters.

    The paper calls it ConformerS, but describes Conformer-L; `CONFORMER_S` is the smallest of arXiv 2005.08100.
    """

    kind: Literal["conformer"] = "conformer"
    layers: Size = 17
    width: Size = 512
    heads: Size = 8
    feed_forward: Size = 2048
    kernel: Size = 31
    """Frames of the blocks' convolutions, an odd number."""
    channels: Size = 256
    """Channels of the convolutions below the blocks."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """On the input of the blocks and on each residual branch (arXiv 2005.08100 §3.2)."""

    @model_validator(mode="after")
    def _fits(self) -> "Conformer":
        if self.width % (2 * self.heads):
            raise ValueError(
                f"`width` must be a multiple of twice the heads, {2 * self.heads}, but is {self.width} instead."
            )
        if self.kernel % 2 == 0:
            raise ValueError(f"`kernel` must be odd, but is {self.kernel} instead.")
        return self

    def build(self, moments: Float[Tensor, "2 bands"] | None = None) -> "ConformerEncoder":
        """The encoder, its weights from torch's generator; `moments` are those of the filter banks over the corpus."""
        config = ParakeetEncoderConfig(
            hidden_size=self.width, num_hidden_layers=self.layers, num_attention_heads=self.heads,
            intermediate_size=self.feed_forward, conv_kernel_size=self.kernel, subsampling_factor=SUBSAMPLING,
            subsampling_conv_channels=self.channels, num_mel_bins=BANDS, scale_input=False, layerdrop=0.0,
            dropout=self.dropout, attention_dropout=0.0, activation_dropout=0.0,
        )  # fmt: skip
        model = AutoModel.from_config(config, dtype=torch.float32, attn_implementation=attention(ParakeetEncoder))
        return ConformerEncoder(model, MelBands(moments), self.dropout)


CONFORMER_S = Conformer(layers=16, width=144, heads=4, feed_forward=576, channels=144)
"""Conformer (S) of arXiv 2005.08100, Table 1; 8.5 M parameters."""


class ConformerEncoder(SpeechEncoder):
    """Waveforms to hidden states, 25 a second."""

    skips_layers = False
    pre_norm = False

    def __init__(self, model: ParakeetEncoder, bands: MelBands, dropout: float = 0.0) -> None:
        """`dropout` is that of each residual branch."""
        super().__init__()
        self.model, self.bands = model, bands
        self.width = model.config.hidden_size
        self.valid, self.norms = Valid(), []
        for block in self.layers:
            parts: Any = block
            parts.conv.norm = MaskedBatchNorm(self.width, self.valid)
            self.norms.append(parts.conv.norm)
            for branch in _ends_of_branches(parts):
                branch.register_forward_hook(partial(_dropped, dropout))

    @property
    @override
    def layers(self) -> nn.ModuleList:
        return self.model.layers

    @property
    @override
    def convolutions(self) -> tuple[nn.Module, ...]:
        return (self.model.subsampling,)

    @override
    def forward(
        self,
        audio: Sequences,
        masked: Bool[Tensor, "batch frames"] | None,
        channels: Bool[Tensor, "batch features"] | None = None,
    ) -> Sequences:
        """Hidden states (batch, frames, features); `masked` are frames of 10 ms and `channels` mel bands."""
        features = self.bands(audio, masked, channels)
        lengths, frames = features.lengths, features.values.shape[1]
        for _ in range(2):  # convolutions of stride 2
            lengths, frames = (lengths + 1) // 2, (frames + 1) // 2
        self.valid.mask = mask_of(lengths, frames)
        hidden = self.model(features.values, attention_mask=features.mask).last_hidden_state
        if self.training:
            settle(self.norms)
        return Sequences(hidden, lengths).zero_padded()


def _ends_of_branches(block: Any) -> tuple[nn.Module, ...]:
    """The last layer of each of a block's four residual branches."""
    return block.feed_forward1.linear2, block.self_attn.o_proj, block.conv.pointwise_conv2, block.feed_forward2.linear2


def _dropped(probability: float, module: nn.Module, _: Any, output: Tensor) -> Tensor:
    return functional.dropout(output, probability, module.training)
