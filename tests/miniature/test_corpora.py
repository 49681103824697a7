import csv
import json

import numpy as np
import pytest
import soundfile

from trainables.miniature import locate, sentences, spoken_games, tux_paint
from trainables.miniature.__main__ import main
from trainables.miniature.downloads import Archive, DownloadError
from trainables.miniature.recording import Recording
from trainables.miniature.release import SPLITS, split_of
from trainables.miniature.spoken_games import build, judge
from trainables.miniature.synthetic_speech import SIZES

RATE = 16000


def write_speech(path, seconds):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = 0.1 * np.random.default_rng(0).standard_normal(int(seconds * RATE))
    soundfile.write(path, noise, RATE)


@pytest.fixture
def stamps(monkeypatch):
    """Debian with one small package: thirty descriptions, one with digits, one without text."""

    def unpack(archive, wanted, target):
        folder = target / tux_paint.ROOT / "animals"
        for index in range(32):
            write_speech(folder / f"stamp{index}_desc_ro.ogg", 1.0)
            if index != 31:
                word = "3 broaște verzi" if index == 30 else "o broască " + "abcdefghij"[index % 10] * 3
                (folder / f"stamp{index}.txt").write_text(f"A frog.\nro.utf8={word}\n")

    def fetch(package, folder):
        folder.mkdir(exist_ok=True)
        return Archive(folder / "x.deb", package.name, "1", "0" * 64, package.licence, as_recorded=False)

    monkeypatch.setattr(spoken_games, "debian_package", fetch)
    monkeypatch.setattr(spoken_games, "unpack_debian", unpack)


def test_build_writes_a_release(tmp_path, stamps):
    said = []
    folder = tmp_path / "common_voice"
    build(folder, said.append, ["ro"])
    assert sorted(path.name for path in folder.iterdir()) == ["RELEASE.txt", "SOURCES.json", "ro"]
    assert {path.name for path in tmp_path.iterdir()} == {".common_voice.lock", "common_voice"}
    rows = []
    for split in SPLITS:
        with (folder / "ro" / f"{split}.tsv").open(encoding="utf-8", newline="") as file:
            here = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        assert all(split_of(row["sentence"], "ro") == split for row in here)
        rows += here
    assert {row["path"] for row in rows} == {path.name for path in (folder / "ro/clips").iterdir()}
    sources = json.loads((folder / "SOURCES.json").read_text())
    assert sources["languages"]["ro"]["dropped"] == {"digits_in_text": 1, "no_text": 1}
    assert sum(sources["languages"]["ro"]["clips"].values()) == len(rows) == 30
    assert sources["packages"][0]["as_recorded"] is False
    assert any("figures may differ" in line for line in said)


def test_a_second_build_does_nothing(tmp_path, stamps):
    said = []
    for _ in range(2):
        said.clear()
        build(tmp_path / "common_voice", said.append, ["ro"])
    assert said == []


def test_judge_compares_with_the_pace_of_the_source(tmp_path):
    recordings = []
    for index in range(12):
        write_speech(tmp_path / f"{index}.wav", 1.0)
        recordings.append(Recording(tmp_path / f"{index}.wav", str(index), "deset písmen", "somebody"))
    recordings[0] = recordings[0]._replace(sentence="mnohem  více slov než kdo za vteřinu řekne " * 3)
    judged = judge(recordings, "LATIN")
    assert judged[0].flags == ["too_fast"]
    assert "  " not in judged[0].recording.sentence
    assert all(item.flags == [] and item.seconds == 1.0 for item in judged[1:])


@pytest.mark.parametrize("locale", sorted(sentences.WORDS))
def test_synthetic_sentences_are_as_many_as_asked_distinct_and_always_the_same(locale):
    chosen = sentences.sentences(locale, SIZES)
    assert {split: len(texts) for split, texts in chosen.items()} == SIZES
    everything = [text for texts in chosen.values() for text in texts]
    assert len(set(everything)) == 380
    assert chosen == sentences.sentences(locale, SIZES)


def test_the_command_tells_a_failure_in_one_sentence(tmp_path, monkeypatch, capsys):
    def fail(*_, **__):
        raise DownloadError("`apt-get` must be on PATH.")

    monkeypatch.setattr("trainables.miniature.__main__.build", fail)
    assert main(["--cache", str(tmp_path)]) == 1
    output = capsys.readouterr()
    assert output.err == "`apt-get` must be on PATH.\n"
    assert output.out == ""


def test_the_command_only_says_where_things_are_when_all_are_there(tmp_path, capsys):
    folders = locate(tmp_path)
    for folder in folders:
        folder.mkdir(parents=True)
    assert main(["--cache", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"corpus: {folders.corpus}",
        f"student: {folders.student}",
        f"teacher: {folders.teacher}",
    ]
