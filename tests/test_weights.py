import os
import shutil
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from trainables import testing
from trainables.cache import sha256_of
from trainables.teachers.language_model import LanguageModel
from trainables.weights import check, family, fingerprint, locate


@pytest.fixture
def model(models, tmp_path):
    """A copy to break."""
    return shutil.copytree(models / "bert", tmp_path / "model")


@pytest.fixture
def pickled(model):
    """A model with nothing but a pickle, and the pickle's digest."""
    (model / "model.safetensors").unlink()
    torch.save({"weight": torch.zeros(2)}, model / "pytorch_model.bin")
    return model, sha256_of(model / "pytorch_model.bin")


def refusal(function, *arguments):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the caller looks at the message
        function(*arguments)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_a_model_with_safetensors_is_accepted(model):
    assert check(locate(str(model)), None) == model


def test_a_model_in_the_home_folder_is_found(model, monkeypatch):
    monkeypatch.setenv("HOME", str(model.parent))
    assert locate(f"~/{model.name}") == model


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_what_is_missing_is_named(model, name):
    (model / name).unlink()
    message = refusal(check, model, None)
    assert ("config.json" if name == "config.json" else "*.safetensors") in message
    assert str(model) in message


def test_a_pickle_is_refused_and_its_digest_told(pickled):
    folder, sha256 = pickled
    assert sha256 in refusal(check, folder, None)
    message = refusal(check, folder, "0" * 64)
    assert sha256 in message
    assert "0" * 64 in message
    assert check(folder, sha256) == folder


def test_a_pickle_is_checked_even_beside_safetensors(pickled, models):
    # With a digest it is the pickle that gets loaded; safetensors that lie beside it prove nothing.
    folder, sha256 = pickled
    shutil.copy(models / "bert" / "model.safetensors", folder)
    assert check(folder, sha256) == folder
    assert sha256 in refusal(check, folder, "0" * 64)


def test_a_digest_without_its_pickle_is_refused(model):
    assert "`bin_sha256`" in refusal(check, model, "0" * 64)


@pytest.mark.parametrize("keep", [0, 4, 1000])
def test_weights_that_were_cut_short_are_named(model, keep):
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    message = refusal(check, model, None)
    assert str(weights) in message
    assert "damaged" in message


def test_a_config_that_is_not_json_is_named(model):
    (model / "config.json").write_text('{"model_type": ')
    assert str(model / "config.json") in refusal(family, model)


def test_family(model):
    assert family(model) == "bert"


@pytest.mark.parametrize(
    "name", ["/no/such/folder", "./nowhere", "~/nowhere", "a/b/c", "nobody/no-such-model", "no such model", 300 * "a"]
)
def test_a_name_that_is_nothing_ends_quickly_in_one_sentence(name):
    start = time.monotonic()
    message = refusal(locate, name)
    assert time.monotonic() - start < 5
    assert message.startswith("A model must be a folder or a hub name, but ")
    assert name in message


def test_fingerprint_stays_when_the_folder_moves(model, tmp_path):
    before = fingerprint(str(model), None)
    moved = model.rename(tmp_path / "elsewhere")
    os.utime(moved / "model.safetensors", (0, 0))
    (moved / "README.md").write_text("No part of the model.")
    assert fingerprint(str(moved), None) == before


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_fingerprint_changes_with_one_byte(model, name):
    before = fingerprint(str(model), None)
    content = bytearray((model / name).read_bytes())
    content[-2] ^= 1
    time.sleep(0.02)  # file systems tell times in ticks of some milliseconds
    (model / name).write_bytes(content)
    if name == "config.json":
        (model / name).write_text(' {"model_type": "bert"}')
    assert fingerprint(str(model), None) != before


def test_fingerprint_changes_with_a_trusted_pickle(pickled):
    folder, sha256 = pickled
    before = fingerprint(str(folder), sha256)
    time.sleep(0.02)
    torch.save({"weight": torch.ones(2)}, folder / "pytorch_model.bin")
    assert fingerprint(str(folder), sha256_of(folder / "pytorch_model.bin")) != before
    assert "SHA-256" in refusal(fingerprint, str(folder), sha256)


def test_weights_that_do_not_fill_the_model_are_refused(tmp_path) -> None:
    """transformers would draw them at random, which is how the paper's code lost its teacher."""
    folder = testing.bert(tmp_path / "bert")
    tensors = load_file(folder / "model.safetensors")
    name = "encoder.layer.1.output.dense.weight"
    del tensors[name]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"must fill the model, but 1 are missing, such as {name}"):
        LanguageModel(model=str(folder)).build()
