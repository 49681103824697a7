import gzip

import pytest

from trainables.miniature.asterisk import SOUNDS, TEXTS, parse_texts, recordings, wanted
from trainables.miniature.downloads import DownloadError

TABLE = """; Core Asterisk Sounds in English

agent-pass: Please enter your password: then press pound.
dictate/paused : Paused.
beep: [a beep]
nonsense
"""


@pytest.fixture
def exchange(tmp_path):
    for name in ("agent-pass", "dictate/paused", "silence/1"):
        (tmp_path / SOUNDS / name).with_suffix(".wav").parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / SOUNDS / name).with_suffix(".wav").touch()
    (tmp_path / TEXTS).mkdir(parents=True)
    (tmp_path / TEXTS / "core-sounds-en.txt.gz").write_bytes(gzip.compress(TABLE.encode()))
    return tmp_path


def test_wanted():
    assert wanted(f"{SOUNDS}/dictate/paused.wav")
    assert wanted(f"{TEXTS}/core-sounds-en.txt.gz")
    assert not wanted(f"{TEXTS}/changelog.Debian.gz")


def test_parse_texts():
    assert parse_texts(TABLE) == {
        "agent-pass": "Please enter your password: then press pound.",
        "dictate/paused": "Paused.",
        "beep": "[a beep]",
    }


def test_recordings(exchange):
    assert {(item.name, item.sentence, item.speaker) for item in recordings(exchange)} == {
        ("asterisk-agent-pass", "Please enter your password: then press pound.", "asterisk Allison Smith"),
        ("asterisk-dictate-paused", "Paused.", "asterisk Allison Smith"),
        ("asterisk-silence-1", "", "asterisk Allison Smith"),
    }


def test_missing_and_damaged_texts_are_told_of(exchange):
    table = exchange / TEXTS / "core-sounds-en.txt.gz"
    table.write_bytes(table.read_bytes()[:-12])
    with pytest.raises(DownloadError, match=r"^`core-sounds-en\.txt\.gz` must be text in gzip that can be read, but"):
        next(recordings(exchange))
    table.unlink()
    with pytest.raises(DownloadError, match="must hold the announcements' texts, but does not"):
        next(recordings(exchange))
