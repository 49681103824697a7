"""Other libraries are used by what they promise: nothing of ours names their private parts, not even in a string."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("orchestrator", "trainables", "sweeps", "tests", "benchmarks")
# As a part of a dotted path; Ray's documented resource `node:__internal_head__` is none.
PRIVATE = re.compile(r"(?<!\w)_" + "(internal|private|raylet)")


def test_nothing_private_is_named() -> None:
    files = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")]
    lines = [(file.relative_to(ROOT), line.strip()) for file in files for line in file.read_text().splitlines()]
    assert len({file for file, _ in lines}) > 100
    assert [f"{file}: {line}" for file, line in lines if PRIVATE.search(line)] == []
