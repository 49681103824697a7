import os
import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.corpora.strays import dangle, fill, loop, pipe, sentence_of
from trainables.batch import Rejected, Utterance
from trainables.config import digest
from trainables.corpora.common_voice import CommonVoice, _fingerprint

RELEASE_6_1 = [
    "client_id", "path", "sentence", "up_votes", "down_votes", "age", "gender", "accent", "locale", "segment",
]  # fmt: skip
RELEASE_22 = [
    "client_id", "path", "sentence_id", "sentence", "sentence_domain", "up_votes", "down_votes", "age", "gender",
    "accents", "variant", "locale", "segment",
]  # fmt: skip


def row(header, **values):
    values = {"client_id": "00aa", "path": "a.mp3", "sentence": "Ahoj.", "locale": "cs", **values}
    return "\t".join(values.get(column, "") for column in header)


def corpus(root, lines, *, header=RELEASE_6_1, end="\n"):
    """A release whose splits all have these lines."""
    (root / "cs").mkdir(parents=True)
    content = end.join(["\t".join(header), *lines, ""])
    for name in ("train.tsv", "dev.tsv", "test.tsv"):
        (root / "cs" / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    return CommonVoice(root=str(root), language="cs")


def only(found):
    (item,) = found
    return item


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("header", [RELEASE_6_1, RELEASE_22, ["sentence", "path", "client_id"]])
@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_every_release_and_every_line_end(tmp_path, header, end, split):
    line = row(header, path="common_voice_cs_20487399.mp3", sentence="Oba muži byli zatčeni.", up_votes="2")
    found = corpus(tmp_path / "r", [line], header=header, end=end).utterances(split)
    audio = tmp_path / "r" / "cs" / "clips" / "common_voice_cs_20487399.mp3"
    expected = Utterance("common_voice_cs_20487399", audio, "Oba muži byli zatčeni.", "00aa")
    assert only(found) == expected


def test_the_old_releases_leave_the_extension_out(tmp_path):
    utterance = only(corpus(tmp_path / "r", [row(RELEASE_6_1, path="0a1b2c")]).utterances("train"))
    assert isinstance(utterance, Utterance)
    assert isinstance(utterance.audio, Path)
    assert utterance.audio.name == "0a1b2c.mp3"
    assert utterance.id == "0a1b2c"


@pytest.mark.parametrize("sentence", ['"Ano," řekl.', 'Řekl "ne', "a\u2028b", "a\x0cb", "a\rb", " spaces  stay "])
def test_sentences_are_kept_as_they_are(tmp_path, sentence):
    lines = [row(RELEASE_6_1, sentence=sentence), row(RELEASE_6_1)]
    found = corpus(tmp_path / "r", lines).utterances("train")
    assert [u.text for u in found if isinstance(u, Utterance)] == [sentence, "Ahoj."]


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        (row(RELEASE_6_1) + "\textra", "11 fields, must be 10"),
        ("00aa\ta.mp3", "2 fields, must be 10"),
        ("", "1 fields, must be 10"),
        (row(RELEASE_6_1, path="../secret.mp3"), "`path` must be a file name, but is '../secret.mp3'"),
        (row(RELEASE_6_1, path="..\\secret.mp3"), r"`path` must be a file name, but is '..\\secret.mp3'"),
        (row(RELEASE_6_1, path=""), "`path` must be a file name, but is ''"),
        (row(RELEASE_6_1, path="a\0.mp3"), r"`path` must be a file name, but is 'a\x00.mp3'"),
        (row(RELEASE_6_1, sentence="Ahoj\udcff."), "holds bytes that are not UTF-8"),
    ],
)
def test_a_malformed_row_is_rejected_with_its_line_number_and_the_others_stay(tmp_path, line, detail):
    good = row(RELEASE_6_1)
    first, second, third = corpus(tmp_path / "r", [good, line, good]).utterances("train")
    assert isinstance(first, Utterance)
    assert second == Rejected("line 3", "malformed row", detail)
    assert isinstance(third, Utterance)


def test_a_missing_root_is_named(tmp_path):
    missing = CommonVoice(root=str(tmp_path / "none"), language="cs")
    assert str(tmp_path / "none") in sentence_of(missing.fingerprint)
    assert str(tmp_path / "none") in sentence_of(list, missing.utterances("train"))


def test_a_missing_language_is_named_with_those_that_are_there(release):
    message = sentence_of(CommonVoice(root=str(release), language="pt").fingerprint)
    assert "'pt'" in message
    assert "cs, ro" in message


def test_a_root_without_any_language(tmp_path):
    assert "only: none" in sentence_of(CommonVoice(root=str(tmp_path), language="pt").fingerprint)


@pytest.mark.parametrize("name", ["train.tsv", "dev.tsv", "test.tsv"])
def test_a_missing_table_is_named(release, tmp_path, name):
    root = shutil.copytree(release, tmp_path / "copy")
    (root / "cs" / name).unlink()
    assert name in sentence_of(CommonVoice(root=str(root), language="cs").fingerprint)


def test_a_missing_column_is_named(tmp_path):
    header = ["client_id", "path", "text"]
    message = sentence_of(list, corpus(tmp_path / "r", ["a\tb\tc"], header=header).utterances("train"))
    assert "sentence" in message
    assert "train.tsv" in message


def test_an_empty_table_has_no_columns(tmp_path):
    data = corpus(tmp_path / "r", [])
    (tmp_path / "r" / "cs" / "train.tsv").write_bytes(b"")
    assert "client_id, path, sentence" in sentence_of(list, data.utterances("train"))


def test_a_language_must_be_a_locale_and_no_path():
    with pytest.raises(ValidationError, match="language"):
        CommonVoice(root="/data", language="../cs")
    assert CommonVoice(root="/data", language="zh-CN").language == "zh-CN"


def test_the_fingerprint_does_not_depend_on_where_the_data_lies(release, tmp_path):
    here = CommonVoice(root=str(release), language="cs")
    there = CommonVoice(root=str(shutil.copytree(release, tmp_path / "copy")), language="cs")
    assert here.fingerprint() == there.fingerprint()
    assert digest(here.identity()) == digest(there.identity())
    assert here.fingerprint() != CommonVoice(root=str(release), language="ro").fingerprint()


@pytest.mark.parametrize("name", ["train.tsv", "dev.tsv", "test.tsv"])
def test_the_fingerprint_changes_with_one_byte_of_a_table(release, tmp_path, name):
    root = shutil.copytree(release, tmp_path / "copy")
    data = CommonVoice(root=str(root), language="cs")
    before = data.fingerprint()
    content = bytearray((root / "cs" / name).read_bytes())
    content[content.index(b"speaker0")] ^= 1
    (root / "cs" / name).write_bytes(content)
    assert data.fingerprint() != before


def test_the_fingerprint_changes_with_the_size_of_a_clip_and_when_one_goes(release, tmp_path):
    root = shutil.copytree(release, tmp_path / "copy")
    data = CommonVoice(root=str(root), language="cs")
    clip = root / "cs" / "clips" / "common_voice_cs_dev_3.wav"
    fingerprints = [data.fingerprint()]
    (tmp_path / "longer.wav").write_bytes(clip.read_bytes() + b"\0")
    (tmp_path / "longer.wav").replace(clip)
    fingerprints.append(data.fingerprint())
    clip.unlink()
    fingerprints.append(data.fingerprint())
    assert len(set(fingerprints)) == 3


def test_a_file_that_no_table_names_is_no_part_of_the_fingerprint(release, tmp_path):
    root = shutil.copytree(release, tmp_path / "copy")
    data = CommonVoice(root=str(root), language="cs")
    before = data.fingerprint()
    (root / "cs" / "clips" / "stray.wav").touch()
    assert data.fingerprint() == before


def test_the_fingerprints_of_releases_that_have_been_trained_on_stay_as_they_are(release):
    found = [CommonVoice(root=str(release), language=language).fingerprint() for language in ("cs", "ro")]
    assert found == ["bf5fb1466029b4fa", "f0bb961d4014ccdd"]


@pytest.mark.parametrize("name", ["stray.wav", ".git", "\udcff.wav", "x" * 250, "two\nlines", "a\tb"])
@pytest.mark.parametrize("stray", [dangle, loop, fill, pipe])
def test_nothing_that_no_table_names_matters(copy, stray, name):
    root, data = copy
    before = data.fingerprint()
    stray(root / "cs" / "clips" / name)
    assert data.fingerprint() == before


@pytest.mark.parametrize("left", [dangle, loop, fill, pipe])
def test_a_clip_that_is_no_file_is_as_one_that_is_missing(copy, left):
    root, data = copy
    clip = root / "cs" / "clips" / "common_voice_cs_dev_3.wav"
    clip.unlink()
    missing = data.fingerprint()
    left(clip)
    _fingerprint.cache_clear()
    assert data.fingerprint() == missing


def test_a_clip_that_may_not_be_looked_at_is_as_one_that_is_missing(copy, monkeypatch):
    root, data = copy
    whole, look = data.fingerprint(), os.stat

    def refuse(path, **options):
        if str(path).endswith("dev_3.wav"):
            raise PermissionError(13, "Permission denied", str(path))
        return look(path, **options)

    clip = root / "cs" / "clips" / "common_voice_cs_dev_3.wav"
    clip.replace(root / "cs" / "elsewhere")
    missing = data.fingerprint()
    (root / "cs" / "elsewhere").replace(clip)
    _fingerprint.cache_clear()
    assert data.fingerprint() == whole
    _fingerprint.cache_clear()
    monkeypatch.setattr("trainables.corpora.common_voice.os.stat", refuse)
    assert data.fingerprint() == missing != whole


def test_a_name_that_no_file_system_takes_is_a_missing_clip(tmp_path):
    data = corpus(tmp_path / "r", [row(RELEASE_6_1, path="x" * 300 + ".mp3")])
    (tmp_path / "r" / "cs" / "clips").mkdir()
    assert len(data.fingerprint()) == 16


def unlink(clips):
    shutil.rmtree(clips)


def replace_by_file(clips):
    shutil.rmtree(clips)
    clips.touch()


def replace_by_dangling_link(clips):
    shutil.rmtree(clips)
    clips.symlink_to("nowhere")


def test_clips_that_are_no_folder_are_all_missing(release, tmp_path):
    found = set()
    for i, change in enumerate((unlink, replace_by_file, replace_by_dangling_link)):
        root = shutil.copytree(release, tmp_path / str(i))
        change(root / "cs" / "clips")
        found.add(CommonVoice(root=str(root), language="cs").fingerprint())
    assert len(found) == 1


def test_whatever_lies_in_the_root_a_missing_language_is_named_with_those_that_are_there(copy):
    root, _ = copy
    dangle(root / "da")
    loop(root / "de")
    pipe(root / "el")
    (root / "eo").mkdir()
    dangle(root / "eo" / "train.tsv")
    shutil.copytree(root / "cs", root / "b\udcff")
    shutil.copytree(root / "cs", root / "two words")
    message = sentence_of(CommonVoice(root=str(root), language="pt").fingerprint)
    assert message.endswith("but there is only: cs, ro.")


@pytest.mark.parametrize("place", ["", "cs", "cs/train.tsv"])
def test_what_may_not_be_looked_at_is_named(copy, monkeypatch, place):
    root, data = copy
    look = os.stat

    def refuse(path, **options):
        if str(path).rstrip("/") == str(root / place):
            raise PermissionError(13, "Permission denied", str(path))
        return look(path, **options)

    monkeypatch.setattr("trainables.corpora.common_voice.os.stat", refuse)
    message = sentence_of(data.fingerprint)
    assert message.startswith(str(root / place))
    assert message.endswith("but is not: Permission denied.")


def test_a_root_that_may_not_be_listed_is_named(copy, monkeypatch):
    root, _ = copy

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("trainables.corpora.common_voice.os.listdir", refuse)
    message = sentence_of(CommonVoice(root=str(root), language="pt").fingerprint)
    assert message == f"The data root must be a folder that can be read, but {root} is none: Permission denied."


def test_a_table_that_is_no_file_is_named(copy):
    root, data = copy
    (root / "cs" / "dev.tsv").unlink()
    dangle(root / "cs" / "dev.tsv")
    assert "dev.tsv does not exist" in sentence_of(data.fingerprint)
    (root / "cs" / "dev.tsv").unlink()
    loop(root / "cs" / "dev.tsv")
    assert "Too many levels of symbolic links" in sentence_of(data.fingerprint)
