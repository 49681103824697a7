import json
import shutil

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from transformers import XLMRobertaConfig

from trainables.corpora.common_voice import CommonVoice
from trainables.corpora.prepared import PreparedSplit, SplitPreparation
from trainables.corpora.text import Letters
from trainables.sequences import Sequences
from trainables.teachers.features import CachedFeatures, FeaturePreparation, ShuffledFeatures
from trainables.teachers.language_model import LanguageModel, RandomLanguageModel
from trainables.teachers.variants import ShuffledTranscripts, Teacher, TrainedAlong
from trainables.testing import OnlineFeatures

TEXTS = ["abba", "cafe deed", "a"]


@pytest.fixture
def bert(models):
    return str(models / "bert")


def split(release):
    return SplitPreparation(
        corpus=CommonVoice(root=str(release), language="cs"), split="train", normaliser=Letters(), longest=5
    )


@pytest.mark.parametrize("teacher", [LanguageModel, RandomLanguageModel, ShuffledTranscripts, TrainedAlong])
def test_every_teacher_comes_back_from_its_fields(bert, teacher):
    config = teacher(model=bert, layer=-1)
    assert TypeAdapter(Teacher).validate_json(config.model_dump_json()) == config
    assert config.features() == 12
    assert config.build().layer == -1


def test_a_random_teacher_is_a_function_of_its_seed_alone(bert):
    first, second = (RandomLanguageModel(model=bert, seed=seed) for seed in (1, 2))
    torch.manual_seed(7)
    state = torch.get_rng_state()
    one = first.build()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(8)
    again, other = first.build(), second.build()
    assert torch.equal(one(TEXTS).values, again(TEXTS).values)
    assert not torch.allclose(one(TEXTS).values, other(TEXTS).values)
    assert first.identity() != second.identity()


def test_a_random_teacher_has_the_architecture_and_not_the_weights(bert):
    drawn, pretrained = RandomLanguageModel(model=bert).build(), LanguageModel(model=bert).build()
    shapes = [{name: value.shape for name, value in t.state_dict().items()} for t in (drawn, pretrained)]
    assert shapes[0] == shapes[1]
    assert torch.equal(drawn(TEXTS).lengths, pretrained(TEXTS).lengths)
    assert not torch.allclose(drawn(TEXTS).values, pretrained(TEXTS).values)


def test_a_random_teacher_needs_no_weights_and_none_are_part_of_it(bert, tmp_path):
    bare = shutil.copytree(bert, tmp_path / "bare")
    (bare / "model.safetensors").unlink()
    for config in (RandomLanguageModel, TrainedAlong):
        assert config(model=str(bare)).identity() == config(model=bert).identity()
        config(model=str(bare)).build()
    (bare / "tokenizer.json").write_text((bare / "tokenizer.json").read_text() + " ")
    assert RandomLanguageModel(model=str(bare)).fingerprint() != RandomLanguageModel(model=bert).fingerprint()


def test_a_random_teacher_stays_frozen_and_in_evaluation(bert):
    teacher = RandomLanguageModel(model=bert).build()
    torch.nn.ModuleDict({"teacher": teacher}).train()
    assert not any(module.training for module in teacher.modules())
    assert not any(p.requires_grad for p in teacher.parameters())


def test_a_teacher_that_is_trained_along_has_gradients_and_dropout(bert):
    teacher = TrainedAlong(model=bert).build().train()
    first, second = teacher(TEXTS), teacher(TEXTS)
    assert not torch.equal(first.values, second.values)
    first.values.sum().backward()
    assert teacher.encoder.get_input_embeddings().weight.grad is not None
    assert torch.equal(teacher.eval()(TEXTS).values, RandomLanguageModel(model=bert).build()(TEXTS).values)


@pytest.mark.parametrize("family", ["bert", "xlm-roberta"])
def test_embeddings_that_are_never_read_can_go(bert, tmp_path, family):
    """XLM-R counts positions from the padding's number: it must not move."""
    if family == "xlm-roberta":
        shutil.copytree(bert, tmp_path / family)
        sizes = json.loads((tmp_path / family / "config.json").read_text())
        sizes = {k: v for k, v in sizes.items() if k not in ("model_type", "architectures")}
        XLMRobertaConfig(**{**sizes, "max_position_embeddings": 80}).save_pretrained(tmp_path / family)
        bert = str(tmp_path / family)
    whole, part = (TrainedAlong(model=bert).build() for _ in range(2))
    part.restrict_to(["cafe", "a"])
    histories = []
    for teacher in (whole, part):
        optimiser, history = torch.optim.AdamW(teacher.parameters(), lr=0.1), []
        for step in range(4):
            torch.manual_seed(step)
            loss = teacher.train()(["a", "cafe"]).values.square().sum(dim=2).sqrt().mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(teacher.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
            history.append(loss.detach())
        histories.append(torch.stack(history))
    torch.testing.assert_close(histories[0], histories[1])
    assert histories[0][0] != histories[0][-1]
    # The special ones, the space and the letters a, c, e, f, of 15.
    assert part.encoder.get_input_embeddings().weight.shape == (4 + 1 + 4, 12)
    assert part.encoder.get_input_embeddings().padding_idx == whole.encoder.get_input_embeddings().padding_idx
    with pytest.raises(IndexError):
        part(["bead"])


@pytest.mark.parametrize("teacher", [RandomLanguageModel, TrainedAlong])
def test_a_layer_that_the_model_does_not_have_is_refused(bert, teacher):
    with pytest.raises(ValueError, match=r"^`layer` must be from -2 to 0, but is -3 instead\.$"):
        teacher(model=bert, layer=-3).build()


def test_the_cached_features_of_a_random_teacher_are_the_online_ones(release, bert):
    preparation = FeaturePreparation(teacher=RandomLanguageModel(model=bert, seed=3), split=split(release))
    cached = CachedFeatures(preparation.build())
    online = OnlineFeatures(RandomLanguageModel(model=bert, seed=3).build(), PreparedSplit(split(release).build()))
    mine, theirs = cached(np.array([5, 0, 7])), online(np.array([5, 0, 7]))
    torch.testing.assert_close(mine.values, theirs.values, rtol=1e-3, atol=1e-3)


def test_each_frozen_teacher_has_features_of_its_own_and_the_shuffled_ones_are_the_papers(release, bert):
    teachers = [LanguageModel(model=bert), *(RandomLanguageModel(model=bert, seed=seed) for seed in (1, 2))]
    preparations = [FeaturePreparation(teacher=teacher, split=split(release)) for teacher in teachers]
    assert len({p.folder() for p in preparations}) == len({str(p) for p in preparations}) == 3
    for seed in (1, 2):
        shuffled = ShuffledTranscripts(model=bert, seed=seed)
        assert shuffled.cached() == teachers[0]
        assert shuffled.identity() != ShuffledTranscripts(model=bert, seed=3).identity()
    assert TrainedAlong(model=bert).cached() is None


def own(indices):
    """Features that say whose they are."""
    return Sequences.stack([torch.full((2, 1), float(i)) for i in indices])


@pytest.mark.parametrize("utterances", [2, 3, 24, 1000])
def test_everybody_gets_the_transcript_of_somebody_else(utterances):
    shuffled = ShuffledFeatures.of(own, utterances, seed=1)
    got = shuffled(np.arange(utterances)).values[:, 0, 0].long()
    assert sorted(got.tolist()) == list(range(utterances))
    assert not (got == torch.arange(utterances)).any()


def test_who_gets_whose_is_a_function_of_the_seed_and_not_of_the_batch(bert):
    sources = [ShuffledTranscripts(model=bert, seed=seed).source(own, 24) for seed in (1, 1, 2)]
    first, again, other = (source(np.arange(24)).values for source in sources)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(sources[0](np.array([7, 3])).values, first[[7, 3]])


def test_one_utterance_cannot_be_shuffled():
    with pytest.raises(ValueError, match=r"^Utterances must be at least 2 to be shuffled, but are 1 instead\.$"):
        ShuffledFeatures.of(own, 1, seed=1)
