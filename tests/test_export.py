"""An exported student is the student: the same logits and the same text, through transformers' own pipeline."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCTC, AutoProcessor, pipeline

from tests.exported import ENCODERS, LEAKING, VOCABULARY, Exported, kept, ours, text_of, trained, waveforms
from trainables.export.ctc_folder import export
from trainables.students.ctc import CTCStudent, Pretrained, Scratch

# transformers gives WavLM's attention masks of two types, of which torch warns.
pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask:UserWarning")


@pytest.fixture(scope="module", params=ENCODERS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return Exported(request.param, tmp_path_factory.mktemp(request.param))


def test_logits_are_the_students_alone_and_in_a_padded_batch(exported: Exported) -> None:
    model = AutoModelForCTC.from_pretrained(exported.folder).eval()
    assert type(model) is exported.loaded_by
    before = AutoProcessor.from_pretrained(exported.folder).feature_extractor
    for audio in [[waveforms()[1]]] if exported.family in LEAKING else ([waveforms()[1]], waveforms()):
        inputs = before([a.numpy() for a in audio], sampling_rate=16_000, padding=True, return_tensors="pt")
        with torch.no_grad():
            logits = model(**inputs).logits
        expected = ours(exported.model, audio)
        for i, length in enumerate(expected.lengths.tolist()):
            torch.testing.assert_close(logits[i, :length], expected.values[i, :length], rtol=0, atol=2e-3)


def test_the_pipeline_gives_the_text_of_our_decoding(exported: Exported) -> None:
    recognise: Any = pipeline("automatic-speech-recognition", model=str(exported.folder))
    emitted = set()
    for audio in waveforms():
        text = text_of(exported.model, audio)
        # Between two delimiters with a blank in between it writes two spaces.
        theirs = " ".join(recognise(audio.numpy())["text"].split())
        if exported.family == "wav2vec2-bert" and len(audio) > 8_000:
            theirs = theirs[: len(text)]  # what it reads in the padding of the last frame
        assert theirs == text
        emitted |= set(ours(exported.model, [audio]).values.argmax(dim=2).flatten().tolist())
    assert {VOCABULARY.unknown, VOCABULARY.blank, VOCABULARY.tokens.index("|")} <= emitted


def test_the_pipeline_times_words(exported: Exported) -> None:
    recognise: Any = pipeline("automatic-speech-recognition", model=str(exported.folder))
    audio = waveforms()[2]
    chunks = recognise(audio.numpy(), return_timestamps="word")["chunks"]
    assert chunks
    assert all(0 <= start < stop <= 2.05 for start, stop in (chunk["timestamp"] for chunk in chunks))


def test_the_folder_is_whole_readable_and_names_no_place(exported: Exported) -> None:
    files = {path.name: path for path in exported.folder.iterdir()}
    assert {"config.json", "model.safetensors", "processor_config.json", "vocab.json"} <= set(files)
    assert len({path.stat().st_mode for path in files.values()}) == 1
    for path in exported.folder.glob("*.json"):
        assert str(exported.folder.parent) not in path.read_text()
    config = AutoConfig.from_pretrained(exported.folder)
    assert (config.vocab_size, config.pad_token_id) == (len(VOCABULARY), VOCABULARY.blank)


def test_the_tokenizer_makes_the_students_labels(exported: Exported) -> None:
    tokenizer = AutoProcessor.from_pretrained(exported.folder).tokenizer
    assert tokenizer("bad ox").input_ids == VOCABULARY.encode("bad ox")


def test_transformers_knows_all_but_whispers_encoder(exported: Exported) -> None:
    assert exported.loaded_by.__module__.startswith("transformers.") == (exported.family != "whisper")
    # With Whisper's own type, transformers would load it with a random decoder.
    assert AutoConfig.from_pretrained(exported.folder).model_type != "whisper"


def test_a_student_from_scratch_needs_its_architecture_only(tmp_path: Path, models: Path) -> None:
    student = CTCStudent(encoder=Scratch(model=str(models / "wav2vec2")))
    model = trained(student)
    export(student, kept(model, tmp_path), tmp_path / "exported")
    saved = load_file(tmp_path / "exported" / "model.safetensors")
    assert torch.equal(saved["lm_head.weight"], model.head.weight)


@pytest.mark.parametrize("family", ["whisper", "wav2vec2"])
def test_a_student_of_the_lowest_layers_is_exported_with_these(tmp_path: Path, models: Path, family: str) -> None:
    student = CTCStudent(encoder=Pretrained(model=str(models / family), layers=1))
    model = trained(student)
    export(student, kept(model, tmp_path), tmp_path / "exported")
    config = AutoConfig.from_pretrained(tmp_path / "exported")
    assert config.encoder_layers == 1 if family == "whisper" else config.num_hidden_layers == 1


def test_weights_of_another_student_are_refused(tmp_path: Path, models: Path) -> None:
    weights = kept(trained(CTCStudent(encoder=Pretrained(model=str(models / "whisper")))), tmp_path)
    with pytest.raises(ValueError, match=r"^Weights must be of the recipe's student, but .* are not\.$"):
        export(CTCStudent(encoder=Pretrained(model=str(models / "wav2vec2"))), weights, tmp_path / "exported")


@pytest.mark.parametrize("damage", ["cut", "no vocabulary"])
def test_damaged_weights_are_refused(tmp_path: Path, models: Path, damage: str) -> None:
    student = CTCStudent(encoder=Pretrained(model=str(models / "whisper")))
    weights = kept(trained(student), tmp_path)
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-10])
    else:
        save_file(load_file(weights), weights)
    with pytest.raises(ValueError, match=r"^Weights must be as a trial keeps them, but .* are damaged: "):
        export(student, weights, tmp_path / "exported")
