import gzip
import io
import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.miniature.small_queen import dialogue, pack, tables
from tests.miniature.test_drascula import tables as drascula_tables
from trainables.miniature import amazon_queen, asterisk, drascula, game_books, locate_books, spoken_games
from trainables.miniature.__main__ import main
from trainables.miniature.books import Clip
from trainables.miniature.downloads import Archive, DownloadError
from trainables.miniature.game_cast import HELD_OUT, SPEAKERS, TRAIN

FIRST_LINES = (
    "Hello there, everybody.",
    "Wait for (sigh) me, Mr. King!",
    "It's 3 o'clock.",
    "Rock & roll.",
    "Only in training now.",
)


def sound(seconds=1.0, kind="MP3"):
    """Noise at the games' rate, as the bytes of a file."""
    noise = 0.1 * np.random.default_rng(0).standard_normal(int(seconds * drascula.RATE))
    data = io.BytesIO()
    soundfile.write(data, noise, drascula.RATE, format=kind)
    return data.getvalue()


def queen_file():
    """Characters of training, dev and test and one who is not known, who say nearly the same."""
    files, clip = tables(), sound()
    for key, who in enumerate(("BOB", "LOLA", "FAYE", "IAN", "ODD"), 11):
        lines = {number: f"{said[:-1]} {who}." if number else said for number, said in enumerate(FIRST_LINES)}
        files[f"{who}1.DOG"] = dialogue(key, {0: "*03"}, lines, ("", ""))
        files |= {f"{key}{number:04X}P1.SB": clip for number in lines}
    return pack(files)


def write_package(name, folder):
    """A small package of each name, unpacked."""
    if name == amazon_queen.PACKAGE:
        files = {amazon_queen.FILE: queen_file()}
    elif name == drascula.PACKAGE:
        samples = np.random.default_rng(0).integers(0, 255, drascula.RATE, dtype=np.uint8).tobytes()
        names = [f"{letters}{number}" for letters in drascula.VOICES for number in (1, 2, 3)]
        files = {f"{drascula.ROOT}/{name}.ALS": bytes(32) + samples + bytes(32) for name in names}
        files[f"{drascula.ROOT}/drascula.dat"] = drascula_tables()
    elif name == asterisk.TEXTS_PACKAGE:
        files = {f"{asterisk.TEXTS}/core-sounds-en.txt.gz": gzip.compress(b"press: Press pound.\nlong: Too long.\n")}
    else:
        files = {f"{asterisk.SOUNDS}/{name}.wav": sound(s, "WAV") for name, s in (("press", 1.0), ("long", 21.0))}
    files[f"usr/share/doc/{name}/copyright"] = f"Licence of {name}".encode()
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


@pytest.fixture
def debian(monkeypatch):
    """Debian with small packages, and limited sets to fit them."""

    def fetch(package, folder):
        folder.mkdir(exist_ok=True)
        return Archive(folder / "x.deb", package.name, "1", "0" * 64, package.licence, as_recorded=True)

    monkeypatch.setattr(spoken_games, "debian_package", fetch)
    monkeypatch.setattr(spoken_games, "unpack_debian", lambda archive, _, into: write_package(archive.package, into))
    monkeypatch.setattr(game_books, "SIXTH_SECONDS", 0.2)
    monkeypatch.setattr(game_books, "REST_SECONDS", 0.4)


@pytest.fixture
def few_clips(monkeypatch):
    """Clips drawn for several limited sets: one each would be more than the small packages have."""
    monkeypatch.setattr(game_books.books, "SIXTHS", ("1h/0", "1h/1"))


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def transcripts(folder):
    """The text of every clip under a folder, and its speaker."""
    found = {}
    for table in folder.rglob("*.trans.txt"):
        for line in table.read_text().splitlines():
            name, text = line.split(" ", maxsplit=1)
            assert soundfile.info(table.with_name(f"{name}.flac")).samplerate == 16000
            assert table.parts[-3:] == (*name.split("-")[:2], f"{name.rsplit('-', 1)[0]}.trans.txt")
            found[name] = text
    assert {path.stem for path in folder.rglob("*.flac")} == found.keys()
    return found


def test_build_writes_librispeech_and_libri_light(tmp_path, debian, few_clips):
    said = []
    folder = tmp_path / "game_books"
    game_books.build(folder, said.append)
    assert {path.name for path in folder.iterdir()} == {"LICENCES", "LibriSpeech", "librispeech_finetuning"}
    assert {path.name for path in tmp_path.iterdir()} == {".game_books.lock", "game_books"}
    books = folder / "LibriSpeech"
    assert {path.name for path in books.iterdir() if path.is_dir()} == {*TRAIN, *HELD_OUT}
    texts = {subset: transcripts(books / subset) for subset in (*TRAIN, *HELD_OUT)}
    assert sorted(texts["test-clean"].values()) == [
        "HELLO THERE EVERYBODY",
        "ONLY IN TRAINING NOW IAN",
        "WAIT FOR ME MISTER KING IAN",
    ]
    assert "HELLO THERE EVERYBODY" not in {*texts["dev-clean"].values(), *texts["train-clean-100"].values()}
    assert "PRESS POUND" in texts["train-clean-360"].values()
    assert all(re.fullmatch(r"[A-Z' ]+", text) for its in texts.values() for text in its.values())
    speakers = [{name.split("-")[0] for name in its} for its in texts.values()]
    assert len(set.union(*speakers)) == sum(map(len, speakers))

    drawn = transcripts(folder / "librispeech_finetuning")
    trained = texts["train-clean-100"] | texts["train-other-500"]
    assert drawn.items() <= trained.items()
    parts = {
        path.relative_to(folder / "librispeech_finetuning").parts[:-3] for path in folder.rglob("1h/*/*/*/*/*.flac")
    }
    assert parts == {("1h", sixth, half) for sixth in "01" for half in ("clean", "other")}

    sources = json.loads((books / "SOURCES.json").read_text())
    assert (books / "RELEASE.txt").read_text().strip() == sources["release"]
    assert f"{sources['sets']['960h']['minutes']} min for 960 h" in sources["release"]
    assert sources["sets"]["test-clean"]["clips"] == 3
    assert sources["dropped"]["queen"] == {"unknown_speaker": 5, "digits_in_text": 4, "symbol_in_text": 4}
    assert sources["dropped"]["asterisk"] == {"long": 1}
    assert sources["dropped"]["all"]["text_in_another_split"] > 0
    assert {package["licence"] for package in sources["packages"]} >= {"CC-BY-SA-3.0", "LicenseRef-Drascula"}
    assert (folder / "LICENCES/drascula.txt").read_text() == "Licence of drascula"
    assert said[-1] == sources["release"]


def test_two_builds_have_the_same_bytes_and_a_third_does_nothing(tmp_path, debian, few_clips):
    for name in ("first", "second"):
        game_books.build(tmp_path / name, lambda _: None)
    assert content(tmp_path / "first") == content(tmp_path / "second")
    said = []
    game_books.build(tmp_path / "second", said.append)
    assert said == []


def test_a_damaged_package_leaves_nothing_half_made(tmp_path, debian, few_clips, monkeypatch):
    def unpack(archive, _, into):
        write_package(archive.package, into)
        if archive.package == amazon_queen.PACKAGE:
            (into / amazon_queen.FILE).write_bytes(queen_file()[:-100])

    monkeypatch.setattr(spoken_games, "unpack_debian", unpack)
    with pytest.raises(DownloadError, match=r"^`queen\.1c` must hold .* whole, but ends before it does\.$"):
        game_books.build(tmp_path / "game_books", lambda _: None)
    assert {path.name for path in tmp_path.iterdir()} <= {".game_books.lock", ".game_books.downloads"}


def clip(name, text, seconds=1.0):
    return Clip(Path("x.flac"), text, seconds, SPEAKERS[name])


def test_a_held_out_speaker_gives_only_what_its_subset_takes():
    most = HELD_OUT["test-clean"]
    clips = [clip(name, "A", most / 2) for name in ("queen Ian", "queen Joe King") for _ in range(5)]
    kept = Counter(clip.speaker.name for clip in game_books.within_bounds(clips))
    assert kept == {"queen Ian": 2, "queen Joe King": 5}


def test_a_text_stays_in_test_before_dev_and_in_dev_before_training():
    said = defaultdict(list)
    clips = [clip("queen Ian", "A"), clip("queen Faye", "A"), clip("queen Faye", "B"), clip("queen Sparky", "A")]
    clips += [clip("queen Sparky", "B"), clip("queen Sparky", "C"), clip("queen chief", "A")]
    for kept in game_books.without_shared_texts(clips):
        said[kept.speaker.name].append(kept.text)
    assert said == {"queen Ian": ["A"], "queen Faye": ["B"], "queen Sparky": ["C"], "queen chief": ["A"]}


def test_every_character_but_animals_has_a_subset():
    characters = {f"queen {name}" for name in amazon_queen.CHARACTERS.values()}
    assert characters - SPEAKERS.keys() == {"queen gorilla", "queen guard dog"}
    assert {f"drascula {name}" for name in drascula.VOICES.values()} <= SPEAKERS.keys()
    assert len({speaker.number for speaker in SPEAKERS.values()}) == len(SPEAKERS)
    assert {speaker.subset for speaker in SPEAKERS.values()} == {*TRAIN, *HELD_OUT}


def test_the_command_builds_the_english_miniature(tmp_path, capsys):
    folders = locate_books(tmp_path)
    for folder in folders:
        folder.mkdir(parents=True)
    assert main(["--english", "--cache", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"librispeech: {folders.librispeech}",
        f"librilight: {folders.librilight}",
        f"teacher: {folders.teacher}",
        f"word_pieces: {folders.word_pieces}",
    ]


def test_english_and_synthetic_speech_exclude_each_other(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--english", "--synthetic", "--cache", str(tmp_path)])
    assert "not allowed with" in capsys.readouterr().err
