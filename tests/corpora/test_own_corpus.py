"""A corpus that is defined elsewhere: here, and in a package that only some process has on its path."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
from pydantic import ValidationError
from typing_extensions import override

from orchestrator.study.sweep import Sweep, grid, load
from trainables import testing
from trainables.batch import Rejected, Utterance
from trainables.config import Folder, explain
from trainables.corpora.audio import SAMPLE_RATE
from trainables.corpora.base import OwnCorpus
from trainables.corpora.batching import Loader
from trainables.corpora.filters import RoomForCTC
from trainables.corpora.prepared import PreparedSplit, SplitPreparation
from trainables.corpora.sources import Labels, Tokens
from trainables.corpora.text import CharacterVocabulary, Letters
from trainables.recipes.distill_l2s import DistillL2S
from trainables.run import LocalRun

COMMANDS = [("Abba, cab!", "up"), ("Bad cab.", "down"), ("Deed", "up")]


class Commands(OwnCorpus):
    """Three commands in each of two splits, spoken in tones; the last is not labelled."""

    folder: Folder
    loudness: int = 1

    @property
    @override
    def splits(self) -> tuple[str, ...]:
        return "train-clean", "speaker_test"

    @property
    @override
    def slots(self) -> tuple[str, ...]:
        return "action", "object"

    @override
    def utterances(self, split: str) -> Iterator[Utterance | Rejected]:
        for i, (text, action) in enumerate(COMMANDS):
            labels = {} if i == 2 else {"action": action}
            yield Utterance(f"{split}-{i}", Path(self.folder, f"{i}.wav"), text, f"speaker{i}", labels)

    @override
    def release(self) -> str:
        return "commands 1.0"

    @override
    def licence(self) -> str:
        return "CC0-1.0"

    @override
    def fingerprint(self) -> str:
        return "0123"


class Speechless(Commands):
    """The same without a transcript of the second."""

    @override
    def utterances(self, split: str) -> Iterator[Utterance | Rejected]:
        for i, found in enumerate(super().utterances(split)):
            yield found if i != 1 or isinstance(found, Rejected) else found._replace(text=None)


class Mislabelled(Commands):
    """The same with a label that was not announced."""

    @override
    def utterances(self, split: str) -> Iterator[Utterance | Rejected]:
        yield Utterance("odd", Path(self.folder, "0.wav"), "abba", "", {"colour": "red", "action": "up"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i, (text, _) in enumerate(COMMANDS):
        soundfile.write(tmp_path / f"{i}.wav", testing.tone(text.lower()), SAMPLE_RATE)
    return tmp_path


def preparation(corpus: OwnCorpus, split: str = "train-clean") -> SplitPreparation:
    return SplitPreparation(corpus=corpus, split=split, normaliser=Letters(), longest=5)


def test_it_is_prepared_with_its_labels(folder: Path) -> None:
    chosen = preparation(Commands(language="en", folder=str(folder)))
    assert str(chosen) == "en train-clean"
    split = PreparedSplit(chosen.build())
    assert split.texts == ["abba cab", "bad cab", "deed"]
    assert split.labels == {"action": ["up", "down", None], "object": [None] * 3}
    assert split.manifest["release"] == "commands 1.0"


def test_it_comes_back_from_its_type_and_its_json(folder: Path) -> None:
    corpus = Commands(language="en", folder=str(folder), loudness=3)
    chosen = preparation(corpus)
    description = {"type": chosen.type_name(), "fields": json.loads(chosen.model_dump_json())}
    found = load(description)
    assert isinstance(found, SplitPreparation)
    assert found == chosen
    assert isinstance(found.corpus, Commands)
    assert found.signature() == chosen.signature()
    assert SplitPreparation.model_validate(chosen.model_dump()) == chosen
    assert Commands.model_validate_json(corpus.model_dump_json()) == corpus
    with pytest.raises(ValidationError, match=r"Commands' does not\."):
        Speechless.model_validate_json(corpus.model_dump_json())


def test_two_of_one_content_are_two(folder: Path) -> None:
    chosen = [preparation(kind(language="en", folder=str(folder))) for kind in (Commands, Speechless)]
    moved = preparation(Commands(language="en", folder="/elsewhere"))
    assert chosen[0].signature() == moved.signature() != chosen[1].signature()


def test_utterances_without_a_transcript_are_prepared(folder: Path) -> None:
    split = PreparedSplit(preparation(Speechless(language="en", folder=str(folder))).build())
    assert split.texts == ["abba cab", "", "deed"]
    assert split.manifest["quarantined"] == {}
    with pytest.raises(ValueError, match=r"^All utterances of .* must have transcripts, but 1 of 3 have none\.$"):
        Tokens(split, CharacterVocabulary.of(split.texts))


def test_ctc_leaves_out_what_has_no_transcript(folder: Path) -> None:
    chosen = preparation(Speechless(language="en", folder=str(folder))).model_copy(update={"filters": (RoomForCTC(),)})
    assert PreparedSplit(chosen.build()).manifest["quarantined"] == {"no transcript": 1}


class Undigested(OwnCorpus):
    """Recordings in a folder for each split, with their transcripts beside them, and no digest of their own."""

    folder: Folder

    @property
    @override
    def slots(self) -> tuple[str, ...]:
        return ("who",)

    @override
    def utterances(self, split: str) -> Iterator[Utterance | Rejected]:
        for file in sorted(Path(self.folder, split).glob("*.wav")):
            text = file.with_suffix(".txt").read_text()
            yield Utterance(file.stem, file, text, "", {"who": text[0]}) if text else Rejected(file.stem, "empty", "")

    @override
    def release(self) -> str:
        return "undigested"

    @override
    def licence(self) -> str:
        return "CC0-1.0"


def undigested(folder: Path) -> Undigested:
    """With two recordings in each split, of which the first has a transcript."""
    for split in ("train", "valid", "test"):
        (folder / split).mkdir(parents=True)
        for name, text in (("a", "abba"), ("b", "")):
            (folder / split / f"{name}.wav").write_bytes(b"sound")
            (folder / split / f"{name}.txt").write_text(text)
    return Undigested(language="en", folder=str(folder))


def test_a_fingerprint_is_of_all_that_is_read(tmp_path: Path) -> None:
    corpus = undigested(tmp_path / "one")
    found = [corpus.fingerprint()]
    assert undigested(tmp_path / "other").fingerprint() == found[0]
    (tmp_path / "one" / "valid" / "a.txt").write_text("abbe")
    found.append(corpus.fingerprint())
    (tmp_path / "one" / "test" / "a.wav").write_bytes(b"another")
    found.append(corpus.fingerprint())
    (tmp_path / "one" / "train" / "b.txt").write_text("b")
    found.append(corpus.fingerprint())
    (tmp_path / "one" / "train" / "b.txt").rename(tmp_path / "one" / "train" / "c.txt")
    (tmp_path / "one" / "train" / "b.wav").rename(tmp_path / "one" / "train" / "c.wav")
    assert len({*found, corpus.fingerprint()}) == 5


def test_data_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    corpus = undigested(tmp_path)
    (tmp_path / "valid" / "a.txt").unlink()
    with pytest.raises(ValueError, match=r"^The split 'valid' must be readable, but is not: .*a\.txt'\.$"):
        corpus.fingerprint()
    nowhere = Undigested(language="en", folder="/nowhere")
    with pytest.raises(ValueError, match=r"^The split 'train' of undigested must have utterances, but has none\.$"):
        nowhere.fingerprint()


def test_a_split_that_it_does_not_have_is_one_sentence(folder: Path) -> None:
    with pytest.raises(ValidationError) as error:
        preparation(Commands(language="en", folder=str(folder)), "train")
    sentence = "`split` must be one of the corpus's, train-clean, speaker_test, but is 'train' instead."
    assert explain(error.value) == sentence


def test_a_label_in_no_slot_is_one_sentence(folder: Path) -> None:
    sentence = r"^Labels must be in the corpus's slots, action, object, but 'odd' has colour\.$"
    with pytest.raises(ValueError, match=sentence):
        preparation(Mislabelled(language="en", folder=str(folder))).build()


@pytest.mark.parametrize(
    ("name", "why"),
    [(None, "None cannot be imported"), ("nowhere:Corpus", "'nowhere:Corpus' cannot be imported: No module"),
     ("trainables:Corpus", "cannot be imported"), ("trainables.corpora.base:OwnCorpus", "does not."),
     ("trainables.corpora.common_voice:CommonVoice", "does not.")],
)  # fmt: skip
def test_a_type_that_is_no_such_corpus_is_one_sentence(name: str | None, why: str) -> None:
    fields = {"corpus": {"kind": "own", "language": "en"} | ({"type": name} if name else {})}
    with pytest.raises(ValidationError) as error:
        SplitPreparation.model_validate({**fields, "split": "train", "normaliser": {"kind": "letters"}, "longest": 5})
    sentence = explain(error.value)
    must = "`type` must name a class that derives from OwnCorpus, package.module:Class,"
    assert sentence.startswith(f"{must} but ")
    assert why in sentence


def test_labels_are_numbers_in_the_order_that_is_given(folder: Path) -> None:
    split = PreparedSplit(preparation(Commands(language="en", folder=str(folder))).build())
    split.labels["action"][2] = "up"
    split.labels["object"][:] = ["lamp", "lamp", "heat"]
    labels = Labels(split, {"object": ["heat", "lamp"], "action": ["up", "down"]})
    batch = next(Loader(split, {"labels": labels}).evaluation(seconds=60, rank=0, world_size=1))
    found = dict(zip(batch.indices, batch.sources["labels"].values.tolist(), strict=True))
    assert found == {0: [1, 0], 1: [1, 1], 2: [0, 0]}
    assert batch.sources["labels"].lengths.tolist() == [2, 2, 2]


def test_a_label_that_is_not_known_is_one_sentence(folder: Path) -> None:
    split = PreparedSplit(preparation(Commands(language="en", folder=str(folder))).build())
    with pytest.raises(ValueError, match=r"^The label 'action' must be one of up, but is None, down for some utteranc"):
        Labels(split, {"action": ["up"]})
    with pytest.raises(ValueError, match=r"^The label 'colour' must be one of red, but is None for some utterances"):
        Labels(split, {"colour": ["red"]})


PACKAGE = """
from pathlib import Path
from trainables.batch import Utterance
from trainables.config import Folder
from trainables.corpora.base import OwnCorpus
from trainables.corpora.common_voice import CommonVoice

class Mirror(OwnCorpus):
    root: Folder
    def original(self):
        return CommonVoice(root=self.root, language=self.language)
    def utterances(self, split):
        return self.original().utterances(split)
    def release(self):
        return "a mirror"
    def licence(self):
        return "CC0-1.0"
    def fingerprint(self):
        return self.original().fingerprint()
"""
ELSEWHERE = """
import json, sys
from orchestrator.study.sweep import load
from trainables.run import LocalRun
recipe = load(json.load(open(sys.argv[1])))
print(recipe.signature(), *(preparation.build().name for preparation in recipe.preparations()))
"""


def test_another_process_loads_a_recipe_over_a_corpus_of_another_package(
    recipe: DistillL2S, release: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "theirs" / "their_package"
    package.mkdir(parents=True)
    (package / "corpora.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(str(package.parent))
    from their_package.corpora import Mirror  # pyright: ignore[reportMissingImports]

    corpus: Any = Mirror(root=str(release), language="cs")
    optimisation = recipe.optimisation.model_copy(update={"steps": 5})
    mirrored = recipe.model_copy(update={"corpus": corpus, "optimisation": optimisation})
    trial = Sweep("mine", [mirrored], axes=("corpus.language",)).trials[0]
    assert trial.describe()["fields"]["corpus"]["type"] == "their_package.corpora:Mirror"
    assert [type(r.corpus) for r in grid(mirrored, {"corpus.language": ["cs", "ro"]})] == [Mirror, Mirror]
    (tmp_path / "recipe.json").write_text(json.dumps(trial.describe()))
    path = os.pathsep.join([os.getcwd(), str(package.parent)])
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(tmp_path / "recipe.json")],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [trial.signature, *(p.build().name for p in mirrored.preparations())]
    assert mirrored.run(LocalRun(tmp_path / "run")) == recipe.model_copy(update={"optimisation": optimisation}).run(
        LocalRun(tmp_path / "original")
    )
