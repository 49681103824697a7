"""HuBERT in fairseq's file: made up here of a random model of transformers, and turned back into the same."""

import argparse
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModel

from tests.fairseq import SETTINGS, fairseqs, saved
from trainables import testing
from trainables.cache import sha256_of
from trainables.sequences import Sequences
from trainables.students.encoders import speech_encoder
from trainables.teachers import fairseq_file
from trainables.teachers.fairseq_file import FairseqConversion, config_of, read
from trainables.teachers.hidden_units import FILE, HiddenUnits
from trainables.teachers.speech import HubertFromFairseq, SpeechModel


@pytest.fixture
def base(tmp_path):
    return fairseqs(testing.speech_encoder("hubert-base", tmp_path / "hubert"), "2")


@pytest.fixture
def file(base, tmp_path, monkeypatch):
    return saved(tmp_path / "hubert.pt", base, argparse.Namespace(**SETTINGS), monkeypatch)


def audio():
    torch.manual_seed(3)
    return Sequences.stack([0.1 * torch.randn(9000), 0.1 * torch.randn(5000)])


def reference(weights: dict[str, Tensor], family: str, folder: Path, standardised: bool) -> dict[int, Sequences]:
    """States of the model that the file was made of, with the file's values."""
    model = AutoModel.from_pretrained(testing.speech_encoder(family, folder))
    values = fairseq_file.renamed({n: v for n, v in weights.items() if n not in fairseq_file.UNITS})
    model.load_state_dict(values, strict=True)
    with torch.no_grad():
        return speech_encoder(model, standardised=standardised).eval().states(audio(), (0, 1, 2))


def teacher(file: Path) -> HubertFromFairseq:
    return HubertFromFairseq(file=str(file), sha256=sha256_of(file))


def test_a_file_of_fairseq_is_the_model_that_it_was_made_of(base, file, tmp_path):
    expected = reference(base, "hubert-base", tmp_path / "again", standardised=False)
    found = teacher(file).build((0, 1, 2))(audio())
    for number, states in expected.items():
        torch.testing.assert_close(found.layers[number].values, states.values, atol=1e-6, rtol=1e-5)
    units = HiddenUnits(base["final_proj.weight"], base["final_proj.bias"], base["label_embs_concat"], 0.2)
    own = HiddenUnits.load(teacher(file).own_units().build())
    assert own.count == 6
    torch.testing.assert_close(own(found.layers[2]).values, units(expected[2]).values, atol=1e-5, rtol=1e-4)
    assert "fairseq" not in sys.modules


def test_large_models_have_layer_norms_and_standardised_waveforms(tmp_path, monkeypatch):
    weights = fairseqs(testing.speech_encoder("hubert", tmp_path / "hubert"), "2.1")
    settings = argparse.Namespace(**{**SETTINGS, "normalize": True, "layer_norm_first": True})
    file = saved(tmp_path / "large.pt", weights, settings, monkeypatch)
    expected = reference(weights, "hubert", tmp_path / "again", standardised=True)
    found = teacher(file).build((0, 1, 2))(audio())
    for number, states in expected.items():
        torch.testing.assert_close(found.layers[number].values, states.values, atol=1e-6, rtol=1e-5)


def test_what_settings_do_not_say_is_huberts(base):
    wide = {
        **base,
        "post_extract_proj.weight": torch.empty(128, 8),
        "encoder.pos_conv.0.weight_v": torch.empty(1, 8, 5),
    }
    config = config_of(wide, {})
    assert (config.num_attention_heads, tuple(config.conv_stride)) == (2, (5, 2, 2, 2, 2, 2, 2))
    assert (config.do_stable_layer_norm, config.feat_extract_norm) == (False, "group")
    assert tuple(config_of(base, {**SETTINGS, "conv_feature_layers": "[(8,9,4)]+[(8,3,2)]*6"}).conv_stride) == (
        4, 2, 2, 2, 2, 2, 2,
    )  # fmt: skip


def test_the_folder_is_made_once_and_is_one_of_transformers(file, monkeypatch):
    conversion = FairseqConversion(file=str(file), sha256=sha256_of(file))
    folder = conversion.build()
    assert conversion.summary() == "2 layers of 16, 6 hidden units"
    monkeypatch.setattr(fairseq_file, "read", lambda *_: pytest.fail("read again"))
    assert conversion.build() == folder
    plain = SpeechModel(model=str(folder)).build((2,))(audio())
    assert torch.equal(plain.layers[2].values, teacher(file).build((2,))(audio()).layers[2].values)
    assert teacher(file).own_units() == conversion


def test_where_the_file_lies_is_not_what_it_is(file, tmp_path):
    moved = tmp_path / "elsewhere.pt"
    moved.write_bytes(file.read_bytes())
    assert teacher(moved).signature() == teacher(file).signature()


@pytest.mark.parametrize("name", ["model.safetensors", FILE, "config.json", "preprocessor_config.json"])
def test_a_damaged_folder_is_told_with_the_way_out(file, name):
    conversion = FairseqConversion(file=str(file), sha256=sha256_of(file))
    path = conversion.build() / name
    path.write_bytes(path.read_bytes()[:-3] + b"abc")
    with pytest.raises(ValueError, match=r"must have SHA-256 .*; delete its folder to prepare it again\.$"):
        conversion.build()


def test_the_digest_comes_before_all(file, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.serialization, "get_unsafe_globals_in_checkpoint", lambda *_: pytest.fail("opened"))
    for sha256 in (None, "0" * 64):
        with pytest.raises(ValueError, match=f"must have a SHA-256 that you trust, but .* is {sha256_of(file)}, and"):
            HubertFromFairseq(file=str(file), sha256=sha256).build((2,))
    with pytest.raises(ValueError, match=r"must be a file, but .*none\.pt does not exist\."):
        HubertFromFairseq(file=str(tmp_path / "none.pt")).fingerprint()


class Opened:
    """Whoever unpickles it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_file_that_names_any_other_class_is_refused_and_not_run(base, tmp_path, monkeypatch):
    trap = tmp_path / "trap"
    settings = argparse.Namespace(**SETTINGS, other=Opened(trap))
    file = saved(tmp_path / "bad.pt", base, settings, monkeypatch)
    with pytest.raises(ValueError, match=r"must name no classes but argparse\.Namespace and .* names .*pathlib"):
        read(file, sha256_of(file))
    assert not trap.exists()


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 nor this"])
def test_what_is_no_checkpoint_is_told(tmp_path, content):
    file = tmp_path / "bad.pt"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"must be a file of torch\.save, but .*bad\.pt is not"):
        read(file, sha256_of(file))


def changed(weights, *left_out, **added):
    return {name: value for name, value in {**weights, **added}.items() if name not in left_out}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda w: changed(w, "label_embs_concat"), "label embeddings, .* but label_embs_concat are missing"),
        (lambda w: changed(w, surplus=torch.zeros(1)), "those of a HuBERT, but surplus are not"),
        (lambda w: changed(w, "encoder.layers.1.fc2.bias"), "must fill HuBERT, but do not: .*output_dense.bias"),
        (lambda w: changed(w, "post_extract_proj.weight"), "but 'post_extract_proj.weight' is missing"),
        (lambda w: {**w, "layer_norm.bias": torch.zeros(3)}, "must fill HuBERT, but do not: .*size mismatch"),
        (lambda w: changed(w, "feature_extractor.conv_layers.6.0.weight"), "have 7 convolutions, but the file has 6"),
        (lambda w: {**w, "final_proj.bias": torch.zeros(2)}, "must be of one width, but have 3, 2 and 3 features"),
        (lambda w: None, "must have its weights under `model`"),
    ],
)
def test_weights_that_are_missing_left_over_or_of_other_shapes_are_named(base, tmp_path, monkeypatch, change, sentence):
    file = saved(tmp_path / "bad.pt", change(base), argparse.Namespace(**SETTINGS), monkeypatch)
    conversion = FairseqConversion(file=str(file), sha256=sha256_of(file))
    with pytest.raises(ValueError, match=f"(?s){sentence}"):
        conversion.build()
    assert not conversion.folder().exists()
