"""The notes beside a corpus that say what it is, where it is not what its layout alone would tell: those of miniatures,
and of whoever makes a corpus in the layout of another."""

import json
import os
from pathlib import Path


def release(root: Path) -> str | None:
    """The text of `RELEASE.txt` in the corpus's folder, if there is any.

    Raises ValueError when it is no text that can be read.
    """
    return (_text(root / "RELEASE.txt") or "").strip() or None


def licence(root: Path) -> str | None:
    """The licences that `SOURCES.json` gives the packages of the recordings; None where there is no such file.

    Raises ValueError when it does not tell.
    """
    sources = root / "SOURCES.json"
    if (text := _text(sources)) is None:
        return None
    try:
        return ", ".join(sorted({package["licence"] for package in json.loads(text)["packages"]}))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{sources} must be JSON that gives each of its `packages` a `licence`.") from error


def _text(path: Path) -> str | None:
    """The text of a file, or None where there is none. Raises ValueError when it cannot be read or is not UTF-8."""
    if not os.path.isfile(path):
        return None
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error.reason
        raise ValueError(f"{path} must be UTF-8 text that can be read, but is not: {why}.") from error
