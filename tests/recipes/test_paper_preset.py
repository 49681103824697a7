"""The paper's models at full size, from their public configs with random weights, through one training step."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModel, Wav2Vec2Config, XLMRobertaConfig

from sweeps.commonvoice20 import Options, paper
from trainables import testing
from trainables.corpora.batching import Loader
from trainables.corpora.prepared import PreparedSplit
from trainables.corpora.sources import Tokens
from trainables.corpora.text import CharacterVocabulary
from trainables.students.ctc import Scratch
from trainables.testing import OnlineFeatures

XLSR_53 = Wav2Vec2Config(
    hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096,
    feat_extract_norm="layer", conv_bias=True, do_stable_layer_norm=True, feat_proj_dropout=0.1,
    num_codevector_groups=2, codevector_dim=768, proj_codevector_dim=768,
)  # fmt: skip
INFOXLM_BASE = XLMRobertaConfig(
    vocab_size=250_002, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072,
    max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5,
)  # fmt: skip


@pytest.fixture
def full_size(tmp_path: Path) -> Path:
    """Folders `student`, a config without weights, and `teacher`, a whole model; the tokenizer is a tiny one."""
    XLSR_53.save_pretrained(tmp_path / "student")
    testing.bert(tmp_path / "teacher")
    torch.manual_seed(0)
    AutoModel.from_config(INFOXLM_BASE).save_pretrained(tmp_path / "teacher")
    return tmp_path


def test_one_step_at_full_size(full_size: Path, release: Path) -> None:
    recipe = paper(Options(data=release, student=str(full_size / "student"), teacher=str(full_size / "teacher")))
    # No checkpoint of that size is written: the architecture is the pretrained one's, the weights are random.
    student = recipe.student.model_copy(update={"encoder": Scratch(model=str(full_size / "student"))})
    recipe = recipe.model_copy(update={"student": student, "weight": 1.0})
    train = PreparedSplit(recipe.split("train").build())
    vocabulary = CharacterVocabulary.of(train.texts)

    teacher = recipe.teacher.build()
    assert 277.5e6 < sum(p.numel() for p in teacher.parameters()) < 278.5e6
    sources = {"tokens": Tokens(train, vocabulary), "teacher": OnlineFeatures(teacher, train)}
    batch = Loader(train, sources, recipe.masking).batch(train.samples.argsort()[:2], scale=0.5, seed=(1, 0))
    del teacher
    assert batch.sources["teacher"].values.shape[2] == 768

    task = recipe.task(vocabulary)
    encoder = sum(p.numel() for p in task.student.encoder.parameters())
    assert 315e6 < encoder < 317e6
    optimiser = recipe.optimisation.build(task, task.groups(recipe.optimisation))
    for group in optimiser.param_groups:
        group["lr"] = group["peak"]
    before = task.student.head.weight.detach().clone()
    losses = task.train()(batch)
    losses.total.backward()
    optimiser.step()
    assert torch.isfinite(losses.total)
    assert all(torch.isfinite(value) for value in losses.terms.values())
    assert not torch.equal(task.student.head.weight, before)
