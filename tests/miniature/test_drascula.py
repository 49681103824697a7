import struct

import pytest
import soundfile

from trainables.miniature.downloads import DownloadError
from trainables.miniature.drascula import ROOT, VOICES, read_texts, recordings, wanted

WIDTHS = (4, 4, 4, 2, 4, 2, 4, 2, 2, 20, 20, 10, 8)


def block(texts):
    """The texts of one language, as the tables have them."""
    data = b"\0\0"
    for said in ("", *texts):
        content = said.encode("cp850") + b"\0\0"
        data += struct.pack(">H", len(content) + 2) + content
    return struct.pack(">H", len(data)) + data


def tables():
    """A `drascula.dat` of two languages, in which every character has two texts."""
    data = b"DRASCULA\1" + b"".join(struct.pack(">H", 2) + bytes(2 * width) for width in WIDTHS)
    data += struct.pack(">H", 2)
    for letters in VOICES:
        data += struct.pack(">H", 3)
        data += block([f"{letters} toupé", f"LINE TWO {letters}"]) + block(["UNO", "DOS"])
    return data


@pytest.fixture
def game(tmp_path):
    folder = tmp_path / ROOT
    folder.mkdir(parents=True)
    (folder / "drascula.dat").write_bytes(tables())
    return folder


def test_wanted():
    assert wanted(f"{ROOT}/12.ALS")
    assert wanted(f"{ROOT}/drascula.dat")
    assert not wanted(f"{ROOT}/AUX1.ALG")
    assert not wanted("usr/share/scummvm/drascula/es/12.ALS")


def test_read_texts():
    texts = read_texts(tables())
    assert list(texts) == list(VOICES)
    assert all(said == ["", f"{letters} toupé", f"LINE TWO {letters}"] for letters, said in texts.items())


def test_recordings(game, tmp_path):
    for name in ("1", "D2", "VB9", "S3", "ICON"):
        (game / f"{name}.ALS").write_bytes(bytes(32) + bytes([0, 128, 255]) + bytes(32))
    found = {item.name: item for item in recordings(tmp_path)}
    assert {name: (item.sentence, item.speaker) for name, item in found.items()} == {
        "drascula-1": (" toupé", "drascula John Hacker"),
        "drascula-D2": ("LINE TWO D", "drascula Count Drascula"),
        "drascula-VB9": ("", "drascula Von Braun"),
    }
    samples, rate = soundfile.read(found["drascula-1"].audio, dtype="int16")
    assert rate == 11025
    assert samples.tolist() == [-128 << 8, 0, 127 << 8]


def test_missing_texts_are_told_of(game, tmp_path):
    (game / "drascula.dat").unlink()
    with pytest.raises(
        DownloadError, match=r"^`drascula` must hold drascula\.dat, which has the texts, but does not\.$"
    ):
        next(recordings(tmp_path))


@pytest.mark.parametrize("size", [5, 30, len(tables()) // 2, len(tables()) - 20])
def test_truncated_texts_are_told_of(size):
    with pytest.raises(DownloadError, match=r"^`drascula\.dat` must hold its tables whole, but ends within them\.$"):
        read_texts(tables()[:size])
