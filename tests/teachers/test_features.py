import shutil

import numpy as np
import pytest
import torch

from trainables.corpora.common_voice import CommonVoice
from trainables.corpora.prepared import PreparedSplit, SplitPreparation
from trainables.corpora.text import Letters
from trainables.teachers.features import CachedFeatures, FeaturePreparation
from trainables.teachers.language_model import LanguageModel
from trainables.testing import OnlineFeatures


def preparation(release, models, **changes):
    split = SplitPreparation(
        corpus=CommonVoice(root=str(release), language="cs"), split="valid", normaliser=Letters(), longest=5
    )
    teacher = LanguageModel(model=str(models / "bert"))
    return FeaturePreparation(**{"teacher": teacher, "split": split, **changes})


@pytest.fixture
def chosen(release, models):
    return preparation(release, models)


def test_cached_features_are_the_online_ones_in_half_precision(chosen, monkeypatch):
    monkeypatch.setattr("trainables.teachers.features.TEXTS_AT_ONCE", 3)  # several batches, the last not full
    cached = CachedFeatures(chosen.build())
    online = OnlineFeatures(chosen.teacher.build(), PreparedSplit(chosen.split.build()))
    assert cached.values.dtype == np.float16
    for indices in (np.arange(8), np.array([5, 0, 7]), np.array([3])):
        mine, theirs = cached(indices), online(indices)
        assert mine.values.dtype == torch.float32
        assert torch.equal(mine.lengths, theirs.lengths)
        torch.testing.assert_close(mine.values, theirs.values, rtol=1e-3, atol=1e-3)


def test_a_teacher_wants_a_gpu_and_a_split_none(chosen):
    assert (chosen.accelerated, chosen.split.accelerated) == (True, False)


def test_the_second_build_writes_nothing(chosen):
    folder = chosen.build()
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert chosen.build() == folder
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_the_folder_depends_on_teacher_and_split_and_not_on_their_place(release, models, chosen, tmp_path):
    moved = LanguageModel(model=str(shutil.copytree(models / "bert", tmp_path / "bert")))
    assert preparation(release, models, teacher=moved).folder() == chosen.folder()
    layer = LanguageModel(model=str(models / "bert"), layer=-1)
    split = chosen.split.model_copy(update={"split": "test"})
    folders = {preparation(release, models, **c).folder() for c in ({}, {"teacher": layer}, {"split": split})}
    assert len(folders) == 3


def test_the_features_of_texts_that_another_version_prepared_are_others(chosen, monkeypatch):
    before = chosen.folder()
    monkeypatch.setattr(SplitPreparation, "format", 1000)
    assert chosen.folder() != before


def flip_a_byte(content):
    content[len(content) // 2] ^= 1
    return content


@pytest.mark.parametrize("name", ["values.bin", "rows.npy"])
@pytest.mark.parametrize("damage", [flip_a_byte, lambda content: content[:-8], lambda content: content[:5]])
def test_damaged_features_are_told_with_the_way_out(chosen, name, damage):
    path = chosen.build() / name
    path.write_bytes(damage(bytearray(path.read_bytes())))
    with pytest.raises(ValueError, match=r"must have SHA-256 .* delete its folder to prepare it again\.$") as error:
        chosen.build()
    assert str(path) in str(error.value)
    shutil.rmtree(path.parent)
    chosen.build()


def test_the_summary_counts_tokens(chosen):
    split = PreparedSplit(chosen.split.build())
    chosen.build()
    tokenizer = chosen.teacher.build().tokenizer
    tokens = sum(len(tokenizer(text)["input_ids"]) for text in split.texts)
    assert chosen.summary().startswith(f"{tokens} hidden states of 12 ")
