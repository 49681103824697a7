"""Teachers that listen, their hidden units, and their cache."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from trainables import testing
from trainables.corpora.common_voice import CommonVoice
from trainables.corpora.prepared import PreparedSplit, SplitPreparation
from trainables.sequences import Sequences
from trainables.teachers.clusters import ClusterPreparation, Clusters
from trainables.teachers.features import CachedFeatures
from trainables.teachers.hidden_units import HiddenUnits
from trainables.teachers.speech import RandomSpeechModel, SpeechModel
from trainables.teachers.states import StatePreparation, parted


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(testing.speech_encoder("hubert-base", tmp_path_factory.mktemp("models") / "hubert"))


@pytest.fixture
def split(release, tmp_path, monkeypatch):
    monkeypatch.setenv("L2S_CACHE", str(tmp_path / "cache"))
    return SplitPreparation(corpus=CommonVoice(root=str(release), language="cs"), split="valid", longest=10)


def clips():
    torch.manual_seed(0)
    return Sequences.stack([0.1 * torch.randn(n) for n in (9_000, 16_000)])


def test_a_teacher_stays_frozen_and_in_evaluation_mode(model):
    teacher = SpeechModel(model=model).build((1, 2))
    task = nn.ModuleList([teacher]).train()
    assert not any(module.training for module in teacher.modules())
    assert task.training
    assert not any(weight.requires_grad for weight in teacher.parameters())
    states = teacher(clips()).layers
    assert set(states) == {1, 2}
    assert not states[2].values.requires_grad


def test_a_random_teacher_has_the_shapes_and_other_weights(model):
    audio, before = clips(), torch.get_rng_state()
    first, again, other = (
        RandomSpeechModel(model=model, seed=seed).build((2,))(audio).layers[2].values for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)
    names = {
        m.signature() for m in (SpeechModel(model=model), *(RandomSpeechModel(model=model, seed=s) for s in (1, 2)))
    }
    assert len(names) == 3


def test_waveforms_are_standardised_where_the_folder_says_so(model, tmp_path):
    folder = testing.speech_encoder("hubert-base", tmp_path / "hubert")
    heard = SpeechModel(model=str(folder)).build((2,))(clips()).layers[2].values
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False}))
    as_is = SpeechModel(model=str(folder))
    louder = Sequences(2 * clips().values, clips().lengths)
    assert not torch.allclose(as_is.build((2,))(clips()).layers[2].values, heard, atol=1e-3)
    torch.testing.assert_close(
        SpeechModel(model=model).build((2,))(louder).layers[2].values, heard, atol=1e-4, rtol=1e-4
    )
    assert as_is.fingerprint() != SpeechModel(model=model).fingerprint()


def test_a_layer_that_is_not_there_is_refused(model):
    with pytest.raises(ValueError, match="must be for the teacher's layers, 1 to 2, but are for 4 too"):
        SpeechModel(model=model).build((2, 4))


def test_units_are_the_softmax_of_cosines_with_the_bias(tmp_path):
    generator = torch.Generator().manual_seed(1)
    weight, bias, labels = (torch.randn(*shape, generator=generator) for shape in ((4, 6), (4,), (5, 4)))
    units = HiddenUnits(weight, bias, labels, 0.1)
    hidden = Sequences(torch.randn(2, 3, 6, generator=generator), torch.tensor([3, 2]))
    embedded = hidden.values @ weight.T + bias
    broadcast = functional.cosine_similarity(embedded[:, :, None], labels[None, None], dim=3) / 0.1
    torch.testing.assert_close(units(hidden).values, broadcast.log_softmax(dim=2))
    torch.testing.assert_close(units(hidden).values.exp().sum(dim=2), torch.ones(2, 3))
    with pytest.raises(ValueError, match="must be at least 6 to lose 4, but are 5"):
        units.without_first(4)
    units.save(tmp_path)
    torch.testing.assert_close(HiddenUnits.load(tmp_path)(hidden).values, units(hidden).values)
    assert not list(units.parameters())
    (tmp_path / "hidden_units.safetensors").write_bytes(b"{}")
    with pytest.raises(ValueError, match="Hidden units must be whole"):
        HiddenUnits.load(tmp_path)


def test_the_cache_has_what_the_teacher_says(model, split):
    teacher = SpeechModel(model=model)
    prepared = StatePreparation(teacher=teacher, split=split, layers=(0, 2))
    cached = CachedFeatures(prepared.build())
    audio = PreparedSplit(split.build())
    indices = np.array([3, 0])
    states = parted(cached(indices), prepared.widths()).layers
    batch = Sequences.stack([audio.audio(int(i)).astype(np.float32) / 32768 for i in indices])
    online = teacher.build((0, 2))(batch).layers
    for layer in (0, 2):
        assert torch.equal(states[layer].lengths, online[layer].lengths)
        torch.testing.assert_close(states[layer].values, online[layer].values, atol=2e-3, rtol=2e-3)
    assert "frames of 32 features" in prepared.summary()


def test_clusters_are_found_again_where_there_are_some():
    random = np.random.default_rng(0)
    centres = 5 * random.normal(size=(6, 8))
    labels = random.integers(6, size=3_000)
    states = (centres[labels] + 0.1 * random.normal(size=(3_000, 8)) + 50).astype(np.float32)
    units = Clusters(count=6, dimensions=5).fit(states)
    likeliest = units(Sequences(torch.from_numpy(states)[None], torch.tensor([3_000]))).values[0].argmax(dim=1).numpy()
    purity = sum(np.bincount(labels[likeliest == unit]).max() for unit in set(likeliest.tolist())) / len(states)
    assert purity > 0.99
    again = Clusters(count=6, dimensions=5).fit(states)
    assert torch.equal(again.get_buffer("embeddings"), units.get_buffer("embeddings"))
    with pytest.raises(ValueError, match="at least as many as units, 9, but are 8"):
        Clusters(count=9, dimensions=2).fit(states[:8])
    with pytest.raises(ValueError, match="`dimensions` must be at most the teacher's features, 8, but is 9"):
        Clusters(count=2, dimensions=9).fit(states)


def test_units_are_prepared_once(model, split):
    few = Clusters(count=7, dimensions=4, frames=200)
    prepared = ClusterPreparation(teacher=SpeechModel(model=model), split=split, clusters=few)
    units = HiddenUnits.load(prepared.build())
    assert units.count == 7
    assert prepared.summary() == "7 hidden units"
    written = (prepared.folder() / "hidden_units.safetensors").stat().st_mtime_ns
    assert (prepared.build() / "hidden_units.safetensors").stat().st_mtime_ns == written
    (prepared.folder() / "hidden_units.safetensors").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"hidden_units\.safetensors must have SHA-256"):
        prepared.build()
