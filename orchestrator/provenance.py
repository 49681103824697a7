"""The provenance of a result: the commit of the code, the versions of the libraries, the processor.

`python -m orchestrator.provenance` prints the runtime environment of `ray job submit --runtime-env-json`, by which
the commit reaches a cluster that gets the files without their history.
"""

import functools
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

LIBRARIES = ("ray", "torch", "torchaudio", "transformers", "numpy", "pyarrow", "mlflow")
COMMIT = "L2S_COMMIT"


@functools.cache
def commit() -> str:
    """The commit of the code here, with `-dirty` where files differ from it; `unknown` where there is no history."""
    if given := os.environ.get(COMMIT):
        return given
    here = Path(__file__).parent
    try:
        head = _git(here, "rev-parse", "HEAD")
        return head + ("-dirty" if _git(here, "status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


@functools.cache
def versions() -> dict[str, str]:
    """The versions of Python and of the libraries that results depend on, by name."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in LIBRARIES}


def check_ray() -> None:
    """Raises ValueError where the installed Ray is none of the releases that this program runs on."""
    found = importlib.metadata.version("ray")
    if not (2, 54) <= tuple(int(part) for part in found.split(".")[:2]) < (3, 0):
        raise ValueError(f"Ray must be at least 2.54 and below 3, but is {found} instead.")


def processor() -> str:
    """The name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=True,
        timeout=20,
    )
    return done.stdout.strip()


if __name__ == "__main__":
    json.dump({"env_vars": {COMMIT: commit()}}, sys.stdout)
