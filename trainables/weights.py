"""Pretrained weights: from a folder or a hub name to a folder that is complete and safe to load.

A safetensors file is a header of names, types, shapes and offsets, and then the numbers: reading it runs nothing, and
the header tells how long the file must be. A `pytorch_model.bin` is a pickle, which may run any code when it is
loaded. So a folder without safetensors is refused, with the SHA-256 of its pickle in the sentence, until a person
who trusts that very file puts the digest into the recipe (`bin_sha256`). It is compared each time before the file is
loaded: a folder or a hub repository that changes later is refused again.

Complete means: the header's length holds, the model is filled (`load`), and the digests of all files that decide the
result are the fingerprint, which is in the signature in place of the folder's path.
"""

import json
import os
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import torch
from huggingface_hub import snapshot_download
from pydantic import Field
from safetensors import SafetensorError, safe_open
from transformers import AutoModel, PretrainedConfig, PreTrainedModel

from trainables.cache import sha256_of
from trainables.config import digest

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
NEW = ("pooler", "masked_spec_embed")
"""Parts that a checkpoint may lack: the pooler, which is never used, and the mask's embedding, always trained."""
TOKENIZER_FILES = ("tokenizer.json", "sentencepiece.bpe.model", "vocab.txt", "spm.model")


def locate(name: str) -> Path:
    """The folder `name`, or the local copy of the hub repository `name`, fetched if need be.

    Raises ValueError when there is neither.
    """
    folder = Path(os.path.expanduser(name))
    if os.path.isdir(folder):  # of a name that no file can have, `Path.is_dir` raises
        return folder
    if folder.is_absolute() or name.startswith(".") or name.count("/") > 1:
        raise ValueError(f"A model must be a folder or a hub name, but {name} does not exist.")
    try:
        patterns = ["*.json", "*.safetensors", "*.model", "vocab.txt", "pytorch_model.bin"]
        return Path(snapshot_download(name, allow_patterns=patterns))
    except Exception as error:  # the hub client raises a dozen unrelated types
        reason = " ".join(str(error).split())
        raise ValueError(f"A model must be a folder or a hub name, but {name!r} is neither: {reason}") from error


def check(folder: Path, bin_sha256: str | None) -> Path:
    """Return `folder`, if it is a model whose weights may be loaded.

    Raises ValueError when its config or weights are missing, or when the weights are a pickle whose SHA-256
    is not `bin_sha256`, the digest of a file that somebody trusts.
    """
    family(folder)
    # With a digest the pickle is what will be loaded, even beside safetensors: then it must be checked.
    if bin_sha256 is None and (files := sorted(folder.glob("*.safetensors"))):
        for file in files:
            try:
                with safe_open(file, framework="pt"):  # reads the header, which tells how long the file must be
                    pass
            except SafetensorError as error:
                raise ValueError(f"Weights must be whole, but {file} is damaged: {error}.") from error
        return folder
    pickle = folder / "pytorch_model.bin"
    if bin_sha256 is not None and not pickle.is_file():
        raise ValueError(f"`bin_sha256` must be of pytorch_model.bin, but {folder} has no such file.")
    if not pickle.is_file():
        raise ValueError(f"A model folder must have its weights in *.safetensors, but {folder} has none.")
    found = sha256_of(pickle)
    if found != bin_sha256:
        raise ValueError(
            f"Weights must be *.safetensors, but {folder} has only pytorch_model.bin, a pickle of SHA-256 {found}; "
            f"to load it all the same, give that digest as `bin_sha256`, which is {bin_sha256} now."
        )
    return folder


def load(folder: Path, config: PretrainedConfig, bin_sha256: str | None, **options: Any) -> PreTrainedModel:
    """The model of a checked folder, in float32.

    Raises ValueError when the weights do not fill it: transformers would draw the rest at random, and the
    released code of Distill-L2S distilled from a teacher that was all such draws.
    """
    model, info = AutoModel.from_pretrained(
        folder, config=config, local_files_only=True, use_safetensors=bin_sha256 is None, dtype=torch.float32,
        output_loading_info=True, **options,
    )  # fmt: skip
    missing = [name for name in sorted(info["missing_keys"]) if not any(part in name for part in NEW)]
    if missing:
        raise ValueError(
            f"The weights in {folder} must fill the model, but {len(missing)} are missing, such as {missing[0]}."
        )
    return model


def family(folder: Path) -> str | None:
    """The name that transformers has for the architecture of the model in `folder`, such as wav2vec2.

    Raises ValueError when the config is missing or is not JSON.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"A model folder must have config.json, but {folder} has none.")
    try:
        return json.loads(path.read_text(encoding="utf-8")).get("model_type")
    except ValueError as error:
        raise ValueError(f"A model's config must be JSON, but {path} is not: {error}.") from error


def fingerprint(name: str, bin_sha256: str | None) -> str:
    """Digest of config, weights and tokenizer of a model."""
    folder = check(locate(name), bin_sha256)
    return _fingerprint(folder, ("*.safetensors",) if bin_sha256 is None else ("pytorch_model.bin",))


def fingerprint_without_weights(name: str) -> str:
    """Digest of config and tokenizer of a model, all that is left of it when its weights are drawn anew."""
    folder = locate(name)
    family(folder)
    return _fingerprint(folder, ())


def _fingerprint(folder: Path, weights: tuple[str, ...]) -> str:
    files = sorted(p for name in ("config.json", *TOKENIZER_FILES, *weights) for p in folder.glob(name))
    stats = tuple((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files)
    return _digest(stats)


@cache
def _digest(stats: tuple[tuple[str, int, int], ...]) -> str:
    return digest({Path(path).name: sha256_of(Path(path)) for path, _, _ in stats})
