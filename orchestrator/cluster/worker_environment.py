"""The environment of Ray's workers: the places that this process's variables name, and what it can import.

Tune and Train give each worker a working directory of its own, so that a path must not begin at the one of the driver.
"""

import os
import site
import sys
import sysconfig
from pathlib import Path

SETTINGS = {
    # Train notices that a worker is done at its next health check, of which there is one in two seconds.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
}
PASSED_ON = ("L2S_CACHE", "HF_HUB_OFFLINE", "HF_HOME")
"""Variables that are passed on: never credentials, for Ray logs them. A node has its own, and a cluster that is
started here inherits ours."""


def variables(*, own: bool) -> dict[str, str]:
    """The variables that are passed on to workers, of a cluster of this process's `own` or of one that runs already."""
    # A node of a cluster that runs already may have the code elsewhere: what it has itself comes after ours.
    path = importable() if own else [*importable(), "${PYTHONPATH}"]
    passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return SETTINGS | {"PYTHONPATH": os.pathsep.join(path)} | passed_on


def importable() -> list[str]:
    """The folders that this process imports from, but for those of Python itself and of installed packages.

    Ray tells workers of the script's own folder and of the driver's working directory. The packages may be in neither.
    """
    installed = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]
    installed += [*site.getsitepackages(), site.getusersitepackages()]
    places = [Path(place).absolute() for place in sys.path if os.path.exists(place or ".")]
    found = [place for place in places if not any(place.is_relative_to(folder) for folder in installed)]
    return list(dict.fromkeys(map(str, found)))
