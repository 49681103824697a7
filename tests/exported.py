"""Students of every family as if trained, and what their export must agree with."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from trainables import testing
from trainables.batch import Batch
from trainables.corpora.text import CharacterVocabulary
from trainables.decoding.greedy import greedy
from trainables.export.ctc_folder import export
from trainables.sequences import Sequences
from trainables.students.ctc import FAMILIES, CTCModel, CTCStudent, Pretrained

ENCODERS = (*FAMILIES, *testing.BASES)
LEAKING = ("data2vec-audio", *testing.BASES)
"""Whose exports are transformers' own, in which a clip beside longer ones is not what it is alone."""
VOCABULARY = CharacterVocabulary.of(["abcdefghij "])


def trained(student: CTCStudent) -> CTCModel:
    """As if trained: outputs of every kind, the unknown token among them."""
    torch.manual_seed(1)
    model = student.build(VOCABULARY).eval()
    with torch.no_grad():
        model.head.weight.mul_(20)
        model.head.bias.sub_(ours(model, waveforms()[-1:]).values.mean(dim=(0, 1)))
    return model


def kept(model: CTCModel, folder: Path) -> Path:
    """The weights as a trial keeps them."""
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {"vocabulary": json.dumps(VOCABULARY.tokens)}
    save_file(model.state_dict(), folder / "student.safetensors", metadata)
    return folder / "student.safetensors"


def waveforms() -> list[torch.Tensor]:
    torch.manual_seed(2)
    return [0.05 + 0.1 * torch.randn(int(16_000 * seconds)) for seconds in (0.5, 1.23, 2.0)]


def ours(model: CTCModel, audio: list[torch.Tensor]) -> Any:
    with torch.no_grad():
        names = ("",) * len(audio)
        return model(Batch(names, Sequences.stack(audio), torch.ones(len(audio)), names)).logits


class Exported:
    """A student of a family, and what became of it."""

    def __init__(self, family: str, folder: Path) -> None:
        self.family = family
        self.student = CTCStudent(encoder=Pretrained(model=str(testing.speech_encoder(family, folder / "encoder"))))
        self.model = trained(self.student)
        self.weights, self.folder = kept(self.model, folder / "run"), folder / "exported"
        self.loaded_by = export(self.student, self.weights, self.folder)


def text_of(model: CTCModel, audio: torch.Tensor) -> str:
    """Our decoding of one utterance."""
    logits = ours(model, [audio])
    (text,) = greedy(logits.values.argmax(dim=2), logits.lengths, VOCABULARY)
    return text
