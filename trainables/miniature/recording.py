"""The recordings that every source of speech yields."""

from pathlib import Path
from typing import NamedTuple


class Recording(NamedTuple):
    """A file and what is said in it."""

    audio: Path
    name: str  # unique within its language, fit for a file name
    sentence: str  # as its source writes it; empty if the source has none
    speaker: str
