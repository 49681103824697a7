import shutil

import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModel, AutoTokenizer

from trainables.teachers.language_model import LanguageModel

TEXTS = ["abba", "cafe deed", "a"]


@pytest.fixture(scope="module")
def teacher(models):
    return LanguageModel(model=str(models / "bert")).build()


def chosen(models, layer=0):
    return LanguageModel(model=str(models / "bert"), layer=layer)


@pytest.mark.parametrize("layer", [0, -1, -2])
def test_layers_are_counted_down_from_the_last(models, layer):
    tokens = AutoTokenizer.from_pretrained(models / "bert")(TEXTS[0], return_tensors="pt")
    with torch.no_grad():
        states = AutoModel.from_pretrained(models / "bert").eval()(**tokens, output_hidden_states=True).hidden_states
    hidden = chosen(models, layer).build()(TEXTS[:1])
    torch.testing.assert_close(hidden.values, states[2 + layer])  # of embeddings, layer 1, layer 2


def test_a_layer_that_the_model_does_not_have_is_refused(models):
    with pytest.raises(ValueError, match=r"^`layer` must be from -2 to 0, but is -3 instead\.$"):
        chosen(models, -3).build()
    with pytest.raises(ValidationError, match="less than or equal to 0"):
        chosen(models, 1)


def test_special_tokens_are_included(teacher):
    pieces = [len(teacher.tokenizer.tokenize(text)) for text in TEXTS]
    assert teacher(TEXTS).lengths.tolist() == [n + 2 for n in pieces]


def test_a_text_alone_is_as_in_a_batch(teacher):
    together = teacher(TEXTS)
    for i, text in enumerate(TEXTS):
        alone, length = teacher([text]), int(together.lengths[i])
        assert alone.lengths.tolist() == [length]
        torch.testing.assert_close(together.values[i, :length], alone.values[0], rtol=0, atol=1e-5)
        assert together.values[i, length:].eq(0).all()


def test_a_text_beyond_the_models_positions_is_cut(teacher):
    assert teacher(["ab" * 100]).lengths.tolist() == [64]


def test_the_teacher_stays_frozen_and_in_evaluation(models):
    teacher = chosen(models).build()
    before = teacher(TEXTS).values
    torch.nn.ModuleDict({"teacher": teacher}).train()
    assert not any(module.training for module in teacher.modules())
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not before.requires_grad
    torch.testing.assert_close(teacher(TEXTS).values, before, rtol=0, atol=0)


def test_features_is_the_width_of_the_hidden_states(models, teacher):
    assert chosen(models).features() == teacher(TEXTS).values.shape[2] == 12


def test_the_layer_is_part_of_the_identity_and_the_place_is_not(models, tmp_path):
    moved = LanguageModel(model=str(shutil.copytree(models / "bert", tmp_path / "moved")))
    assert moved.identity() == chosen(models).identity()
    assert chosen(models, -1).identity() != chosen(models).identity()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("model.safetensors", r"^A model folder must have its weights in \*\.safetensors, but .* has none\.$"),
        ("config.json", r"^A model folder must have config\.json, but .* has none\.$"),
        ("tokenizer.json", r"^A teacher must have one of tokenizer\.json, .*, but .* has none\.$"),
    ],
)
def test_what_a_teacher_lacks_is_told_in_one_sentence(models, tmp_path, name, sentence):
    folder = shutil.copytree(models / "bert", tmp_path / "bert")
    (folder / name).unlink()
    with pytest.raises(ValueError, match=sentence):
        LanguageModel(model=str(folder)).build()


def test_a_missing_config_is_told_before_anything_is_built(tmp_path):
    with pytest.raises(ValueError, match=r"must have config\.json"):
        LanguageModel(model=str(tmp_path)).features()
