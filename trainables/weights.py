"""Pretrained weights: from a folder or a hub name to a folder that is complete and safe to load."""


from functools import cache
from pathlib import Path
from typing import Annotated

from huggingface_hub import snapshot_download
from pydantic import Field

from trainables.cache import sha256_of
from trainables.config import digest

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
TOKENIZER_FILES = ("tokenizer.json", "sentencepiece.bpe.model", "vocab.txt", "spm.model")


def locate(name: str) -> Path:
    """The folder `name`, or the local copy of the hub repository `name`, fetched if need be.

    Raises ValueError when there is neither.
    """
    if Path(name).is_dir():
        return Path(name)
    if Path(name).is_absolute() or name.startswith(".") or name.count("/") > 1:
        raise ValueError(f"A model must be a folder or a hub name, but {name} does not exist.")
    try:
        patterns = ["*.json", "*.safetensors", "*.model", "vocab.txt", "pytorch_model.bin"]
        return Path(snapshot_download(name, allow_patterns=patterns))
    except Exception as error:  # the hub client raises a dozen unrelated types
        raise ValueError(f"A model must be a folder or a hub name, but {name!r} is neither: {error}") from error


def check(folder: Path, bin_sha256: str | None) -> Path:
    """`folder`, if it is a model whose weights may be loaded.

    Raises ValueError when its config or weights are missing, or when the weights are a pickle whose SHA-256
    is not `bin_sha256`: loading one runs code, so it takes the digest of a file that somebody trusts.
    """
    if not (folder / "config.json").is_file():
        raise ValueError(f"A model folder must have config.json, but {folder} has none.")
    if any(folder.glob("*.safetensors")):
        return folder
    pickle = folder / "pytorch_model.bin"
    if not pickle.is_file():
        raise ValueError(f"A model folder must have its weights in *.safetensors, but {folder} has none.")
    found = sha256_of(pickle)
    if found != bin_sha256:
        raise ValueError(
            f"Weights must be *.safetensors, but {folder} has only pytorch_model.bin, a pickle of SHA-256 {found}; "
            f"to load it all the same, give that digest as `bin_sha256`, which is {bin_sha256} now."
        )
    return folder


def fingerprint(name: str, bin_sha256: str | None) -> str:
    """Digest of config, weights and tokenizer of a model."""
    folder = check(locate(name), bin_sha256)
    names = {"config.json", *TOKENIZER_FILES} if not bin_sha256 else {"config.json", "pytorch_model.bin", *TOKENIZER_FILES}
    files = sorted(p for p in folder.iterdir() if p.name in names or p.suffix == ".safetensors")
    stats = tuple((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files)
    return _digest(stats)


@cache
def _digest(stats: tuple[tuple[str, int, int], ...]) -> str:
    return digest({Path(path).name: sha256_of(Path(path)) for path, _, _ in stats})
