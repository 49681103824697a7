import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from tests.exported import ENCODERS, VOCABULARY, Exported, ours, text_of, waveforms
from trainables import testing, transcribe
from trainables.corpora.audio import SAMPLE_RATE, decode
from trainables.corpora.text import DELIMITER
from trainables.decoding.beam import PrefixBeam
from trainables.decoding.language import Language
from trainables.decoding.lexicon import Lexicon
from trainables.language import arpa
from trainables.language.kneser_ney import estimate
from trainables.training import World
from trainables.transcribe import USUAL, main

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


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TypeError("No format specified"), "TypeError: No format specified"),
        (RuntimeError("not enough memory:\nyou tried to allocate 9 GB"), "RuntimeError: not enough memory:"),
        (MemoryError(), "MemoryError"),
        (PermissionError(13, "Permission denied"), "PermissionError: [Errno 13] Permission denied"),
    ],
)
def test_whatever_one_file_raises_stops_no_other(
    error: Exception,
    reason: str,
    whisper: Exported,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def decoding(file: Path, **options: Any) -> Any:
        if file == bad:
            raise error
        return decode(file, **options)

    bad, *good = [write(tmp_path / f"{name}.wav") for name in ("bad", "one", "other")]
    monkeypatch.setattr(transcribe, "decode", decoding)
    assert main(["--model", str(whisper.folder), *map(str, (good[0], bad, good[1]))]) == 1
    told = capsys.readouterr()
    assert told.out == "".join(f"{file}\t{expected(whisper, file)}\n" for file in good)
    assert told.err == f"{bad} cannot be used: {reason}\n"


def test_samples_without_a_header_stop_nobody(
    whisper: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write(tmp_path / "good.wav")
    (tmp_path / "headerless.raw").write_bytes(bytes(range(256)) * 64)
    assert main(["--model", str(whisper.folder), str(tmp_path / "headerless.raw"), str(good)]) == 1
    told = capsys.readouterr()
    assert told.out == f"{good}\t{expected(whisper, good)}\n"
    assert told.err.startswith(f"{tmp_path}/headerless.raw cannot be used: ")


@pytest.mark.parametrize("name", ["caf\udce9.wav", "\u010de\u0161tina.wav", "100%.wav"])
def test_names_that_the_output_cannot_hold_are_escaped(
    name: str, whisper: Exported, tmp_path: Path, ascii_output: Callable[[], io.BytesIO]
) -> None:
    good = write(tmp_path / "good.wav")
    file = tmp_path / name
    file.write_bytes(good.read_bytes())
    printed = ascii_output()
    assert main(["--model", str(whisper.folder), str(file), str(good)]) == 0
    lines = printed.getvalue().splitlines()
    assert [line.split(b"\t")[0] for line in lines] == [
        os.fspath(path).encode("ascii", "backslashreplace") for path in (file, good)
    ]


def test_a_name_that_is_not_utf_8_is_no_matter_in_utf_8(
    whisper: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing, good = tmp_path / "no caf\udce9.wav", write(tmp_path / "good.wav").rename(tmp_path / "caf\udce9.wav")
    assert main(["--model", str(whisper.folder), str(missing), str(good)]) == 1
    told = capsys.readouterr()
    assert told.out.startswith(f"{tmp_path}/caf\\udce9.wav\t")
    assert told.err.startswith(f"{tmp_path}/no caf\\udce9.wav cannot be used: missing clip")


def test_it_ends_quietly_when_nobody_reads_any_more(
    whisper: Exported, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        files = [str(write(tmp_path / f"{i}.wav")) for i in range(2)]
        assert main(["--model", str(whisper.folder), *files]) == 0
    monkeypatch.undo()
    assert capfd.readouterr().err == ""


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


def test_an_ngram_decides_with_what_is_heard(
    exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, model = write(tmp_path / "clip.wav"), tmp_path / "model.arpa"
    letters = [token for token in VOCABULARY.tokens[: VOCABULARY.unknown] if token != DELIMITER]
    words = ["".join(letters[:2]), letters[1], letters[0]]
    arpa.write(estimate([words, words[:1]], 2), model)
    common = ["--model", str(exported.folder), "--lm", str(model)]
    assert main([*common, str(file)]) == 0
    text = capsys.readouterr().out
    assert {*text.split()} <= {*words}
    audio = torch.from_numpy(decode(file, longest=60).astype(np.float32) / 32768)
    found = ours(exported.model, [audio]).values.log_softmax(dim=2)[0].numpy()
    decoder = PrefixBeam().build(VOCABULARY, Language(model, Lexicon.of(words, VOCABULARY)))
    assert text.strip() == decoder.candidates(found, USUAL)[0].text
    # A word score that forbids words leaves none.
    assert main([*common, "--word-score", "-99", str(file)]) == 0
    assert capsys.readouterr().out == "\n"


def test_an_ngram_that_cannot_be_used_is_one_sentence(
    whisper: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, model = write(tmp_path / "long.wav", seconds=31), tmp_path / "model.arpa"
    common = ["--model", str(whisper.folder), str(file)]
    for options, said in (
        (["--lm", str(model)], "model.arpa"),
        (["--lexicon", str(model)], "`--lexicon` is of the words of `--lm`"),
    ):
        assert main([*options, *common]) == 2
        told = capsys.readouterr().err
        assert said in told
        assert told.count("\n") == 1
    letters = [token for token in VOCABULARY.tokens[: VOCABULARY.unknown] if token != DELIMITER]
    arpa.write(estimate([letters[:1]], 1), model)
    assert main(["--lm", str(model), "--lm-weight", "-1", *common]) == 2
    assert "`weight` must be 0 to 10, but is -1" in capsys.readouterr().err
    assert main(["--lm", str(model), *common]) == 1
    assert "with a language model there may be 30 at most" in capsys.readouterr().err


def test_what_was_heard_of_a_file_that_failed_is_not_the_next_ones(
    whisper: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = write(tmp_path / "first.wav", seconds=0.1), write(tmp_path / "second.wav")
    letters = [token for token in VOCABULARY.tokens[: VOCABULARY.unknown] if token != DELIMITER]
    arpa.write(estimate([letters, letters[:2]], 2), tmp_path / "model.arpa")
    common = ["--model", str(whisper.folder), "--lm", str(tmp_path / "model.arpa"), "--word-score", "3"]
    assert main([*common, str(second)]) == 0
    alone = capsys.readouterr().out.strip()
    pipeline = transcribe._Pipeline
    postprocess, left = pipeline.postprocess, [True]

    def failing(self: Any, *arguments: Any, **options: Any) -> Any:
        if left:
            left.clear()
            raise MemoryError("no room")
        return postprocess(self, *arguments, **options)

    monkeypatch.setattr(pipeline, "postprocess", failing)
    assert main([*common, str(first), str(second)]) == 1
    assert capsys.readouterr().out.strip() == f"{second}\t{alone}"
