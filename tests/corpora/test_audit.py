"""What is said of splits that share texts and speakers."""

import json
from pathlib import Path

import pytest
import soundfile

from trainables import testing
from trainables.corpora.audio import SAMPLE_RATE
from trainables.corpora.audit import audit
from trainables.corpora.common_voice import CommonVoice
from trainables.corpora.prepared import PreparedSplit, SplitPreparation
from trainables.corpora.text import Letters

ROWS: dict[str, list[tuple[str, str]]] = {
    "train": [("ann", "Abba, abba!"), ("ben", "Baba?"), ("", "Cab 7.")],
    "valid": [("eva", "Dada.")],
    "test": [("ann", "abba abba"), ("eva", "BABA"), ("", "Dada."), ("dan", "42")],
}
FILES = {"train": "train", "valid": "dev", "test": "test"}


@pytest.fixture
def splits(tmp_path: Path) -> dict[str, PreparedSplit]:
    testing.corpus(tmp_path, "cs", sizes=(1, 1, 1))
    prepared: dict[str, PreparedSplit] = {}
    for split, rows in ROWS.items():
        lines = ["\t".join(testing.COLUMNS)]
        for i, (speaker, text) in enumerate(rows):
            soundfile.write(tmp_path / "cs" / "clips" / f"{split}{i}.wav", testing.tone("abba baba"), SAMPLE_RATE)
            row = {"client_id": speaker, "path": f"{split}{i}.wav", "sentence": text, "locale": "cs"}
            lines.append("\t".join(row.get(column, "") for column in testing.COLUMNS))
        (tmp_path / "cs" / f"{FILES[split]}.tsv").write_text("\n".join(lines) + "\n")
    corpus = CommonVoice(root=str(tmp_path), language="cs")
    for split in ROWS:
        preparation = SplitPreparation(corpus=corpus, split=split, normaliser=Letters(), longest=5)
        prepared[split] = PreparedSplit(preparation.build())
    return prepared


def test_what_stands_in_several_splits_is_counted(splits: dict[str, PreparedSplit]) -> None:
    found = audit(splits)
    assert found["test"]["in_train"] == {"utterances_of_texts": 2, "speakers": 1, "utterances_of_speakers": 1}
    assert found["valid"]["in_train"] == {"utterances_of_texts": 0, "speakers": 0, "utterances_of_speakers": 0}
    assert "in_train" not in found["train"]
    assert [found[split]["speakers"] for split in ROWS] == [2, 1, 2]
    assert [found[split]["utterances"] for split in ROWS] == [3, 1, 3]
    assert found["test"]["quarantined"] == {"empty transcript": 1}


def test_what_the_normaliser_deletes_is_counted(splits: dict[str, PreparedSplit]) -> None:
    train = audit(splits)["train"]
    assert train["normaliser"] == "letters"
    assert train["deleted"] == {"P": {"!": 1, ",": 1, ".": 1, "?": 1}, "N": {"7": 1}}
    assert train["characters"] == len("abba abba" + "baba" + "cab") + 5


def test_what_is_deleted_without_being_seen_is_counted(tmp_path: Path) -> None:
    testing.corpus(tmp_path, "tr", sizes=(1, 1, 1))
    soundfile.write(tmp_path / "tr" / "clips" / "a.wav", testing.tone("abba baba"), SAMPLE_RATE)
    sentences = ["Abba\u2028baba\u0085cab", "İ cab\u00a0\u200bbad.", "A\u3000b"]
    rows = "".join(f"ann\ta.wav\t{sentence}\n" for sentence in sentences)
    (tmp_path / "tr" / "train.tsv").write_text(f"client_id\tpath\tsentence\n{rows}", encoding="utf-8")
    corpus = CommonVoice(root=str(tmp_path), language="tr")
    split = PreparedSplit(SplitPreparation(corpus=corpus, split="train", normaliser=Letters(), longest=5).build())
    assert split.texts == ["abba baba cab", "i cab bad", "a b"]
    train = audit({"train": split})["train"]
    unseen = {"C": {"\u0085": 1, "\u200b": 1}, "Z": {"\u2028": 1}, "M": {"\u0307": 1}, "P": {".": 1}}
    assert train["deleted"] == unseen
    assert train["characters"] == sum(map(len, split.texts)) + 5


def test_nobody_is_named(splits: dict[str, PreparedSplit]) -> None:
    text = json.dumps(audit(splits))
    assert not any(name in text for name in ("ann", "ben", "eva", "abba"))
