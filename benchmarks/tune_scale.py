"""A study of 1 000 trials through Tune: how the driver's memory grows with the trials that have ended.

The trials are a plain function in place of training, so that only what the driver keeps of each is measured: Tune's
trial with its copies of the config, the queue, what the ledger and the listeners are asked and told.

    python -m benchmarks.tune_scale --trials 1000
"""

import json
import sys
import tempfile
import time
from typing import Any
from unittest.mock import patch

import ray
import ray.tune
import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.ledger_scale import Memory, no_ops
from orchestrator.cluster.runner import RayRunner
from orchestrator.cluster.trial import StudyContext
from orchestrator.study.lease import Lease
from orchestrator.study.ledger import Ledger, Result
from orchestrator.study.storage import Storage
from orchestrator.study.sweep import load

PER_TRIAL = 100.0
"""KiB that the driver may grow by with each trial."""
STEADY = 1.5
"""Times by which it may grow more in the second half of the trials than in the first: twice or more is no line."""


def plain(config: dict[str, Any], study: StudyContext) -> None:
    """A trial that has its result at once, in place of `orchestrator.cluster.trial.run_trial`."""
    recipe = load(study.ledger.description(config["signature"]))
    ray.tune.report({"reported": {"step": recipe.steps, "valid/cer": 50.0}})
    study.ledger.finish(config["signature"], Result("finished", {"step": float(recipe.steps), "test/cer": 50.0}))


def main(trials: int = 1000) -> int:
    """Run the trials and print the memory after each tenth. Returns 1, as the exit code, when it grew too fast."""
    sweep, memory = no_ops(trials), Memory(trials)
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger.of(Storage.at(folder), sweep)
        runner = RayRunner.at(None, sweep.resources, retries=0, asha=False, pin=None)
        lease, begun = Lease(ledger.storage), time.monotonic()
        with lease.hold(print), patch("orchestrator.cluster.runner.run_trial", plain):
            ledger.open(sweep)
            runner.run(sweep, sweep.trials, ledger, lease, memory)
        seconds = time.monotonic() - begun
        ray.shutdown()
    return 0 if report(memory.seen, seconds, len(sweep.trials)) else 1


def report(memory: dict[int, float], seconds: float, trials: int) -> bool:
    """Print what was measured; returns whether both targets were met."""
    # Not from the first trial on: the first tenth loads what is loaded once.
    first, middle, last = min(memory), sorted(memory)[len(memory) // 2], max(memory)
    slopes = [1024 * (memory[b] - memory[a]) / (b - a) for a, b in ((first, middle), (middle, last), (first, last))]
    met = slopes[2] <= PER_TRIAL and slopes[1] <= max(STEADY * slopes[0], PER_TRIAL / 10)
    table = Table("trials ended", "memory", title=f"{trials} plain trials through Tune, {seconds:.0f} s")
    for ended, mib in memory.items():
        table.add_row(str(ended), f"{mib:.1f} MiB")
    table.add_row("a trial", f"{slopes[2]:.1f} KiB ({slopes[0]:.1f}, then {slopes[1]:.1f})")
    table.add_row(f"at most {PER_TRIAL:g} KiB, steady", "met" if met else "MISSED")
    Console().print(table)
    found = {"memory_mib": memory, "kib_per_trial": [round(slope, 1) for slope in slopes], "seconds": round(seconds, 1)}
    print(json.dumps({"benchmark": "tune_scale", "trials": trials, "met": met, **found}))
    return met


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
