"""LibriSpeech and Libri-light's limited sets, in their real layouts."""

import json
import shutil

import pytest
import soundfile
from pydantic import TypeAdapter

from tests.corpora import books
from trainables.batch import Rejected, Utterance
from trainables.corpora.corpus import Corpus
from trainables.corpora.filters import RoomForCTC
from trainables.corpora.librispeech import LibriLight, LibriSpeech
from trainables.corpora.prepared import PreparedSplit, SplitPreparation
from trainables.corpora.text import LettersAndApostrophes


@pytest.fixture
def root(tmp_path):
    return books.librispeech(books.librilight(tmp_path / "data"))


def ids(corpus, split="train"):
    return [item.id for item in corpus.utterances(split)]


def limited(root, amount):
    return LibriLight(root=str(root), limited=str(root), amount=amount)


def test_every_clip_has_its_line_its_speaker_and_its_file(root):
    corpus = LibriSpeech(root=str(root))
    assert corpus.splits == ("train", "valid", "test-clean", "test-other")
    first, *_, last = corpus.utterances("train")
    assert first == Utterance(
        "103-1240-0000",
        root / "LibriSpeech/train-clean-100/103/1240/103-1240-0000.flac",
        "ABBA CAFE",
        "103",
    )
    assert isinstance(last, Utterance)
    assert (last.id, last.text) == ("19-1240-0003", "JIG")
    assert {item.speaker for item in corpus.utterances("test-other") if isinstance(item, Utterance)} == {"9"}
    assert LibriSpeech(root=str(root / "LibriSpeech")).fingerprint() == corpus.fingerprint()
    assert (corpus.release(), corpus.licence()) == ("LibriSpeech train-clean-100", "CC-BY-4.0")


def test_several_subsets_are_one_split_and_tests_are_a_choice(root):
    both = LibriSpeech(root=str(root), train=("train-clean-100", "dev-other"), valid="test-clean", tests=())
    assert both.splits == ("train", "valid")
    assert len(ids(both)) == 12
    assert str(both) == "LibriSpeech train-clean-100 + dev-other"


def test_each_limited_set_lies_within_the_next(root):
    ten_minutes, hour, ten_hours = (ids(limited(root, amount)) for amount in ("10min", "1h", "10h"))
    assert ten_minutes == [*(f"19-495-000{i}" for i in range(4)), "190-7-0000"]
    assert set(ten_minutes) < set(hour) < set(ten_hours)
    assert [len(hour), len(ten_hours)] == [6 * 5, 7 * 5] == [len({*hour}), len({*ten_hours})]
    assert ids(limited(root, "1h"), "test-clean") == [f"8-1240-000{i}" for i in range(4)]
    assert len({limited(root, amount).fingerprint() for amount in ("10min", "1h", "10h")}) == 3


def test_recipes_bring_both_back_from_json(root):
    for corpus in (LibriSpeech(root=str(root)), limited(root, "1h")):
        assert TypeAdapter(Corpus).validate_python(json.loads(corpus.model_dump_json())) == corpus


def test_the_fingerprint_sees_every_file_and_no_place(root, tmp_path):
    before = LibriSpeech(root=str(root)).fingerprint()
    shutil.copytree(root, tmp_path / "elsewhere")
    assert LibriSpeech(root=str(tmp_path / "elsewhere")).fingerprint() == before
    text = tmp_path / "elsewhere/LibriSpeech/dev-other/7/1240/7-1240.trans.txt"
    shutil.copytree(root, tmp_path / "changed")
    changed = tmp_path / "changed" / text.relative_to(tmp_path / "elsewhere")
    changed.write_text(text.read_text().replace("DEED", "DEEP"))
    assert LibriSpeech(root=str(tmp_path / "changed")).fingerprint() != before
    assert LibriSpeech(root=str(root), tests=()).fingerprint() != before


def test_clips_and_lines_without_each_other_and_damaged_lines_are_quarantined(root):
    folder = root / "LibriSpeech/dev-other/7/1240"
    file = folder / "7-1240.trans.txt"
    lines = file.read_text().splitlines()
    (folder / "7-1240-0002.flac").unlink()
    # A clip without a line, a line without its text, one that is twice there, one of another chapter.
    file.write_text("\n".join([lines[0], lines[0], lines[2], "7-1240-0003", "8-9-0001 OTHER"]))
    found = {item.id: item for item in LibriSpeech(root=str(root)).utterances("valid")}
    rejected = {name: (item.reason, item.detail) for name, item in found.items() if isinstance(item, Rejected)}
    assert rejected == {
        "7-1240.trans.txt line 2": ("malformed row", "7-1240-0000 has a line already"),
        "7-1240.trans.txt line 4": ("malformed row", "must be `7-1240-NUMBER TEXT`"),
        "7-1240.trans.txt line 5": ("malformed row", "must be `7-1240-NUMBER TEXT`"),
        "7-1240-0001": ("no transcript", "7-1240.trans.txt has no line for it"),
        "7-1240-0003": ("no transcript", "7-1240.trans.txt has no line for it"),
    }
    assert [name for name in found if name not in rejected] == ["7-1240-0000", "7-1240-0002"]


def test_prepared_and_read_back(root, tmp_path, monkeypatch):
    monkeypatch.setenv("L2S_CACHE", str(tmp_path / "cache"))
    preparation = SplitPreparation(
        corpus=limited(root, "1h"),
        split="train",
        normaliser=LettersAndApostrophes(),
        longest=20,
        filters=(RoomForCTC(),),
    )
    split = PreparedSplit(preparation.build())
    assert split.ids == ids(limited(root, "1h"))
    assert split.texts[:2] == ["abba cafe", "deed"]
    assert set(split.speakers) == {*map(str, range(19, 25)), *map(str, range(190, 250, 10))}
    info = soundfile.info(root / "librispeech_finetuning/1h/0/clean/19/495/19-495-0000.flac")
    assert split.samples[0] == info.frames


def test_speech_without_transcripts_can_be_listened_to_and_not_learned_from(root, tmp_path, monkeypatch):
    monkeypatch.setenv("L2S_CACHE", str(tmp_path / "cache"))
    for file in (root / "LibriSpeech").glob("**/*.trans.txt"):
        file.unlink()
    heard = SplitPreparation(corpus=LibriSpeech(root=str(root), tests=()), split="train", longest=20)
    assert len(PreparedSplit(heard.build())) == 8
    with pytest.raises(ValueError, match=r"must have at least one usable clip, but has none: {'no transcript': 8}"):
        heard.model_copy(update={"filters": (RoomForCTC(),)}).build()
