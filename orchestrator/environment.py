"""The folders that environment variables name, checked as the storage is."""

import os
from pathlib import Path

from orchestrator.storage import writable

CACHE, HUB = "L2S_CACHE", "HF_HOME"


def check_folders() -> None:
    """Raises ValueError, naming the variable, when it names a file or the home of nobody. An empty one is not set."""
    for name, folder in _folders().items():
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"{name} must be a folder that can be written, but {folder} is not.")


def check_writable() -> None:
    """Raises ValueError, naming the variable, when trials could not write to its folder.

    A folder of the hub that exists may be one that is only read.
    """
    for name, folder in _folders().items():
        if not (writable(folder) or (name == HUB and folder.is_dir())):
            raise ValueError(f"{name} must be a folder that can be written, but {folder} is not.")


def _folders() -> dict[str, Path]:
    found = {}
    for name in (CACHE, HUB):
        if value := os.environ.get(name):
            try:
                found[name] = Path(value).expanduser().absolute()
            except RuntimeError as error:
                raise ValueError(
                    f"{name} must be a folder, but is {value} instead, and there is no such home."
                ) from error
    return found
