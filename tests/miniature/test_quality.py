import numpy as np
import pytest
import soundfile

from trainables.miniature.quality import Pace, Sound, listen, sound_flags, text_flags, usual_pace

RATE = 16000
SPEECH = Sound(seconds=2.0, active_seconds=1.5, span_seconds=2.0, level_db=-20.0)
PACE = Pace(median=float(np.log(10.0)), spread=0.2)
TWENTY_LETTERS = "abcdefghij klmnopqrst"


@pytest.mark.parametrize(
    ("sentence", "flags"),
    [
        ("Dobře.", []),
        ("", ["no_text"]),
        ("...", ["no_letters"]),
        ("Mám 3 klíče.", ["digits_in_text"]),
        ("Skóre %1.", ["placeholder", "digits_in_text"]),
        ("Говорит rybka.", ["foreign_letters"]),
        ("A pak π.", ["foreign_letters"]),
    ],
)
def test_text_flags(sentence, flags):
    assert text_flags(sentence, "LATIN") == flags


def test_a_languages_own_letters_are_not_foreign():
    assert text_flags("Ένας βάτραχος.", "GREEK") == []
    assert text_flags("Жаба.", "GREEK") == ["foreign_letters"]


@pytest.mark.parametrize(
    ("change", "flags"),
    [
        ({}, []),
        ({"active_seconds": 0.1}, ["silent"]),
        ({"level_db": -60.0}, ["silent"]),
        ({"seconds": 0.2}, ["short"]),
        ({"seconds": 21.0}, ["long"]),
        ({"span_seconds": 0.5}, ["too_fast"]),
        ({"span_seconds": 8.0}, ["too_slow"]),
    ],
)
def test_sound_flags(change, flags):
    assert sound_flags(TWENTY_LETTERS, SPEECH._replace(**change), PACE) == flags


def test_short_sentences_may_be_slower():
    assert sound_flags("Ano", SPEECH._replace(span_seconds=0.8), PACE) == []
    assert sound_flags("Ano", SPEECH._replace(span_seconds=2.0), PACE) == ["too_slow"]


def test_an_undecodable_file_is_flagged(tmp_path):
    (tmp_path / "empty.ogg").touch()
    assert listen(tmp_path / "empty.ogg") is None
    assert sound_flags("Ano", None, PACE) == ["unreadable"]


def test_usual_pace_ignores_short_sentences_and_outliers():
    read = [(TWENTY_LETTERS, SPEECH._replace(span_seconds=20 / pace)) for pace in (9, 10, 10, 11, 500)]
    pace = usual_pace([*read, ("Ano", SPEECH._replace(span_seconds=100.0))])
    assert np.exp(pace.median) == pytest.approx(10)
    assert pace.spread == pytest.approx(1.4826 * np.log(1.1), rel=0.2)


def test_listen_finds_the_speech(tmp_path):
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE)  # one second
    samples = np.concatenate([np.zeros(RATE // 2), noise, np.zeros(RATE)])
    soundfile.write(tmp_path / "a.ogg", samples, RATE)
    sound = listen(tmp_path / "a.ogg")
    assert sound is not None
    assert sound.seconds == pytest.approx(2.5)
    assert sound.span_seconds == pytest.approx(1.0, abs=0.06)
    assert sound.level_db == pytest.approx(-20, abs=2)


def test_listen_to_almost_nothing(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(10), RATE)
    assert listen(tmp_path / "a.wav") == Sound(10 / RATE, 0.0, 0.0, -120.0)
