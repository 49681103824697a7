from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tests.exported import ENCODERS, Exported, text_of, waveforms
from trainables import testing
from trainables.corpora.audio import SAMPLE_RATE, decode
from trainables.training import World
from trainables.transcribe import main

pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask:UserWarning")


@pytest.fixture(scope="module", params=ENCODERS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return Exported(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return Exported("whisper", tmp_path_factory.mktemp("whisper"))


def expected(exported: Exported, file: Path) -> str:
    return text_of(exported.model, torch.from_numpy(decode(file, longest=60).astype(np.float32) / 32768))


def write(file: Path, *, seconds: float = 2.0, rate: int = SAMPLE_RATE, channels: int = 1) -> Path:
    random = np.random.default_rng(3)
    samples = 0.05 + 0.1 * random.standard_normal((int(rate * seconds), channels))
    soundfile.write(file, samples.astype(np.float32), rate)
    return file


def test_the_text_is_that_of_our_decoding(
    exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i, audio in enumerate(waveforms()):
        file = tmp_path / f"{i}.wav"
        soundfile.write(file, audio.numpy(), SAMPLE_RATE)
        assert main(["--model", str(exported.folder), str(file)]) == 0
        text = capsys.readouterr().out
        assert len(text) > 2
        assert text == f"{expected(exported, file)}\n"


@pytest.mark.parametrize(("suffix", "rate", "channels"), [("wav", 48_000, 2), ("mp3", 32_000, 1), ("flac", 8_000, 2)])
def test_any_format_rate_and_number_of_channels(
    whisper: Exported, tmp_path: Path, suffix: str, rate: int, channels: int, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / f"clip.{suffix}", rate=rate, channels=channels)
    assert main(["--model", str(whisper.folder), str(file)]) == 0
    assert capsys.readouterr().out == f"{expected(whisper, file)}\n"


def test_several_files_are_named_and_bad_ones_stop_nobody(
    whisper: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write(tmp_path / "good.wav")
    (tmp_path / "text.mp3").write_text("no sound")
    short = write(tmp_path / "short.wav", seconds=0.02)
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros(16_000), SAMPLE_RATE)
    bad = [tmp_path / "missing.mp3", tmp_path / "text.mp3", short, silent]
    assert main(["--model", str(whisper.folder), *map(str, [*bad, good])]) == 1
    told = capsys.readouterr()
    assert told.out == f"{good}\t{expected(whisper, good)}\n"
    lines = told.err.splitlines()
    reasons = ("missing clip", "undecodable clip", "short clip: 0.020 s", "silent clip")
    for line, file, reason in zip(lines, bad, reasons, strict=True):
        assert line.startswith(f"{file} cannot be used: {reason}")


def test_a_recording_longer_than_whisper_takes_is_read_in_windows(
    whisper: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--model", str(whisper.folder), str(write(tmp_path / "long.wav", seconds=47))]) == 0
    whole = len(capsys.readouterr().out)
    assert main(["--model", str(whisper.folder), str(write(tmp_path / "clip.wav", seconds=29))]) == 0
    assert whole > 1.3 * len(capsys.readouterr().out)


def test_in_the_precision_that_a_recipe_was_tested_in(
    whisper: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "clip.wav", seconds=10)
    assert main(["--model", str(whisper.folder), "--precision", "bfloat16", str(file)]) == 0
    with World.here().precision("bfloat16"):
        assert capsys.readouterr().out == f"{expected(whisper, file)}\n"


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("nowhere/at/all", "A model must be a folder or a hub name, but nowhere/at/all does not exist."),
        ("empty", "A model folder must have config.json, but"),
        ("bert", "A model must be a recogniser with a CTC head, but"),
        ("encoder", "A model must have a tokenizer and a feature extractor, but"),
        ("headless", "A model must have all its weights, but"),
    ],
)
def test_a_model_that_is_none_is_one_sentence(
    whisper: Exported, models: Path, tmp_path: Path, model: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"empty": tmp_path / "empty", "bert": models / "bert", "encoder": models / "wav2vec2"}
    (tmp_path / "empty").mkdir()
    if model == "headless":  # a pretrained encoder beside the tokenizer of a recogniser
        places[model] = testing.speech_encoder("hubert", tmp_path / "headless")
        for name in ("processor_config.json", "tokenizer_config.json", "vocab.json"):
            (places[model] / name).write_text((whisper.folder / name).read_text())
    assert main(["--model", str(places.get(model, model)), "clip.wav"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(sentence)
    assert error.count("\n") == 1
