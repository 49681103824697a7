"""Folders that are made once and then only read: where they live, and how they appear whole or not at all."""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock


def cache_folder() -> Path:
    """`L2S_CACHE`, or `distill-l2s` under the user's cache home (XDG_CACHE_HOME or ~/.cache).

    Raises ValueError when `L2S_CACHE` can be no folder.
    """
    if chosen := os.environ.get("L2S_CACHE"):
        try:
            folder = Path(chosen).expanduser().absolute()
        except RuntimeError as error:
            raise ValueError(
                f"L2S_CACHE must be a folder, but is {chosen} instead, and there is no such home."
            ) from error
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"L2S_CACHE must be a folder that can be written, but {folder} is not.")
        return folder
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser().absolute() / "distill-l2s"


@contextmanager
def building(folder: Path) -> Iterator[Path | None]:
    """Around a block that builds `folder`, exactly once, whoever asks.

    Yields a fresh temporary sibling folder to fill, or None when `folder` exists already.
    The temporary folder takes the final name when the block ends well, and is deleted when it raises,
    so a folder under its final name is complete.
    """
    if folder.is_dir():
        yield None
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{folder.name}.lock"):
        if folder.is_dir():  # somebody else built it while we waited
            yield None
            return
        unfinished = f".{folder.name}.unfinished-"
        for leftover in folder.parent.glob(f"{unfinished}*"):  # of a build that was killed: we hold its lock
            shutil.rmtree(leftover)
        temporary = folder.parent / f"{unfinished}{uuid.uuid4().hex[:8]}"
        temporary.mkdir()  # not tempfile.mkdtemp, whose 0700 would shut others out of a shared cache
        try:
            yield temporary
            temporary.rename(folder)
        except BaseException:  # Ctrl-C too
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, text: str) -> None:
    """Write `text` so that a reader finds the old file or the new one, even after a power cut."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def seal(folder: Path, identity: Mapping[str, Any], **facts: Any) -> None:
    """Write the manifest of a folder that is being built, which is the last thing to be done: what made it, `facts`
    about it, and the digests of all its files."""
    manifest = {
        "identity": identity, **facts, "sha256": {path.name: sha256_of(path) for path in sorted(folder.iterdir())},
    }  # fmt: skip
    write_atomically(folder / "manifest.json", json.dumps(manifest, indent=1, ensure_ascii=False))


def check_sealed(folder: Path) -> None:
    """Raises ValueError when a file of a folder is not what it was when `seal` saw it."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for name, expected in manifest["sha256"].items():
        if (found := sha256_of(folder / name)) != expected:
            raise ValueError(
                f"{folder / name} must have SHA-256 {expected}, but has {found} instead; "
                "delete its folder to prepare it again."
            )
