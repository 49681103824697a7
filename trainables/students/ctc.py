"""Speech encoders with a linear CTC head (eq. 5 and 6)."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn
from transformers import MODEL_MAPPING, AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from typing_extensions import override

from trainables.batch import Batch
from trainables.config import Config, Location, Since, digest
from trainables.corpora.text import CharacterVocabulary
from trainables.sequences import Sequences
from trainables.students.attention import attention
from trainables.students.encoders import SpeechEncoder, speech_encoder
from trainables.students.frames import Frames, check_frames
from trainables.students.freezing import freeze
from trainables.weights import Sha256, check, family, fingerprint, load, locate

FAMILIES = ("wav2vec2", "hubert", "wavlm", "data2vec-audio", "wav2vec2-bert", "whisper")
Probability = Annotated[float, Field(ge=0, lt=1)]
Depth = Annotated[int | None, Field(gt=0), Since()]
"""How many of an encoder's Transformer layers are used, from the lowest on; None for all of them."""


class Pretrained(Config):
    """An encoder with its pretrained weights (§3.3: XLSR-53, 24 layers of 1024)."""

    kind: Literal["pretrained"] = "pretrained"
    model: Location
    """Folder of the model, or its name on the hub."""
    bin_sha256: Sha256 | None = None
    """Digest of a trusted pytorch_model.bin, where there are no safetensors."""
    layers: Depth = None
    """Transformer layers to use, from the lowest on; by default all."""
    frozen: Annotated[int, Field(ge=0), Since()] = 0
    """Transformer layers, from the lowest on, that keep their weights, as all below them does."""

    @override
    def fingerprint(self) -> str:
        """Digest of the weights.

        Raises ValueError when they are none of a student's, or have fewer layers than are asked for: before anything
        is prepared.
        """
        check_layers(architecture(self.model, {}), self.layers, self.frozen)
        return fingerprint(self.model, self.bin_sha256)

    def build(self, **overrides: Any) -> PreTrainedModel:
        """The encoder, with `overrides` in its config."""
        folder = check(locate(self.model), self.bin_sha256)
        config = architecture(self.model, overrides)
        model = load(folder, config, self.bin_sha256, attn_implementation=attention(MODEL_MAPPING[type(config)]))
        if self.frozen:
            freeze(model, self.frozen)
        return model


class Scratch(Config):
    """An encoder of the same architecture with random weights: the paper's weak baseline (§3.5)."""

    kind: Literal["scratch"] = "scratch"
    model: Location
    """Folder or hub name whose config gives the architecture."""
    layers: Depth = None
    """Transformer layers to use; by default all."""

    @override
    def fingerprint(self) -> str:
        """Digest of the architecture with all its layers.

        Raises ValueError when it has fewer layers than are asked for.
        """
        config = architecture(self.model, {})
        check_layers(config, self.layers)
        values = config.to_diff_dict()
        return digest({k: str(v) for k, v in values.items() if not k.startswith(("_", "transformers"))})

    def build(self, **overrides: Any) -> PreTrainedModel:
        """The encoder, with `overrides` in its config; its weights come from torch's generator."""
        config = architecture(self.model, overrides)
        return AutoModel.from_config(
            config, dtype=torch.float32, attn_implementation=attention(MODEL_MAPPING[type(config)])
        )


Encoder = Annotated[Pretrained | Scratch, Field(discriminator="kind")]


class Regularisation(Config):
    """Dropout inside the encoder (the released code's values, which follow XLSR's)."""

    attention: Probability = 0.1
    hidden: Probability = 0.1
    activation: Probability = 0.0
    projection: Probability = 0.0
    """Dropout on the projected output of the convolutions."""
    layers: Probability = 0.1
    """Layerdrop: the probability with which a step leaves a layer out."""

    def overrides(self, config: PretrainedConfig) -> dict[str, float]:
        """These values by the names that the config of a family of encoders has for them."""
        whisper = config.model_type == "whisper"
        names = {
            "attention_dropout": self.attention,
            "dropout" if whisper else "hidden_dropout": self.hidden,
            "activation_dropout": self.activation,
            "feat_proj_dropout": self.projection,
            "encoder_layerdrop" if whisper else "layerdrop": self.layers,
            # Hidden frames are drawn by the loader. A family creates its mask embedding only if this is not 0.
            "mask_time_prob": 0.05,
            "mask_feature_prob": 0.0,
            "apply_spec_augment": True,  # a checkpoint that says False would ignore the loader's masks
        }
        return {name: value for name, value in names.items() if hasattr(config, name)}


NO_DROPOUT = Regularisation(attention=0, hidden=0, activation=0, projection=0, layers=0)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A student's output for a batch."""

    hidden: Sequences
    """H^SM, the encoder's hidden states (eq. 5), (batch, frames, D_SM)."""
    logits: Sequences
    """f, the head's outputs before the softmax (eq. 6), (batch, frames, vocabulary)."""


class CTCStudent(Config):
    """A transformers encoder of one of `FAMILIES` and a linear head over characters."""

    kind: Literal["ctc"] = "ctc"
    encoder: Encoder
    regularisation: Regularisation = Regularisation()
    freeze_feature_encoder: bool = True
    """Keep the convolutions over the waveform as they are (XLSR §3; Whisper has none to freeze)."""

    def frames(self) -> Frames:
        """The convolutions by which the encoder's frames of a clip are counted, known before it is built."""
        return Frames.of(architecture(self.encoder.model, {}))

    def overrides(self) -> dict[str, Any]:
        """The fields of the encoder's config that are not those of its folder: regularisation and depth."""
        config = architecture(self.encoder.model, {})
        return self.regularisation.overrides(config) | depth(config, self.encoder.layers)

    def build(self, vocabulary: CharacterVocabulary) -> "CTCModel":
        """The student for this vocabulary.

        Raises ValueError when the family is unknown or the weights are missing.
        """
        model = self.pretrained()
        return CTCModel(speech_encoder(model), len(vocabulary), getattr(model.config, "final_dropout", 0.0))

    def pretrained(self) -> PreTrainedModel:
        """The encoder without a head, frozen where it is to be.

        Raises ValueError when the family is unknown or the weights are missing.
        """
        model: Any = self.encoder.build(**self.overrides())
        if hasattr(model.config, "mask_time_prob"):
            model.config.mask_time_prob = 0.0
        # From scratch nothing was learned that freezing could keep.
        if self.freeze_feature_encoder and self.encoder.kind == "pretrained" and hasattr(model, "feature_extractor"):
            model.feature_extractor._freeze_parameters()
        return model


def architecture(name: str, overrides: dict[str, Any]) -> PretrainedConfig:
    """The config of a model of one of `FAMILIES`.

    Raises ValueError for any other family, and for a model whose frames are not what is counted on.
    """
    folder = locate(name)
    if (kind := family(folder)) not in FAMILIES:
        raise ValueError(f"A student must be one of {', '.join(FAMILIES)}, but {name} is {kind!r}.")
    config = AutoConfig.from_pretrained(folder, local_files_only=True, **overrides)
    check_frames(name, folder, config)
    return config


def depth(config: PretrainedConfig, layers: int | None) -> dict[str, int]:
    """The lowest `layers` of an encoder's Transformer layers in the field names of its family's config; {} for all."""
    return {} if layers is None else {_layers_name(config): layers}


def layer_count(config: PretrainedConfig) -> int:
    """The Transformer layers of an encoder with this config."""
    return getattr(config, _layers_name(config))


def check_layers(config: PretrainedConfig, layers: int | None, frozen: int = 0) -> None:
    """Raises ValueError where an encoder has fewer Transformer layers than are to be used, or frozen."""
    there = layer_count(config)
    if layers is not None and layers > there:
        raise ValueError(f"`layers` must be at most the encoder's, which are {there}, but is {layers} instead.")
    if frozen > (used := layers or there):
        raise ValueError(f"`frozen` must be at most the layers that are used, {used}, but is {frozen} instead.")


def _layers_name(config: PretrainedConfig) -> str:
    return "encoder_layers" if config.model_type == "whisper" else "num_hidden_layers"


class CTCModel(nn.Module):
    """A speech encoder with a linear head over characters."""

    def __init__(self, encoder: SpeechEncoder, vocabulary: int, dropout: float = 0.0) -> None:
        """`dropout` is that of the hidden states before the head."""
        super().__init__()
        self.encoder, self.width = encoder, encoder.width
        self.skips_layers = encoder.skips_layers
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.width, vocabulary)  # W_h, b_h of eq. 6

    def forward(self, batch: Batch, *, learning: bool = True) -> Encoded:
        """Hidden states and logits of a batch; the encoder has gradients only while it is `learning`."""
        with torch.set_grad_enabled(learning and torch.is_grad_enabled()):
            hidden = self.encoder(batch.audio, batch.masked, batch.channels)
        return Encoded(hidden, Sequences(self.head(self.dropout(hidden.values)), hidden.lengths))
