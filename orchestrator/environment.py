"""The places that environment variables name, checked as the options are."""

import os
from pathlib import Path

from orchestrator.study.storage import writable

FOLDERS = ("L2S_CACHE", "HF_HOME")
"""Variables that name a folder which trials write to."""
PLACES = (
    *FOLDERS, "HOME", "XDG_CACHE_HOME", "HF_HUB_CACHE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE",
    "GOOGLE_APPLICATION_CREDENTIALS",
)  # fmt: skip
"""Variables that name a folder or a file which workers look for."""


def make_absolute() -> None:
    """Make the places absolute, for workers to inherit: relative ones would be others there, which start elsewhere.

    Raises ValueError, naming the variable, when one is no folder that must be one. An empty one counts as not set.
    """
    for name in PLACES:
        if not (value := os.environ.get(name)):
            continue
        try:
            place = Path(value).expanduser().absolute()
        except RuntimeError as error:
            raise ValueError(f"{name} must be a folder, but is {value} instead, whose home is not known.") from error
        if name in FOLDERS and place.exists() and not place.is_dir():
            raise ValueError(f"{name} must be a folder that can be written, but {place} is not.")
        os.environ[name] = str(place)


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
