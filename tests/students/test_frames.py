"""How often a student has a frame: what is known before it is built, and which students are refused for it."""

import json
from pathlib import Path

import pytest
import torch

from tests.students.test_ctc import batch_of
from trainables import testing
from trainables.corpora.filters import frames_of
from trainables.corpora.text import CharacterVocabulary
from trainables.students.ctc import FAMILIES, CTCStudent, Pretrained, Scratch
from trainables.testing import BASES

pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask:UserWarning")

SELDOM = (5, 2, 2, 2, 2, 2, 4)
"""Strides of an encoder with a frame every 40 ms."""
VOCABULARY = CharacterVocabulary(("a", "|", "[UNK]", "[PAD]"))


@pytest.mark.parametrize(("family", "changes", "hop"), [
    *((family, {}, 320) for family in (*FAMILIES, *BASES)),
    ("wav2vec2", {"conv_stride": SELDOM}, 640), ("hubert-base", {"conv_stride": SELDOM}, 640),
    ("data2vec-audio", {"conv_kernel": (10, 3, 3, 3, 3, 2, 6), "conv_stride": (5, 2, 2, 2, 2, 2, 6)}, 960),
])  # fmt: skip
def test_what_is_counted_is_what_comes(family: str, changes: dict[str, object], hop: int, tmp_path: Path) -> None:
    student = CTCStudent(encoder=Scratch(model=str(testing.speech_encoder(family, tmp_path, **changes))))
    frames, model = student.frames(), student.build(VOCABULARY)
    assert frames.hop == hop
    for samples in (1300, 1599, 1601, 16_000, 16_123):
        masked = torch.ones(1, samples // hop, dtype=torch.bool)
        encoded = model(batch_of([torch.randn(samples)], masked))
        assert encoded.logits.lengths.tolist() == [frames.count(samples)]
        assert frames.count(samples) >= frames_of(samples) * 320 // hop - 1


@pytest.mark.parametrize("family", ["wav2vec2", "wavlm", "data2vec-audio", "wav2vec2-bert"])
@pytest.mark.parametrize("encoder", [Pretrained, Scratch])
def test_an_adapter_is_refused_before_anything_is_prepared(family: str, encoder: type, tmp_path: Path) -> None:
    folder = testing.speech_encoder(family, tmp_path, add_adapter=True, output_hidden_size=16)
    student = encoder(model=str(folder))
    with pytest.raises(ValueError, match=r"has an adapter behind it, which leaves one frame of [28]"):
        student.identity()
    # As the sentence says: the encoder is used without it.
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"add_adapter": False}))
    assert CTCStudent(encoder=student).build(VOCABULARY).width == 16


def test_frames_that_come_too_often_are_refused(tmp_path: Path) -> None:
    folder = testing.speech_encoder("wav2vec2", tmp_path, conv_stride=(5, 2, 2, 2, 2, 2, 1))
    with pytest.raises(ValueError, match=r"a frame every 20 ms or more seldom, but .* has one every 10 ms"):
        Pretrained(model=str(folder)).fingerprint()


@pytest.mark.parametrize(("family", "field", "value"), [
    ("whisper", "hop_length", 320), ("whisper", "sampling_rate", 8000), ("whisper", "n_fft", 512),
    ("wav2vec2", "sampling_rate", 8000), ("wav2vec2-bert", "stride", 4), ("wav2vec2-bert", "num_mel_bins", 128),
])  # fmt: skip
def test_another_front_end_is_refused(family: str, field: str, value: int, tmp_path: Path) -> None:
    folder = testing.speech_encoder(family, tmp_path)
    encoder = Pretrained(model=str(folder))
    before = encoder.fingerprint()
    (folder / "preprocessor_config.json").write_text(json.dumps({"sampling_rate": 16_000, "feature_size": 1}))
    assert encoder.fingerprint() == before
    (folder / "preprocessor_config.json").write_text(json.dumps({field: value}))
    with pytest.raises(ValueError, match=rf"audio with a `{field}` of \d+, but .* for one of {value}"):
        encoder.fingerprint()


def test_a_model_that_is_no_speech_encoder_is_refused_before_anything_is_prepared(models: Path) -> None:
    with pytest.raises(ValueError, match="A student must be one of"):
        Pretrained(model=str(models / "bert")).fingerprint()
