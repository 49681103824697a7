"""Teachers that listen: frozen speech encoders, of whose layers a student is distilled."""

import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import nn
from transformers import AutoModel, PretrainedConfig, PreTrainedModel
from typing_extensions import override

from trainables.config import Config, Folder, Location, Preparation, Where
from trainables.sequences import Sequences
from trainables.students.ctc import NO_DROPOUT, Pretrained, Regularisation, architecture, layer_count
from trainables.students.encoders import SpeechEncoder, speech_encoder
from trainables.students.states import State, width_of
from trainables.teachers.fairseq_file import SPECIAL, FairseqConversion
from trainables.weights import Sha256, fingerprint, locate


@dataclass(frozen=True, slots=True)
class TeacherStates:
    """What a teacher makes of a batch."""

    layers: Mapping[State, Sequences]
    """The hidden states that were asked for, (batch, frames, D_t) after a layer; those below may have another width."""


class AudioTeacher(nn.Module):
    """A frozen encoder in evaluation mode, whatever is asked of the task that it is part of."""

    def __init__(self, encoder: SpeechEncoder, layers: Collection[State]) -> None:
        super().__init__()
        self.encoder, self.layers = encoder.requires_grad_(False), tuple(layers)
        self.train(False)

    @override
    def train(self, mode: bool = True) -> "AudioTeacher":
        """Stays in evaluation mode: dropout in a teacher would be noise in the targets."""
        return super().train(False)

    @torch.no_grad()
    @override
    def forward(self, audio: Sequences, also: Collection[State] = ()) -> TeacherStates:
        """Hidden states of waveforms (batch, samples), and those that are `also` wanted; of others nothing is kept."""
        return TeacherStates(self.encoder.states(audio, (*self.layers, *also)))


class AudioTeacherInTraining(AudioTeacher):
    """A frozen encoder whose dropout is on while the task that it is part of is trained."""

    @override
    def train(self, mode: bool = True) -> "AudioTeacherInTraining":
        """Goes where the task goes, as any module does."""
        nn.Module.train(self, mode)
        return self


class _Encoder(Config, ABC):
    """A speech encoder of transformers, of any family of students."""

    label: ClassVar[str] = ""
    """Words for a trial's name, where the teacher is not the usual one."""
    special: ClassVar[int] = 0
    """How many of its own hidden units, the first ones, stand for nothing in speech."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is called on cards and under tables."""

    @property
    @abstractmethod
    def folder(self) -> Pretrained:
        """The model with its weights, in a folder of transformers.

        Raises ValueError when there is none.
        """

    def own_units(self) -> Preparation | None:
        """What makes a folder with the hidden units that it was trained on; None where it comes without."""
        return None

    @override
    def fingerprint(self) -> str:
        """Digest of the weights, and whether waveforms are standardised.

        Raises ValueError when there are none, or when the model is no speech encoder.
        """
        self.architecture()
        weights = fingerprint(self.folder.model, self.folder.bin_sha256)
        return f"{weights}{'' if self.standardised else '-as-is'}"

    def architecture(self) -> PretrainedConfig:
        """The model's config."""
        return architecture(self.folder.model, {})

    @property
    def standardised(self) -> bool:
        """Whether the model takes waveforms with zero mean and unit variance, by its preprocessor_config.json.

        Where there is none it does. `HubertFromFairseq` writes one, by which HuBERT base does not.
        """
        try:
            found = json.loads((locate(self.folder.model) / "preprocessor_config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return True
        return bool(found.get("do_normalize", True))

    def pretrained(self, regularisation: Regularisation = NO_DROPOUT) -> PreTrainedModel:
        """The model with its weights, which students start from."""
        return self.folder.build(**regularisation.overrides(self.architecture()))

    def build(self, layers: Collection[State], training: Regularisation | None = None) -> AudioTeacher:
        """The teacher of these layers, or states below them, frozen; with a regularisation for `training` it is in that
        mode whenever its task is, and else never.

        Raises ValueError for a state that it does not have.
        """
        self.widths(layers)
        encoder = speech_encoder(self._model(training or NO_DROPOUT), standardised=self.standardised)
        return AudioTeacher(encoder, layers) if training is None else AudioTeacherInTraining(encoder, layers)

    @property
    def depth(self) -> int:
        """Layers of its Transformer, known before it is built."""
        return layer_count(self.architecture())

    @property
    def width(self) -> int:
        """Features of its hidden states, known before it is built."""
        return width_of(self.architecture(), self.depth)

    def widths(self, layers: Iterable[State]) -> dict[State, int]:
        """Features of some of its states, in their order, known before it is built.

        Raises ValueError for one that it does not have.
        """
        config, layers = self.architecture(), tuple(layers)
        depth = layer_count(config)
        if too_high := [layer for layer in layers if isinstance(layer, int) and layer > depth]:
            raise ValueError(f"Heads must be for the teacher's layers, 1 to {depth}, but are for {max(too_high)} too.")
        return {layer: width_of(config, layer) for layer in layers}

    @abstractmethod
    def _model(self, regularisation: Regularisation) -> PreTrainedModel:
        """The model that teaches, with this dropout."""


class _Folder(_Encoder, ABC):
    """An encoder in a folder of transformers."""

    model: Location
    """Folder of the model, or its name on the hub."""
    bin_sha256: Sha256 | None = None
    """Digest of a trusted pytorch_model.bin, where there are no safetensors."""

    @property
    @override
    def name(self) -> str:
        return self.model

    @property
    @override
    def folder(self) -> Pretrained:
        return Pretrained(model=self.model, bin_sha256=self.bin_sha256)


class SpeechModel(_Folder):
    """A pretrained encoder (§4.1: HuBERT base)."""

    kind: Literal["speech_model"] = "speech_model"

    @override
    def _model(self, regularisation: Regularisation) -> PreTrainedModel:
        return self.pretrained(regularisation)


class HubertFromFairseq(_Encoder):
    """HuBERT from fairseq's own file, which has its hidden units: the paper's teacher (`hubert_base_ls960.pt`)."""

    kind: Literal["hubert_from_fairseq"] = "hubert_from_fairseq"
    special: ClassVar[int] = SPECIAL
    file: Folder
    """Path of the .pt file."""
    sha256: Annotated[Sha256 | None, Where()] = None
    """Digest of that file, from somebody whom you trust; without it the file is not opened."""

    @property
    @override
    def name(self) -> str:
        return self.file

    @override
    def fingerprint(self) -> str:
        """Digest of the file. Raises ValueError when it is not `sha256`."""
        return self.own_units().fingerprint()

    @property
    @override
    def folder(self) -> Pretrained:
        return Pretrained(model=_converted(self.file, self.sha256, self.own_units().folder()))

    @override
    def own_units(self) -> FairseqConversion:
        return FairseqConversion(file=self.file, sha256=self.sha256)

    @override
    def _model(self, regularisation: Regularisation) -> PreTrainedModel:
        return self.pretrained(regularisation)


class RandomSpeechModel(_Folder):
    """The control of what a teacher knows: the same architecture with random weights, as frozen.

    What of a student is initialised from its teacher is still the pretrained model's: only what is taught differs.
    """

    kind: Literal["random_speech_model"] = "random_speech_model"
    label: ClassVar[str] = "random teacher"
    seed: Annotated[int, Field(ge=0)] = 1
    """The seed of the weights."""

    @override
    def _model(self, regularisation: Regularisation) -> PreTrainedModel:
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            return AutoModel.from_config(
                architecture(self.model, regularisation.overrides(self.architecture())), dtype=torch.float32
            )


SpeechTeacher = Annotated[SpeechModel | HubertFromFairseq | RandomSpeechModel, Field(discriminator="kind")]


@cache
def _converted(file: str, sha256: str | None, folder: Path) -> str:
    """The `folder` of a conversion, verified once in each process: it is large, and often asked for."""
    FairseqConversion(file=file, sha256=sha256).build()
    return str(folder)
