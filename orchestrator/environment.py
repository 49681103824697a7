"""The folders that environment variables name, checked as the options are."""

import os
from pathlib import Path

from orchestrator.storage import writable

FOLDERS = ("L2S_CACHE", "HF_HOME")


def make_absolute() -> None:
    """Write down the folders' absolute paths: relative ones would be others in the workers, which start elsewhere.

    Raises ValueError, naming the variable, when it is no folder. An empty one counts as not set.
    """
    for name in FOLDERS:
        if not (value := os.environ.get(name)):
            continue
        try:
            folder = Path(value).expanduser().absolute()
        except RuntimeError as error:
            raise ValueError(f"{name} must be a folder, but is {value} instead, whose home is not known.") from error
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"{name} must be a folder that can be written, but {folder} is not.")
        os.environ[name] = str(folder)


def check_writable() -> None:
    """Raises ValueError, naming the variable, when trials could not write to its folder.

    A folder of the hub that exists may be one that is only read.
    """
    for name in FOLDERS:
        if not (value := os.environ.get(name)):
            continue
        folder = Path(value)
        if not (writable(folder) or (name == "HF_HOME" and folder.is_dir())):
            raise ValueError(f"{name} must be a folder that can be written, but {folder} is not.")
