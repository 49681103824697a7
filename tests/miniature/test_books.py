import os
from itertools import pairwise

import pytest

from trainables.miniature import books
from trainables.miniature.books import REST, SIXTHS, Clip, Speaker, in_chapters, limited, transcript, write
from trainables.miniature.downloads import DownloadError

ANN, BOB = Speaker(7, "queen Ann", "F", "train-clean-100"), Speaker(12, "queen Bob", "M", "train-clean-100")


@pytest.fixture
def clips(tmp_path):
    """Sixty clips of Bob, and three of Ann, of a second each."""
    found = []
    for number in range(63):
        file = tmp_path / f"{number}.flac"
        file.write_bytes(b"%d" % number)
        found.append(Clip(file, f"TEXT {number}", 1.0, BOB if number < 60 else ANN))
    return found


@pytest.mark.parametrize(
    ("sentence", "written"),
    [
        ("Mr. King, isn't it?", "MISTER KING ISN'T IT"),
        ("It\u00b4s Dr. O\u2019Hara's wild-eyed toupé...", "IT'S DOCTOR O'HARA'S WILD EYED TOUPE"),
        ("(sigh) Well <CRUNCH> then [beep]", "WELL THEN"),
        ("'Tis Drs. and drama", "'TIS DRS AND DRAMA"),
        ("' - '", ""),
        ("(sigh)", ""),
    ],
)
def test_transcript(sentence, written):
    assert transcript(sentence) == written


def test_chapters_have_fifty_clips_and_are_counted_through(clips):
    names = [clip.name for clip in in_chapters(clips)]
    assert names[:3] == ["7-1-0000", "7-1-0001", "7-1-0002"]
    assert names[3] == "12-2-0000"
    assert names[52] == "12-2-0049"
    assert names[53] == "12-3-0000"
    assert len(set(names)) == 63


def test_write(clips, tmp_path):
    written = write(tmp_path / "out", in_chapters(clips))
    chapter = tmp_path / "out/12/3"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["12", "7"]
    assert len(list(chapter.glob("*.flac"))) == 10
    lines = (chapter / "12-3.trans.txt").read_text().splitlines()
    assert lines[0] == "12-3-0000 TEXT 50"
    assert len(lines) == 10
    assert (chapter / "12-3-0000.flac").read_bytes() == b"50"
    assert {clip.flac.stem for clip in written} == {clip.name for clip in written}


def test_a_clip_of_several_sets_lies_on_the_disk_once_where_that_can_be(clips, tmp_path, monkeypatch):
    (linked,) = write(tmp_path / "linked", in_chapters(clips[:1]))
    assert linked.flac.samefile(clips[0].flac)

    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    (copied,) = write(tmp_path / "copied", in_chapters(clips[:1]))
    assert not copied.flac.samefile(clips[0].flac)
    assert copied.flac.read_bytes() == clips[0].flac.read_bytes()


def test_speakers(clips, tmp_path):
    books.write_speakers(tmp_path, clips)
    assert (tmp_path / "SPEAKERS.TXT").read_text().splitlines() == [
        ";ID  |SEX| SUBSET           |MINUTES| NAME",
        "7    | F | train-clean-100  | 0.05  | queen Ann",
        "12   | M | train-clean-100  | 1.00  | queen Bob",
    ]


def test_limited_sets_share_no_clip_and_have_what_was_asked(clips):
    halves = {"clean": in_chapters(clips), "other": in_chapters(clips[:40])}
    drawn = dict(limited(halves, sixth_seconds=4.0, rest_seconds=20.0))
    assert list(drawn) == [f"{part}/{half}" for half in halves for part in (*SIXTHS, REST)]
    for part, chosen in drawn.items():
        assert len(chosen) == (10 if part.startswith(REST) else 2)
    for half in halves:
        names = [{clip.name for clip in drawn[f"{part}/{half}"]} for part in (*SIXTHS, REST)]
        assert len(set.union(*names)) == sum(map(len, names)) == 22
    again = dict(limited({half: clips[::-1] for half, clips in halves.items()}, 4.0, 20.0))
    assert again == drawn
    assert all(first != second for first, second in pairwise(drawn.values()))


def test_too_little_speech_for_limited_sets_is_told_of(clips):
    with pytest.raises(DownloadError, match=r"^The packages must hold speech enough for 9h/clean, but do not\.$"):
        dict(limited({"clean": in_chapters(clips)}, sixth_seconds=4.0, rest_seconds=200.0))
