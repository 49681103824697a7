"""LibriSpeech and Libri-light with what copying, editing and other systems leave in them."""

import json
import os
import shutil

import pytest
from pydantic import ValidationError

from tests.corpora import books
from tests.corpora.strays import dangle, fill, loop, pipe, sentence_of
from trainables.batch import Rejected, Utterance
from trainables.config import explain
from trainables.corpora.librispeech import LibriLight, LibriSpeech
from trainables.corpora.prepared import PreparedSplit, SplitPreparation


@pytest.fixture
def root(tmp_path):
    return books.librispeech(tmp_path / "data")


@pytest.fixture
def limited(tmp_path):
    return books.librilight(books.librispeech(tmp_path / "data"))


@pytest.fixture
def chapter(root):
    """The only chapter of dev-other."""
    return root / "LibriSpeech/dev-other/7/1240"


def table(chapter):
    return chapter / "7-1240.trans.txt"


def valid(root):
    return list(LibriSpeech(root=str(root)).utterances("valid"))


def texts(root):
    return {item.id: item.text for item in valid(root) if isinstance(item, Utterance)}


def rejected(root):
    return {item.id: (item.reason, item.detail) for item in valid(root) if isinstance(item, Rejected)}


def ten_hours(root):
    return LibriLight(root=str(root), limited=str(root), amount="10h")


def prepared(root):
    """What of dev-other is heard, with or without transcripts."""
    return PreparedSplit(SplitPreparation(corpus=LibriSpeech(root=str(root)), split="valid", longest=20).build())


@pytest.mark.parametrize("text", [b"DE\xffED", b"\xc3", b"D\xed\xa0\x80"])
def test_a_line_that_is_not_utf_8_costs_its_clip_alone(root, chapter, text):
    content = table(chapter).read_bytes()
    table(chapter).write_bytes(content.replace(b"DEED", text))
    assert rejected(root) == {
        "7-1240.trans.txt line 2": ("malformed row", "holds bytes that are not UTF-8"),
        "7-1240-0001": ("no transcript", "7-1240.trans.txt has no line for it"),
    }
    assert texts(root) == {"7-1240-0000": "ABBA CAFE", "7-1240-0002": "FIG HIDE", "7-1240-0003": "JIG"}


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"\xef\xbb\xbf" + content,
        lambda content: content.replace(b"\n", b"\r\n"),
        lambda content: content.rstrip(b"\n"),
        lambda content: content + b"\n \n",
        lambda content: content.replace(b" ", b"\t", 1),
    ],
    ids=["mark", "CRLF", "no end", "empty lines", "tab"],
)
def test_what_editors_do_to_a_file_of_transcripts_changes_none(root, chapter, change):
    before = texts(root)
    table(chapter).write_bytes(change(table(chapter).read_bytes()))
    assert texts(root) == before
    assert not rejected(root)


def test_a_line_separator_in_a_text_ends_no_line(root, chapter):
    table(chapter).write_text(table(chapter).read_text().replace("FIG HIDE", "FIG\u2028HIDE\x0b"))
    assert texts(root)["7-1240-0002"] == "FIG\u2028HIDE"
    assert not rejected(root)


@pytest.mark.parametrize("name", ["7-1240-0001b", "7-1240-", "7-12401-0001", "7-1240-٣", "7-1240-0001.wav"])
def test_what_is_no_name_of_a_clip_is_told_and_not_taken(root, chapter, name):
    with table(chapter).open("a") as file:
        file.write(f"{name} FIG\n")
    shutil.copy(chapter / "7-1240-0001.flac", chapter / f"{name}.flac")
    assert rejected(root) == {
        "7-1240.trans.txt line 5": ("malformed row", "must be `7-1240-NUMBER TEXT`"),
        f"7-1240 {name}.flac": ("malformed name", "must be `7-1240-NUMBER.flac`"),
    }
    assert len(texts(root)) == 4


def test_a_name_that_is_not_utf_8_ends_no_preparation(root, chapter):
    (chapter / "7-1240-\udcff.flac").touch()
    other = books.chapter(root / "LibriSpeech/dev-other", 8, 2, ["JIG"])
    other.parent.rename(other.parents[1] / "8\udcff")
    split = prepared(root)
    assert len(split) == 4
    lines = [json.loads(line) for line in (split.folder / "quarantine.jsonl").read_text().splitlines()]
    assert [(line["id"], line["reason"]) for line in lines] == [
        ("7-1240 7-1240-\\udcff.flac", "malformed name"),
        ("8\\udcff-2 8-2-0000.flac", "malformed name"),
    ]


@pytest.mark.parametrize("with_transcripts", [True, False])
def test_hidden_files_and_strays_are_not_looked_at(root, chapter, with_transcripts):
    if not with_transcripts:
        table(chapter).unlink()
    before, fingerprint = valid(root), LibriSpeech(root=str(root)).fingerprint()
    (chapter / "._7-1240-0000.flac").write_bytes(b"\0\5\x16\7")  # what macOS leaves on other disks
    (chapter / "notes.txt").touch()
    (chapter.parent / ".DS_Store").touch()
    shutil.copytree(chapter, chapter.parent / ".ipynb_checkpoints")
    dangle(chapter.parents[1] / "11")
    loop(chapter.parents[1] / "12")
    pipe(chapter.parents[1] / "13")
    loop(chapter / "7-1240.bak")
    assert valid(root) == before
    assert LibriSpeech(root=str(root)).fingerprint() == fingerprint


@pytest.mark.parametrize("stray", [dangle, loop, fill, pipe])
def test_a_clip_that_is_no_file_is_missing(root, chapter, stray):
    (chapter / "7-1240-0001.flac").unlink()
    stray(chapter / "7-1240-0001.flac")
    assert prepared(root).manifest["quarantined"] == {"missing clip": 1}


def test_a_clip_that_two_parts_have_is_taken_once(limited):
    home = limited / "librispeech_finetuning"
    (first,) = (home / "1h/0/clean").glob("*/*")
    again = home / "9h/clean" / first.parent.name / first.name
    shutil.copytree(first, again)
    found = list(ten_hours(limited).utterances("train"))
    twice = [item for item in found if isinstance(item, Rejected)]
    assert [(item.id, item.reason) for item in twice] == [(f"19-495-000{i}", "duplicate clip") for i in range(4)]
    assert twice[0].detail == f"is in {first} too"
    names = [item.id for item in found if isinstance(item, Utterance)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("gone", "named"),
    [("9h", "9h"), ("9h/other", "9h/other"), ("1h/3", "1h/3"), ("1h/5/clean", "1h/5/clean"), ("1h", "1h/0, 1h/1")],
)
def test_a_part_of_libri_light_that_is_missing_is_one_sentence(limited, gone, named):
    shutil.rmtree(limited / "librispeech_finetuning" / gone)
    for ask in (ten_hours(limited).fingerprint, lambda: next(ten_hours(limited).utterances("train"))):
        message = sentence_of(ask)
        assert message.startswith("Libri-light's 10h must have the folders 1h/0 to 1h/5 and 9h, each with ")
        assert f"but {limited}/librispeech_finetuning lacks {named}" in message


def test_ten_minutes_need_their_own_folder_alone(limited):
    shutil.rmtree(limited / "librispeech_finetuning/9h")
    shutil.rmtree(limited / "librispeech_finetuning/1h/1")
    chosen = LibriLight(root=str(limited), limited=str(limited), amount="10min")
    assert len(chosen.fingerprint()) == 16
    message = sentence_of(chosen.model_copy(update={"amount": "1h"}).fingerprint)
    assert message.endswith("librispeech_finetuning lacks 1h/1.")
    assert "1h must have the folders 1h/0 to 1h/5, each with" in message


def test_a_subset_that_is_missing_is_named_with_those_that_are_there(root):
    shutil.rmtree(root / "LibriSpeech/dev-other")
    message = sentence_of(LibriSpeech(root=str(root)).fingerprint)
    assert message == (
        f"LibriSpeech must have the folder dev-other, but {root / 'LibriSpeech'} has only: "
        "test-clean, test-other, train-clean-100."
    )


@pytest.mark.parametrize("name", ["gone", "data/LibriSpeech/train-clean-100"])
def test_a_root_without_subsets_is_one_sentence(root, tmp_path, name):
    message = sentence_of(LibriSpeech(root=str(tmp_path / name)).fingerprint)
    assert message.startswith(f"LibriSpeech must have the folder train-clean-100, but {tmp_path / name}")
    assert message.endswith("has no folders." if name == "gone" else "has only: 103, 19.")


def test_a_subset_without_a_clip_is_named_whatever_the_others_have(root, chapter):
    for clip in chapter.glob("*.flac"):
        clip.rename(clip.with_suffix(".wav"))
    message = sentence_of(LibriSpeech(root=str(root)).fingerprint)
    assert message.startswith(f"{root / 'LibriSpeech/dev-other'} must have clips in SPEAKER/CHAPTER/*.flac, but")


@pytest.mark.parametrize("place", ["", "7", "7/1240", "7/1240/7-1240.trans.txt"])
def test_what_may_not_be_read_is_named(root, monkeypatch, place):
    refused = str(root / "LibriSpeech/dev-other" / place)

    def refuse(function):
        def refusing(path, *arguments, **options):
            if str(path).rstrip("/") == refused:
                raise PermissionError(13, "Permission denied", str(path))
            return function(path, *arguments, **options)

        return refusing

    monkeypatch.setattr("os.listdir", refuse(os.listdir))
    monkeypatch.setattr("os.scandir", refuse(os.scandir))
    monkeypatch.setattr("pathlib.Path.read_bytes", refuse(type(root).read_bytes))
    for ask in (LibriSpeech(root=str(root)).fingerprint, lambda: valid(root)):
        message = sentence_of(ask)
        assert refused in message
        assert message.endswith("Permission denied.")


def test_a_change_in_a_chapter_is_seen_by_the_process_that_has_looked_before(root, chapter):
    found = [LibriSpeech(root=str(root)).fingerprint()]

    def look():
        found.append(LibriSpeech(root=str(root)).fingerprint())

    table(chapter).write_text(table(chapter).read_text().replace("DEED", "FEED"))
    look()
    (chapter / "7-1240-0001.flac").unlink()
    look()
    books.chapter(root / "LibriSpeech/dev-other", 7, 1241, ["JIG"])
    look()
    table(chapter).unlink()
    look()
    assert len(set(found)) == 5


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"tests": ("test-clean", "test-clean")}, "Each split must have a name of its own, but 'test-clean' is twice."),
        ({"tests": ("train",)}, "Each split must have a name of its own, but 'train' is twice."),
        (
            {"train": ("train-clean-100", "train-clean-100")},
            "`train` must have each subset once, and none of `valid` and `tests`, but has 'train-clean-100' again.",
        ),
        (
            {"train": ("train-clean-100", "dev-other")},
            "`train` must have each subset once, and none of `valid` and `tests`, but has 'dev-other' again.",
        ),
    ],
)
def test_splits_that_overlap_are_one_sentence(fields, sentence):
    with pytest.raises(ValidationError) as error:
        LibriSpeech(root="/data", **fields)
    assert explain(error.value) == sentence


@pytest.mark.parametrize("name", ["../dev-other", "a/b", "", ".hidden", ".."])
def test_a_subset_is_a_folder_of_the_release_and_no_path(name):
    with pytest.raises(ValidationError, match="valid"):
        LibriSpeech(root="/data", valid=name)
