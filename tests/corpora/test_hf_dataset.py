"""Data sets of Hugging Face's layouts, made here and read without a network."""

import io
import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import soundfile

from trainables import testing
from trainables.batch import Utterance
from trainables.corpora.audio import SAMPLE_RATE
from trainables.corpora.filters import RoomForCTC
from trainables.corpora.hf_dataset import HFDataset
from trainables.corpora.prepared import PreparedSplit, SplitPreparation
from trainables.corpora.text import Letters
from trainables.recipes.distill_l2s import DistillL2S
from trainables.run import LocalRun

TEXTS = {"train": ["Abba cab.", "Bad, deed!", "Fig", "Hide head"], "validation": ["Jig"], "test": ["Cafe", "Acid bead"]}
MOOD = datasets.ClassLabel(names=["calm", "loud"])


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("reaches out")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(autouse=True)
def _no_progress() -> None:
    datasets.disable_progress_bars()


def sound(text: str, kind: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, testing.tone(text.lower()), SAMPLE_RATE, format=kind)
    return file.getvalue()


def table(split: str) -> datasets.Dataset:
    """Sounds as bytes, in two containers."""
    texts = TEXTS[split]
    return (
        datasets.Dataset.from_dict({
            "clip": [{"bytes": sound(t, ("WAV", "FLAC")[i % 2]), "path": f"{i}.wav"} for i, t in enumerate(texts)],
            "sentence": texts,
            "client": [None if i == 1 else 10 + i for i in range(len(texts))],
            "mood": [i % 2 if i < 2 else -1 for i in range(len(texts))],
            "name": [f"{split}{i}" for i in range(len(texts))],
        })
        .cast_column("clip", datasets.Audio())
        .cast_column("mood", MOOD)
    )  # fmt: skip


def saved(folder: Path) -> Path:
    datasets.DatasetDict({name: table(name) for name in TEXTS}).save_to_disk(folder)
    return folder


def parquets(folder: Path) -> Path:
    (folder / "data").mkdir(parents=True)
    for name in TEXTS:
        whole = table(name)
        parts = [whole.select(range(1)), whole.select(range(1, len(whole)))] if len(whole) > 1 else [whole]
        for i, part in enumerate(parts):
            part.to_parquet(folder / "data" / f"{name}-{i:05d}-of-{len(parts):05d}.parquet")
    (folder / "README.md").write_text("---\nlicense: cc0-1.0\n---\n")
    return folder


def audiofolder(folder: Path) -> Path:
    for name, texts in TEXTS.items():
        (folder / name).mkdir(parents=True)
        rows = [{"file_name": f"{i}.wav", "sentence": text, "name": f"{name}{i}"} for i, text in enumerate(texts)]
        (folder / name / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        for i, text in enumerate(texts):
            (folder / name / f"{i}.wav").write_bytes(sound(text))
    return folder


def corpus(root: Path, **fields: Any) -> HFDataset:
    return HFDataset(**{"root": str(root), "language": "en", "audio": "clip", "text": "sentence", **fields})


def prepared(chosen: HFDataset, split: str = "train") -> PreparedSplit:
    preparation = SplitPreparation(corpus=chosen, split=split, normaliser=Letters(), longest=5, filters=(RoomForCTC(),))
    return PreparedSplit(preparation.build())


@pytest.mark.parametrize("make", [saved, parquets])
def test_every_column_that_is_named_is_read(make: Callable[[Path], Path], tmp_path: Path) -> None:
    chosen = corpus(make(tmp_path / "data set"), speaker="client", id="name", labels=("mood",))
    split = prepared(chosen)
    assert split.ids == [f"train{i}" for i in range(4)]
    assert split.texts == ["abba cab", "bad deed", "fig", "hide head"]
    assert split.speakers == ["10", "", "12", "13"]
    assert split.labels == {"mood": ["calm", "loud", None, None]}
    for i, text in enumerate(TEXTS["train"]):
        expected = np.rint(testing.tone(text.lower()) * 32767)
        assert np.abs(split.audio(i) - expected).max() <= 1
    assert split.manifest["release"] == "data set"
    assert (chosen.release(), chosen.licence()) == ("data set", "unknown")
    assert [prepared(chosen, name).texts for name in ("valid", "test")] == [["jig"], ["cafe", "acid bead"]]


@pytest.mark.parametrize("make", [saved, parquets])
def test_a_column_may_have_two_uses(make: Callable[[Path], Path], tmp_path: Path) -> None:
    split = prepared(corpus(make(tmp_path / "data"), speaker="mood", labels=("mood",), id="sentence"))
    assert split.labels["mood"] == ["calm", "loud", None, None]
    assert split.speakers == ["calm", "loud", "", ""]
    assert split.ids == TEXTS["train"]


def test_an_audiofolder_is_read(tmp_path: Path) -> None:
    split = prepared(corpus(audiofolder(tmp_path / "folder"), audio="audio"))
    assert split.ids == [f"train_{i:06d}" for i in range(4)]
    assert split.texts == ["abba cab", "bad deed", "fig", "hide head"]
    assert split.speakers == [""] * 4
    assert split.labels == {}


def test_one_parquet_file_is_its_train(tmp_path: Path) -> None:
    table("train").to_parquet(tmp_path / "all.parquet")
    names = {"train": "train", "test": "train"}
    chosen = corpus(tmp_path / "all.parquet", split_names=names)
    assert chosen.splits == ("train", "test")
    assert prepared(chosen, "test").texts == prepared(chosen).texts


def test_one_split_that_was_saved_is_called_as_it_says_or_train(tmp_path: Path) -> None:
    table("test").save_to_disk(tmp_path / "one")
    assert prepared(corpus(tmp_path / "one", split_names={"test": "train"}), "test").texts == ["cafe", "acid bead"]


def test_audio_alone_needs_no_text(tmp_path: Path) -> None:
    chosen = corpus(saved(tmp_path / "saved"), text=None)
    preparation = SplitPreparation(corpus=chosen, split="train", normaliser=Letters(), longest=5)
    assert PreparedSplit(preparation.build()).texts == [""] * 4


def test_sounds_may_be_plain_paths_or_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(sound("abba"))
    for i, cell in enumerate(("a.wav", str(tmp_path / "a.wav"), sound("abba"), {"bytes": None, "path": "a.wav"})):
        datasets.Dataset.from_dict({"clip": [cell], "sentence": ["Abba"]}).to_parquet(tmp_path / f"{i}.parquet")
        found = prepared(corpus(tmp_path / f"{i}.parquet", split_names={"train": "train"}))
        assert abs(found.samples[0] - len(testing.tone("abba"))) <= 1


def test_what_cannot_be_heard_is_quarantined(tmp_path: Path) -> None:
    clips = [sound("abba"), b"no sound at all", b"", None, sound("abba")[:3000]]
    rows = {"clip": [{"bytes": clip, "path": None} for clip in clips], "sentence": ["Abba"] * 5}
    folder = tmp_path / "saved"
    datasets.Dataset.from_dict(rows).save_to_disk(folder)
    split = prepared(corpus(folder, split_names={"train": "train"}))
    assert split.ids == ["train_000000"]
    lines = [json.loads(line) for line in (split.folder / "quarantine.jsonl").read_text().splitlines()]
    assert {line["id"]: line["reason"] for line in lines} == {
        "train_000001": "undecodable clip", "train_000002": "missing clip", "train_000003": "missing clip",
        "train_000004": "truncated clip",
    }  # fmt: skip


def test_a_split_of_which_nothing_can_be_heard_is_one_sentence(tmp_path: Path) -> None:
    rows = {"clip": [{"bytes": b"no sound", "path": None}], "sentence": ["Abba"]}
    datasets.Dataset.from_dict(rows).save_to_disk(tmp_path / "saved")
    sentence = r"^en train must have at least one usable clip, but has none: \{'undecodable clip': 1\}\.$"
    with pytest.raises(ValueError, match=sentence):
        prepared(corpus(tmp_path / "saved", split_names={"train": "train"}))


def test_a_clip_that_an_audiofolder_lacks_is_missing(tmp_path: Path) -> None:
    folder = audiofolder(tmp_path / "folder")
    (folder / "train" / "2.wav").unlink()
    assert prepared(corpus(folder, audio="audio")).manifest["quarantined"] == {"missing clip": 1}


@pytest.mark.parametrize("make", [saved, parquets, audiofolder])
def test_a_column_that_is_not_there_is_one_sentence(make: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = make(tmp_path / "folder")
    chosen = corpus(folder, audio="audio" if make is audiofolder else "clip", text="transcript", speaker="who")
    there = "'sentence', 'name'" if make is audiofolder else "'clip', 'sentence', 'client', 'mood', 'name'"
    must = f"The columns of {folder} must include 'transcript', 'who', but are "
    for ask in (chosen.fingerprint, lambda: next(chosen.utterances("train"))):
        with pytest.raises(ValueError, match="must include") as error:
            ask()
        assert str(error.value).startswith(must)
        assert there in str(error.value)


def test_a_split_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    folder = saved(tmp_path / "saved")
    chosen = corpus(folder, split_names={"train": "train", "test": "test.other"})
    sentence = f"^The splits of {folder} must include 'test.other', but are train, validation, test instead\\.$"
    with pytest.raises(ValueError, match=sentence):
        chosen.fingerprint()


def test_what_is_no_data_set_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^The data must be a folder or a parquet file, but /no/where does not exist"):
        corpus(Path("/no/where")).fingerprint()
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ValueError, match=r"must be data that `datasets` can read, but is not: The directory at .*empty"
    ):
        corpus(tmp_path / "empty").fingerprint()
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 is how it begins")
    with pytest.raises(ValueError, match=r"broken\.parquet must be data that `datasets` can read, but is not: Parquet"):
        corpus(tmp_path / "broken.parquet").fingerprint()


def test_sounds_that_are_no_files_are_one_sentence(tmp_path: Path) -> None:
    rows = {"clip": [[0.0, 0.1]], "sentence": ["Abba"]}
    datasets.Dataset.from_dict(rows).save_to_disk(tmp_path / "saved")
    sentence = r"must be files, as bytes or by path, but one is a list instead\.$"
    with pytest.raises(ValueError, match=sentence):
        prepared(corpus(tmp_path / "saved", split_names={"train": "train"}))


@pytest.mark.parametrize("make", [saved, parquets, audiofolder])
def test_its_fingerprint_is_its_contents(make: Callable[[Path], Path], tmp_path: Path) -> None:
    audio = "audio" if make is audiofolder else "clip"
    folder = make(tmp_path / "here")
    first = corpus(folder, audio=audio).fingerprint()
    assert corpus(folder, audio=audio, title="Ours", terms="CC0").fingerprint() == first
    assert corpus(shutil.copytree(folder, tmp_path / "there"), audio=audio).fingerprint() == first
    assert corpus(make(tmp_path / "again"), audio=audio).fingerprint() == first
    (folder / "NOTES.txt").write_text("Beside the data.")
    assert corpus(folder, audio=audio).fingerprint() == first


@pytest.mark.parametrize("make", [saved, parquets, audiofolder])
@pytest.mark.parametrize("text", ["Jug", "Jig jig jig"])
def test_another_transcript_gives_another_fingerprint(
    make: Callable[[Path], Path], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = sound("abba")
    monkeypatch.setattr(f"{__name__}.sound", lambda *_: same)
    audio = "audio" if make is audiofolder else "clip"
    first = corpus(make(tmp_path / "first"), audio=audio).fingerprint()
    monkeypatch.setitem(TEXTS, "validation", [text])
    assert corpus(make(tmp_path / "second"), audio=audio).fingerprint() != first


@pytest.mark.parametrize("make", [saved, parquets, audiofolder])
def test_another_sound_gives_another_fingerprint(
    make: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = "audio" if make is audiofolder else "clip"
    first = corpus(make(tmp_path / "first"), audio=audio).fingerprint()
    longer = sound("abba " * 9)
    monkeypatch.setattr(f"{__name__}.sound", lambda *_: longer)
    assert corpus(make(tmp_path / "second"), audio=audio).fingerprint() != first


def test_nothing_of_it_is_copied_to_a_cache(tmp_path: Path, cache: Path) -> None:
    list(corpus(parquets(tmp_path / "data")).utterances("train"))
    assert sum(file.stat().st_size for file in cache.rglob("*") if file.is_file()) == 0


def test_a_recipe_trains_on_it(recipe: DistillL2S, release: Path, tmp_path: Path) -> None:
    """The same clips in another layout give the same student."""
    parts = {}
    for split in ("train", "valid", "test"):
        rows = [row for row in recipe.corpus.utterances(split) if isinstance(row, Utterance)]
        parts[split] = datasets.Dataset.from_dict({
            "audio": [{"bytes": Path(str(row.audio)).read_bytes(), "path": None} for row in rows],
            "text": [row.text for row in rows], "id": [row.id for row in rows], "who": [row.speaker for row in rows],
        })  # fmt: skip
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    names = {name: name for name in parts}
    other = HFDataset(root=str(tmp_path / "saved"), language="cs", id="id", speaker="who", split_names=names)
    optimisation = recipe.optimisation.model_copy(update={"steps": 5})
    first, second = (
        recipe.model_copy(update={"corpus": c, "optimisation": optimisation}) for c in (recipe.corpus, other)
    )
    assert str(first) == str(second)
    assert first.signature() != second.signature()
    assert DistillL2S.model_validate_json(second.model_dump_json()) == second
    assert first.run(LocalRun(tmp_path / "1")) == second.run(LocalRun(tmp_path / "2"))
