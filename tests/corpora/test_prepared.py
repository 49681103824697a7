import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pydantic import ValidationError

import trainables
from trainables import testing
from trainables.config import explain
from trainables.corpora.audio import SAMPLE_RATE, decode
from trainables.corpora.common_voice import CommonVoice
from trainables.corpora.filters import LongestText, RoomForCTC, frames_needed, frames_of
from trainables.corpora.prepared import PreparedSplit, SplitPreparation
from trainables.corpora.text import Letters, LettersAndMarks


def preparation(root, **changes):
    corpus = CommonVoice(root=str(root), language="cs")
    chosen = {"corpus": corpus, "split": "valid", "normaliser": Letters(), "longest": 5, "filters": (RoomForCTC(),)}
    return SplitPreparation(**{**chosen, **changes})


def add(root, name, text):
    """One more row, and where its clip belongs."""
    row = {"client_id": "somebody", "path": name, "sentence": text, "locale": "cs"}
    with (root / "cs" / "dev.tsv").open("a") as file:
        file.write("\t".join(row.get(column, "") for column in testing.COLUMNS) + "\n")
    return root / "cs" / "clips" / name


def test_every_kind_of_bad_clip_is_quarantined_with_its_reason(tmp_path):
    root = testing.corpus(tmp_path, "cs", sizes=(1, 2, 1))
    good = testing.tone("abba")
    add(root, "empty.mp3", "abba").touch()
    soundfile.write(add(root, "truncated.wav", "abba"), good, SAMPLE_RATE)
    truncated = root / "cs" / "clips" / "truncated.wav"
    truncated.write_bytes(truncated.read_bytes()[:5000])
    soundfile.write(add(root, "silent.wav", "abba"), 0 * good, SAMPLE_RATE)
    soundfile.write(add(root, "stereo.wav", "Abba!"), np.stack([good, good], axis=1).repeat(3, axis=0), 48_000)
    soundfile.write(add(root, "long.wav", "abba"), np.tile(good, 10), SAMPLE_RATE)
    soundfile.write(add(root, "digits.wav", "42 %"), good, SAMPLE_RATE)
    soundfile.write(add(root, "talkative.wav", "abba " * 20), good, SAMPLE_RATE)
    add(root, "missing.wav", "abba")
    add(root, "text.mp3", "abba").write_text("Not a sound.\n" * 50)
    add(root, "folder/clip.wav", "abba")
    chosen = preparation(root)
    split = PreparedSplit(chosen.build())
    assert split.ids == ["common_voice_cs_dev_0", "common_voice_cs_dev_1", "stereo"]
    assert split.texts[2] == "abba"
    assert abs(split.samples[2] - len(good)) <= 1
    expected = {
        "empty": "empty clip", "truncated": "truncated clip", "silent": "silent clip", "long": "long clip",
        "digits": "empty transcript", "talkative": "transcript too long", "missing": "missing clip",
        "text": "undecodable clip", "line 13": "malformed row",
    }  # fmt: skip
    lines = [json.loads(line) for line in (split.folder / "quarantine.jsonl").read_text().splitlines()]
    assert {line["id"]: line["reason"] for line in lines} == expected
    assert all(line["detail"] for line in lines)
    manifest = split.manifest
    assert manifest["utterances"] == len(split) == 3
    assert manifest["quarantined"] == dict.fromkeys(expected.values(), 1)
    assert manifest["seconds"] == pytest.approx(split.samples.sum() / SAMPLE_RATE)
    assert "3 utterances" in chosen.summary()
    assert "1 × silent clip" in chosen.summary()


def test_clips_that_are_links_to_nothing_or_no_files_are_missing_and_strays_do_not_matter(tmp_path):
    root = testing.corpus(tmp_path, "cs", sizes=(1, 2, 1))
    clips = root / "cs" / "clips"
    add(root, "annex.wav", "abba").symlink_to("../.git/annex/objects/gone")
    add(root, "loop.wav", "abba").symlink_to("loop.wav")
    add(root, "folder.wav", "abba").mkdir()
    os.mkfifo(add(root, "pipe.wav", "abba"))
    (clips / "stray.wav").symlink_to("nowhere")
    (clips / "stray\udcff.wav").touch()
    split = PreparedSplit(preparation(root).build())
    assert split.manifest["quarantined"] == {"missing clip": 4}
    assert len(split) == 2


def test_a_table_that_a_spreadsheet_wrote_is_prepared_as_the_original(release, tmp_path):
    root = shutil.copytree(release, tmp_path / "copy")
    for table in (root / "cs").glob("*.tsv"):
        rows = [line.split("\t") for line in table.read_text().splitlines()]
        lines = ["\t".join(f'"{field}"' for field in fields) + "\r\n" for fields in rows]
        table.write_bytes("".join(lines).encode("utf-8-sig"))
    found = [PreparedSplit(preparation(place).build()) for place in (release, root)]
    assert found[0].texts == found[1].texts
    assert found[0].speakers == found[1].speakers
    assert found[1].manifest["quarantined"] == {}


def test_reasons_are_counted(tmp_path):
    root = testing.corpus(tmp_path, "cs", sizes=(1, 2, 1))
    for i in range(3):
        add(root, f"missing{i}.wav", "abba")
    assert PreparedSplit(preparation(root).build()).manifest["quarantined"] == {"missing clip": 3}


def test_a_split_without_one_usable_clip_is_refused_and_leaves_nothing(tmp_path):
    root = testing.corpus(tmp_path, "cs", sizes=(1, 2, 1))
    shutil.rmtree(root / "cs" / "clips")
    chosen = preparation(root)
    sentence = r"^cs valid must have at least one usable clip, but has none: .*'missing clip': 2"
    with pytest.raises(ValueError, match=sentence):
        chosen.build()
    assert not chosen.folder().exists()


def test_what_was_decoded_is_what_is_read(release):
    split = PreparedSplit(preparation(release, split="train").build())
    assert len(split) == 24
    for i, name in enumerate(split.ids):
        audio = decode(release / "cs" / "clips" / f"{name}.wav", longest=5)
        assert split.audio(i).dtype == np.int16
        assert np.array_equal(split.audio(i), audio)
        assert split.samples[i] == len(audio)


def test_texts_are_normalised_and_the_order_is_the_files(release):
    split = PreparedSplit(preparation(release).build())
    rows = [line.split("\t") for line in (release / "cs" / "dev.tsv").read_text().splitlines()[1:]]
    column = testing.COLUMNS.index("sentence")
    assert split.texts == [row[column].rstrip(".").lower() for row in rows]
    assert split.ids == [row[1].removesuffix(".wav") for row in rows]
    assert split.speakers == [row[0] for row in rows]


def test_the_second_build_writes_nothing(release):
    folder = preparation(release).build()
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert preparation(release).build() == folder
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_the_folder_depends_on_the_content_and_the_rules_and_not_on_the_place(release, tmp_path):
    chosen = preparation(release)
    moved = shutil.copytree(release, tmp_path / "moved")
    assert preparation(moved).folder() == chosen.folder()
    others = [
        preparation(release, normaliser=LettersAndMarks()), preparation(release, longest=4),
        preparation(release, split="test"), preparation(release, corpus=CommonVoice(root=str(release), language="ro")),
        preparation(release, filters=()), preparation(release, filters=(RoomForCTC(), LongestText(characters=9))),
    ]  # fmt: skip
    assert len({p.folder() for p in [chosen, *others]}) == 7
    with (moved / "cs" / "train.tsv").open("a") as file:
        file.write("\n")
    assert preparation(moved).folder() != chosen.folder()


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("damage", [flip_a_byte, cut])
def test_damaged_data_is_told_with_the_way_out(release, damage):
    chosen = preparation(release)
    data = chosen.build() / "data.arrow"
    damage(data)
    with pytest.raises(ValueError, match=r"must be as its manifest says.*delete its folder") as error:
        chosen.build()
    assert str(data) in str(error.value)
    shutil.rmtree(data.parent)
    assert PreparedSplit(chosen.build()).ids


def test_a_split_that_was_cut_short_does_not_open(release):
    folder = preparation(release).build()
    cut(folder / "data.arrow")
    with pytest.raises(ValueError, match=r"data\.arrow must be as its manifest says, but has \d+ bytes instead"):
        len(PreparedSplit(folder))


BUILDER = """
import sys, time
from pathlib import Path
from trainables.corpora.prepared import SplitPreparation

write = SplitPreparation._write
def slow(self, folder):
    print("wrote", end=" ")
    time.sleep(0.3)
    write(self, folder)
SplitPreparation._write = slow

chosen = SplitPreparation.model_validate_json(sys.argv[1])
ready, other = Path(sys.argv[2]), Path(sys.argv[3])
ready.touch()
while not other.exists():
    time.sleep(0.01)
print(chosen.build().name)
"""


def test_two_processes_at_once_give_one_result(release, tmp_path, cache):
    chosen = preparation(release)
    ready = [str(tmp_path / "a"), str(tmp_path / "b")]
    root = Path(trainables.__file__).parents[1]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", BUILDER, chosen.model_dump_json(), *order],
            cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for order in (ready, ready[::-1])
    ]  # fmt: skip
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    name = chosen.folder().name
    assert sorted(out.strip() for out, _ in outputs) == [name, f"wrote {name}"]
    assert [path.name for path in (cache / "prepared").iterdir() if path.suffix != ".lock"] == [name]
    assert len(PreparedSplit(chosen.folder())) == 8


def test_only_the_recipes_filters_leave_out_what_decodes(tmp_path):
    root = testing.corpus(tmp_path, "cs", sizes=(1, 2, 1))
    soundfile.write(add(root, "talkative.wav", "abba " * 20), testing.tone("abba"), SAMPLE_RATE)
    assert len(PreparedSplit(preparation(root, filters=()).build())) == 3
    for filters in [(RoomForCTC(),), (LongestText(characters=98),), (LongestText(characters=98), RoomForCTC())]:
        split = PreparedSplit(preparation(root, filters=filters).build())
        assert split.manifest["quarantined"] == {"transcript too long": 1}
    assert len(PreparedSplit(preparation(root, filters=(LongestText(characters=99),)).build())) == 3


def test_a_split_that_the_corpus_does_not_have_is_one_sentence(release):
    with pytest.raises(ValidationError) as error:
        preparation(release, split="dev")
    sentence = "`split` must be one of the corpus's, train, valid, test, but is 'dev' instead."
    assert explain(error.value) == sentence


@pytest.mark.parametrize(("text", "frames"), [("abc", 3), ("abba", 5), ("aaa", 5), ("a", 1)])
def test_repeated_characters_need_a_blank_between_them(text, frames):
    assert frames_needed(text) == frames


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (559, 0), (560, 1), (879, 1), (880, 2), (16_000, 49)])
def test_frames_are_pairs_of_windows(samples, frames):
    assert frames_of(samples) == frames
