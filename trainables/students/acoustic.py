"""Encoders under the decoders of `las.py` and `transducer.py`: trained from nothing, pretrained, or frozen and cached.

All make frames of a batch. What is drawn in training is hidden where the encoder takes it in: in filter banks the
masks of `spec_augment.py`, in a pretrained encoder those of `batching.py`; cached hidden states have none.
"""

from typing import Annotated, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from trainables.batch import Batch
from trainables.config import Config
from trainables.corpora.spec_augment import MEL_BANDS, MEL_HOP
from trainables.sequences import Sequences
from trainables.students.batch_norm import MaskedBatchNorm
from trainables.students.conformer import Conformer
from trainables.students.ctc import CTCStudent, Encoder, Pretrained, Regularisation, architecture
from trainables.students.encoders import SpeechEncoder, speech_encoder
from trainables.students.frames import Frames
from trainables.students.recurrent import Blstm, ConvBlstm

Size = Annotated[int, Field(gt=0)]
STATES = "states"
"""Name of the source of a batch in which cached hidden states are."""


class Top(Config):
    """What stands between a pretrained encoder and a decoder: fewer frames, and bidirectional LSTMs above them."""

    stack: Size = 2
    """Neighbouring frames that become one: 2 of 20 ms are 40 ms."""
    cells: Size = 128
    """Cells of an LSTM in each direction; a frame has twice as many features."""
    layers: Annotated[int, Field(ge=0)] = 2
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """On the frames and on the output of each LSTM."""


class FineTuned(Config):
    """A pretrained encoder of any family, trained along (arXiv 2202.07894 §3.4), or its architecture from nothing."""

    kind: Literal["fine_tuned"] = "fine_tuned"
    encoder: Encoder
    regularisation: Regularisation = Regularisation()
    freeze_feature_encoder: bool = True
    """Keep the convolutions over the waveform as they are."""
    top: Top = Top()


class Cached(Config):
    """The hidden states of a frozen pretrained encoder, computed once: the batch brings them in its source `states`."""

    kind: Literal["cached"] = "cached"
    encoder: Pretrained
    top: Top = Top()


AcousticEncoder = Annotated[ConvBlstm | Conformer | FineTuned | Cached, Field(discriminator="kind")]


def listener(config: AcousticEncoder, moments: Float[Tensor, "2 bands"] | None = None) -> "Listener":
    """The encoder that a config describes, what is new in it drawn from torch's generator.

    `moments` are the mean and the variance of the mel bands over the corpus, for those that take filter banks.
    """
    match config:
        case ConvBlstm() | Conformer():
            encoder = config.build(moments)
            return Listener(encoder, None, encoder.width)
        case FineTuned():
            student = CTCStudent(
                encoder=config.encoder, regularisation=config.regularisation,
                freeze_feature_encoder=config.freeze_feature_encoder,
            )  # fmt: skip
            encoder = speech_encoder(student.pretrained())
            return Listener(encoder, StackedBlstms(encoder.width, config.top), 2 * config.top.cells)
        case Cached():
            width = architecture(config.encoder.model, {}).hidden_size
            return Listener(None, StackedBlstms(width, config.top), 2 * config.top.cells)


def mask_grid(config: AcousticEncoder) -> tuple[int, int]:
    """What a loader draws masks over: samples from one frame to the next, and features.

    They are filter banks where these are the input. Cached hidden states have no masks; what is drawn for them stays
    unused.
    """
    if isinstance(config, ConvBlstm | Conformer):
        return MEL_HOP, MEL_BANDS
    found = architecture(config.encoder.model, {})
    return Frames.of(found).hop, found.hidden_size


class Listener(nn.Module):
    """Batches to frames of hidden states, which decoders attend to or walk along."""

    def __init__(self, encoder: SpeechEncoder | None, top: "StackedBlstms | None", width: int) -> None:
        """Without an encoder, its hidden states are those of the batch's source `states`."""
        super().__init__()
        self.encoder, self.top, self.width = encoder, top, width
        self.skips_layers = encoder is not None and encoder.skips_layers
        """Whether layerdrop leaves out layers in some steps of training."""

    @property
    def has_batch_norm(self) -> bool:
        """Whether workers must have equal numbers of shares (`batch_norm.check_shares`)."""
        return any(isinstance(module, MaskedBatchNorm) for module in self.modules())

    def forward(self, batch: Batch) -> Sequences:
        """Hidden states (batch, frames, width), zero beyond each length; each clip has at least one frame."""
        if self.encoder is None:
            frames = batch.sources[STATES]
        else:
            frames = self.encoder(batch.audio, batch.masked, batch.channels)
        return frames if self.top is None else self.top(frames)


class StackedBlstms(nn.Module):
    """Frames side by side, projected, and bidirectional LSTMs, each of which adds to what it is given."""

    def __init__(self, features: int, config: Top) -> None:
        super().__init__()
        self.stack, self.dropout = config.stack, nn.Dropout(config.dropout)
        self.projection = nn.Linear(config.stack * features, 2 * config.cells)
        self.blstms = nn.ModuleList(Blstm(2 * config.cells, config.cells) for _ in range(config.layers))

    def forward(self, frames: Sequences) -> Sequences:
        """Frames (batch, ⌈frames / stack⌉, 2 × cells) of frames (batch, frames, features)."""
        values = frames.values.to(self.projection.weight.dtype)  # cached states are in half precision
        values = functional.pad(values, (0, 0, 0, -values.shape[1] % self.stack))
        lengths = (frames.lengths + self.stack - 1).div(self.stack, rounding_mode="floor").clamp(min=1)
        hidden = self.dropout(self.projection(values.unflatten(1, (-1, self.stack)).flatten(2)))
        ends = lengths.cpu()  # once, as whoever packs sequences waits for it
        for blstm in self.blstms:
            hidden = hidden + self.dropout(blstm(hidden, ends))
        return Sequences(hidden, lengths).zero_padded()
