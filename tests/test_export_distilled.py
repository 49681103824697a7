"""An exported distilled student is the student: the same logits and text, by transformers' classes or by ours."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCTC, AutoProcessor, pipeline

from tests.exported import VOCABULARY, waveforms
from trainables import testing
from trainables.corpora.audio import SAMPLE_RATE, decode
from trainables.decoding.greedy import greedy
from trainables.export.card import Dataset
from trainables.export.distilled_folder import export, product
from trainables.sequences import Sequences
from trainables.students.distilled import DeepThin, FilterBanks, ShallowWide
from trainables.transcribe import Recogniser, main

THIN: dict[str, Any] = {
    "width": 8, "feed_forward": 12, "layers": 2, "heads": 2, "position_kernel": 16, "position_groups": 2,
}  # fmt: skip
KINDS = [
    ("hubert-base", ShallowWide(layers=1), "HubertForCTC"),
    ("hubert-base", DeepThin(**THIN), "HubertForCTC"),
    ("wav2vec2", ShallowWide(layers=1), "Wav2Vec2ForCTC"),
    ("wav2vec2", DeepThin(**THIN), "HubertForCTC"),
    ("hubert-base", ShallowWide(layers=1, front_end=FilterBanks()), "DistilledForCTC"),
    ("hubert-base", DeepThin(**THIN, front_end=FilterBanks()), "DistilledForCTC"),
    ("whisper", ShallowWide(layers=1), "DistilledForCTC"),
    ("whisper", DeepThin(**THIN), "DistilledForCTC"),
    ("whisper", DeepThin(**THIN, front_end=FilterBanks()), "DistilledForCTC"),
]


@dataclass
class Exported:
    family: str
    student: Any
    architecture: Any
    model: Any
    folder: Path
    expected: str
    loaded_by: str = ""

    @torch.no_grad()
    def logits(self, audio: list[torch.Tensor]) -> Sequences:
        hidden = self.model["encoder"](Sequences.stack(audio), None)
        return Sequences(self.model["head"](hidden.values), hidden.lengths)

    def text(self, audio: torch.Tensor) -> str:
        logits = self.logits([audio])
        (text,) = greedy(logits.values.argmax(dim=2), logits.lengths, VOCABULARY)
        return text


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: f"{kind[1]} of {kind[0]}")
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return made(tmp_path_factory.mktemp(request.param[0]), *request.param)


def made(folder: Path, family: str, student: Any, expected: str) -> Exported:
    teacher = AutoModel.from_pretrained(testing.speech_encoder(family, folder / "teacher"), dtype=torch.float32)
    torch.manual_seed(1)
    standardised = family == "wav2vec2"
    moments = torch.tensor([[8.0], [9.0]]).repeat(1, 80)
    encoder = student.build(teacher, standardised=standardised, moments=moments)
    head = nn.Linear(encoder.width, len(VOCABULARY))
    model = nn.ModuleDict({"encoder": encoder, "head": head}).eval()
    found = Exported(family, student, teacher.config, model, folder / "exported", expected)
    with torch.no_grad():  # as if trained: outputs of every kind
        head.weight.mul_(20)
        head.bias.sub_(found.logits(waveforms()[-1:]).values.mean(dim=(0, 1)))
    weights = folder / "student.safetensors"
    save_file(model.state_dict(), weights, {"vocabulary": json.dumps(VOCABULARY.tokens)})
    found.loaded_by = export(
        student, weights, found.folder, architecture=teacher.config, standardised=standardised
    ).__name__
    return found


def test_it_is_loaded_by_transformers_where_that_has_a_class(exported: Exported) -> None:
    assert exported.loaded_by == exported.expected
    model = AutoModelForCTC.from_pretrained(exported.folder)
    assert type(model).__name__ == exported.expected
    config = AutoConfig.from_pretrained(exported.folder)
    assert (config.vocab_size, config.pad_token_id) == (len(VOCABULARY), VOCABULARY.blank)
    assert config.inputs_to_logits_ratio == 320
    for path in exported.folder.glob("*.json"):
        assert str(exported.folder.parent) not in path.read_text()


def test_logits_are_the_students(exported: Exported) -> None:
    model = AutoModelForCTC.from_pretrained(exported.folder).eval()
    before = AutoProcessor.from_pretrained(exported.folder).feature_extractor
    # transformers' own classes let a batch's padding into a group norm; ours do not.
    for audio in ([waveforms()[1]], waveforms()) if exported.loaded_by == "DistilledForCTC" else ([waveforms()[1]],):
        inputs = before([a.numpy() for a in audio], sampling_rate=SAMPLE_RATE, padding=True, return_tensors="pt")
        with torch.no_grad():
            logits = model(**inputs).logits
        expected = exported.logits(audio)
        for i, length in enumerate(expected.lengths.tolist()):
            torch.testing.assert_close(logits[i, :length], expected.values[i, :length], rtol=0, atol=2e-3)


def test_the_pipeline_and_transcribe_give_the_text_of_our_decoding(
    exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recognise: Any = pipeline("automatic-speech-recognition", model=str(exported.folder))
    for i, audio in enumerate(waveforms()):
        assert " ".join(recognise(audio.numpy())["text"].split()) == exported.text(audio)
        file = tmp_path / f"{i}.wav"
        soundfile.write(file, audio.numpy(), SAMPLE_RATE)
        assert main(["--model", str(exported.folder), str(file)]) == 0
        heard = torch.from_numpy(decode(file, longest=60).astype(np.float32) / 32768)
        assert capsys.readouterr().out == f"{exported.text(heard)}\n"


def test_transcribe_in_int8_hears_what_eight_bits_can(
    exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "clip.wav"
    soundfile.write(file, waveforms()[2].numpy(), SAMPLE_RATE)
    assert main(["--model", str(exported.folder), "--precision", "int8", str(file)]) == 0
    assert len(capsys.readouterr().out) > 2
    networks = [Recogniser(str(exported.folder), precision).pipeline.model for precision in ("float32", "int8")]
    with torch.no_grad():
        exact, rounded = (network(waveforms()[2][None]).logits for network in networks)
    assert 0 < (rounded - exact).norm() / exact.norm() < 0.3  # the head was scaled up


def test_the_card_tells_the_speed_in_float32_and_in_int8(tmp_path: Path) -> None:
    exported = made(tmp_path, *KINDS[5])
    card = product(
        exported.student, exported.folder.parent / "student.safetensors", tmp_path / "again",
        architecture=exported.architecture, standardised=False, teacher="facebook/hubert-base-ls960", name="a student",
        language="en", dataset=Dataset("librispeech", "LibriSpeech", "100h", "CC BY 4.0"), recipe={},
        method="a method", precision="float32", choice="The last checkpoint.",
    )  # fmt: skip
    assert exported.student.described in card.about
    assert "distilled from facebook/hubert-base-ls960, with a CTC head" in card.about
    assert card.base_model == "facebook/hubert-base-ls960"
    found = re.search(r"a second of a clip of 7\.4 s takes (\S+) s in float32 and (\S+) s in int8", card.use)
    assert found is not None
    assert all(0 < float(figure) < 0.2 for figure in found.groups())
    AutoModelForCTC.from_pretrained(tmp_path / "again")


def test_weights_of_another_student_are_refused(exported: Exported, tmp_path: Path) -> None:
    weights = exported.folder.parent / "student.safetensors"
    other = AutoModel.from_pretrained(testing.speech_encoder("hubert", tmp_path / "teacher"), dtype=torch.float32)
    with pytest.raises(ValueError, match=r"^Weights must be of the recipe's student, but .* are not\.$"):
        export(DeepThin(), weights, tmp_path / "exported", architecture=other.config, standardised=False)
