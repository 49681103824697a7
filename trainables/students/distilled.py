"""The students of Wang, Tang et al., *Exploring Effective Distillation of Self-Supervised Speech Models for Automatic
Speech Recognition* (arXiv 2210.15631): shallow and wide, or deep and thin; on their teacher's front-end, or on filter
banks (§4.1, Table 1).

Each of them is an encoder like any other, so that a CTC head stands on it as on a pretrained one. Where the paper does
not say how a part is initialised, a field says it; the defaults copy what can be copied.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor, nn
from transformers import HubertConfig, PretrainedConfig, PreTrainedModel
from typing_extensions import override

from trainables.config import Config
from trainables.corpora.filters import FRAME
from trainables.students.composed import ComposedEncoder, ConvolutionalPositions, WhisperLayers
from trainables.students.ctc import Probability, Regularisation
from trainables.students.encoders import SpeechEncoder, WaveformEncoder, WhisperFrames
from trainables.students.frames import Frames
from trainables.students.front_ends import FilterBankFrontEnd, WhisperStem
from trainables.students.gradients import scale_gradient
from trainables.students.inherited import PARTS, check_family, copied, cut, thin, whisper_encoder

HUBERT_BASE = HubertConfig()
"""The paper's teacher: the defaults of transformers are its sizes."""
DISTILLATION = Regularisation(attention=0.1, hidden=0.1, activation=0.1, projection=0.0, layers=0.0)
"""DistilHuBERT's, which the paper follows (§4.1)."""
Initialisation = Literal["teacher", "random"]


@dataclass(frozen=True, slots=True)
class _Given:
    """What a student is made of besides its own fields."""

    config: PretrainedConfig
    teacher: PreTrainedModel | None
    regularisation: Regularisation
    standardised: bool
    moments: Tensor | None

    @property
    def whisper(self) -> bool:
        """Whether the teacher is one."""
        return self.config.model_type == "whisper"

    def copied(self, model: nn.Module, parts: Collection[str]) -> None:
        """Give a model these parts of the teacher, where there is one."""
        if self.teacher is not None:
            copied(model, self.teacher, parts)


class TeachersFrontEnd(Config):
    """The front-end of the teacher's family: convolutions over waveforms, or Whisper's over log-mel features."""

    kind: Literal["teachers"] = "teachers"
    convolutions: Initialisation = "teacher"
    """§4.1: both students start from the teacher's."""
    conv_norm: Literal["teacher", "none"] = "teacher"
    """The layer norm between convolutions and projection. DistilHuBERT, and so the released code, has left it out,
    though the teacher has it and the copied layers were trained behind it. Whisper has none."""
    gradient: Annotated[float, Field(ge=0)] = 0.1
    """Factor of the convolutions' gradient (DistilHuBERT's `feature_grad_mult`)."""

    suffix: ClassVar[str] = ""
    described: ClassVar[str] = "its teacher's front-end"


class FilterBanks(Config):
    """Kaldi's log-mel features with a convolution and a linear layer (§3.3), which start at random."""

    kind: Literal["filter_banks"] = "filter_banks"
    gradient: Annotated[float, Field(ge=0)] = 1.0
    """Factor of its gradient."""
    dropout: Probability = 0.1
    """Dropout of the front-end's output."""

    suffix: ClassVar[str] = " Fbank"
    described: ClassVar[str] = "filter banks"

    def build(self, width: int, given: _Given) -> FilterBankFrontEnd:
        """The front-end of a Transformer of this width, with as many frames as the teacher's."""
        return FilterBankFrontEnd(width, given.moments, dropout=self.dropout, centred=given.whisper)


StudentFrontEnd = Annotated[TeachersFrontEnd | FilterBanks, Field(discriminator="kind")]


class _Distilled(Config, ABC):
    """A student whose shape and initial weights are taken from a teacher, as far as they fit."""

    front_end: StudentFrontEnd = TeachersFrontEnd()

    def build(
        self,
        teacher: PreTrainedModel | None = None,
        *,
        architecture: PretrainedConfig = HUBERT_BASE,
        standardised: bool = False,
        regularisation: Regularisation = DISTILLATION,
        moments: Tensor | None = None,
    ) -> SpeechEncoder:
        """The student of `teacher`, one of transformers' models; what it does not copy comes from torch's generator.

        Without a teacher all weights are random, in the shapes for one with the config `architecture`: for counting,
        for timing, and before weights are loaded. `standardised` says whether the teacher takes waveforms with zero
        mean and unit variance, which HuBERT base does not; `moments` are mean and variance of filter banks, (2, 80).
        Raises ValueError when the teacher is of another family, or does not have what is to be copied.
        """
        config = architecture if teacher is None else teacher.config
        check_family(config)
        if self.front_end.kind == "filter_banks" and (hop := Frames.of(config).hop) != FRAME:
            raise ValueError(f"A teacher must have a frame every {FRAME} samples, as filter banks do, but has {hop}.")
        encoder = self._build(_Given(config, teacher, regularisation, standardised, moments))
        scale_gradient(encoder, self.front_end.gradient)
        return encoder

    @property
    @abstractmethod
    def described(self) -> str:
        """Words for a reader who does not know the abbreviations of Table 1."""

    @abstractmethod
    def _build(self, given: _Given) -> SpeechEncoder:
        """The encoder, whose front-end's gradient is not scaled yet."""

    def frames(self, architecture: PretrainedConfig = HUBERT_BASE) -> Frames:
        """The convolutions by which frames of a clip are counted: as many as a teacher of that config makes."""
        if self.front_end.kind == "filter_banks" and architecture.model_type != "whisper":
            return Frames(((400, 160), (1, 2)))
        return Frames.of(architecture)


class ShallowWide(_Distilled):
    """S&W: the teacher's own encoder, cut off above its lowest layers."""

    kind: Literal["shallow_wide"] = "shallow_wide"
    layers: Annotated[int, Field(gt=0)] = 2
    transformer: Initialisation = "teacher"
    """The layers (§4.1: the teacher's first two)."""
    projection: Initialisation = "teacher"
    """From the convolutions to the Transformer's width; Whisper and filter banks have none."""
    positions: Initialisation = "teacher"
    encoder_norm: Initialisation = "teacher"
    """The layer norm below the layers, or above where these are pre-norm; the released code does not copy it."""

    def __str__(self) -> str:
        return "S&W" + self.front_end.suffix

    @property
    @override
    def described(self) -> str:
        return f"A shallow and wide student, {self.layers} of its teacher's layers on {self.front_end.described}"

    @override
    def _build(self, given: _Given) -> SpeechEncoder:
        conv_norm = getattr(self.front_end, "conv_norm", "teacher") == "teacher"
        model: Any = cut(given.config, self.layers, given.regularisation, conv_norm=conv_norm)
        given.copied(model, [part for part in PARTS if self._of_teacher(part)])
        if self.front_end.kind == "teachers":
            return WhisperFrames(model) if given.whisper else WaveformEncoder(model, standardised=given.standardised)
        transformer = WhisperLayers(model) if given.whisper else ConvolutionalPositions(model)
        return ComposedEncoder(self.front_end.build(transformer.width, given), transformer)

    def _of_teacher(self, part: str) -> bool:
        if part in ("convolutions", "conv_norm"):
            return getattr(self.front_end, part, None) == "teacher"
        return getattr(self, part) == "teacher"


class DeepThin(_Distilled):
    """D&T: as many layers as the teacher has, but thin ones: a post-norm Transformer that starts at random."""

    kind: Literal["deep_thin"] = "deep_thin"
    width: Annotated[int, Field(gt=0)] = 480
    feed_forward: Annotated[int, Field(gt=0)] = 480
    layers: Annotated[int, Field(gt=0)] = 12
    heads: Annotated[int, Field(gt=0)] = 12
    position_kernel: Annotated[int, Field(gt=0)] = 128
    """Frames under the convolution that makes positions, HuBERT's."""
    position_groups: Annotated[int, Field(gt=0)] = 16

    @model_validator(mode="after")
    def _divisible(self) -> "DeepThin":
        for name in ("heads", "position_groups"):
            if self.width % getattr(self, name):
                raise ValueError(f"`width` must be a multiple of `{name}`, {getattr(self, name)}, but is {self.width}.")
        return self

    def __str__(self) -> str:
        return "D&T" + self.front_end.suffix

    @property
    @override
    def described(self) -> str:
        return f"A deep and thin student, {self.layers} layers of {self.width} on {self.front_end.described}"

    @override
    def _build(self, given: _Given) -> SpeechEncoder:
        parts = [part for part in ("convolutions", "conv_norm") if getattr(self.front_end, part, None) == "teacher"]
        shape = {
            "hidden_size": self.width, "intermediate_size": self.feed_forward, "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads, "num_conv_pos_embeddings": self.position_kernel,
            "num_conv_pos_embedding_groups": self.position_groups, "feat_proj_layer_norm": "conv_norm" in parts,
        }  # fmt: skip
        model = thin(given.config, shape, given.regularisation)
        if self.front_end.kind == "filter_banks":
            return ComposedEncoder(self.front_end.build(self.width, given), ConvolutionalPositions(model))
        if given.whisper:
            stem = whisper_encoder(given.config)
            given.copied(stem, parts)
            return ComposedEncoder(WhisperStem(stem, self.width), ConvolutionalPositions(model))
        given.copied(model, parts)
        return WaveformEncoder(model, standardised=given.standardised)


DistilledStudent = Annotated[ShallowWide | DeepThin, Field(discriminator="kind")]
