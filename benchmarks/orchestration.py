"""The cost of orchestration: the makespan of many short trials over the ideal one, against simpler ways.

Nearly all that a study adds to each trial of a slot is the price of Ray's stock trainer, which starts a process for its
controller, one for each of three helpers, and the workers, which import PyTorch.
The peers: a bash loop, joblib, and Tune with plain functions, all with the same trials, which import PyTorch and
transformers, sleep and write a result. The floor: list scheduling of the sleeps alone.

    python -m benchmarks.orchestration --trials 32 --seconds 3
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Literal

import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.sleeping import Sleeping, alone
from orchestrator.printing import escape_output
from orchestrator.study.estimates import makespan

SLOTS = 2
ARMS = ("bash", "joblib", "tune", "tune_reused", "study")


def main(
    trials: int = 32,
    seconds: float = 3.0,
    arms: tuple[Literal["bash", "joblib", "tune", "tune_reused", "study"], ...] = ARMS,
    arm: str | None = None,
    folder: Path | None = None,
) -> None:
    """Run every arm in a process of its own and print one table and a line of JSON.

    `arm` and `folder` are for those processes.
    """
    if arm and folder:
        RUNS[arm](trials, seconds, folder)
        return
    ideal = makespan([seconds] * trials, SLOTS)
    rows = {name: _measure(name, trials, seconds) for name in arms}
    table = Table(title=f"{trials} trials of {seconds:g} s in {SLOTS} slots: {ideal:g} s at best")
    for heading in ("", "makespan", "over ideal", "to the first", "added per trial and slot"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, row in rows.items():
        table.add_row(
            name, f"{row['makespan']:.1f} s", f"{row['makespan'] / ideal:.2f}", f"{row['start']:.1f} s",
            f"{row['added']:.2f} s",
        )  # fmt: skip
    Console().print(table)
    print(json.dumps({"trials": trials, "seconds": seconds, "slots": SLOTS, "ideal": ideal, "arms": rows}))


def _measure(name: str, trials: int, seconds: float) -> Mapping[str, float]:
    """Seconds from the start of the arm's process to its end, to its first trial, and lost between two trials."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.time()
        command = [sys.executable, "-m", "benchmarks.orchestration", "--trials", str(trials)]
        more = ["--seconds", str(seconds), "--arm", name, "--folder", folder]
        done = subprocess.run([*command, *more], check=True, stdout=subprocess.PIPE, text=True)
        ended = time.time()
        lines = [line.split() for line in (Path(folder) / "log").read_text().splitlines()]
        begins, ends = [float(line[1]) for line in lines], [float(line[2]) for line in lines]
        assert sorted(int(line[0]) for line in lines) == list(range(trials)), "each trial once"
        # All that the slots spent between the first begin and the last end, and not in trials.
        added = ((max(ends) - min(begins)) * SLOTS - sum(ends) + sum(begins)) / (trials - SLOTS)
        parts = json.loads(done.stdout.splitlines()[-1]) if name == "study" else {}
        return {"makespan": ended - begun, "start": min(begins) - begun, "added": added, **parts}


def bash(trials: int, seconds: float, folder: Path) -> None:
    """Run a process for each trial, two at a time, from a shell."""
    loop = 'seq 0 "$1" | xargs -P "$2" -I N "$3" -m benchmarks.sleeping N "$4" "$5"'
    arguments = [str(trials - 1), str(SLOTS), sys.executable, str(seconds), str(folder)]
    subprocess.run(["bash", "-c", loop, "bash", *arguments], check=True)


def joblib(trials: int, seconds: float, folder: Path) -> None:
    """Run two processes that take one trial after the other, by joblib."""
    from joblib import Parallel, delayed

    Parallel(n_jobs=SLOTS)(delayed(alone)(number, seconds, folder) for number in range(trials))


def tune(trials: int, seconds: float, folder: Path, *, reuse: bool = False) -> None:
    """Run Tune with a plain function; no Ray Train, no ledger, no MLflow."""
    import ray
    from ray import tune

    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    ray.init(address="local", num_cpus=SLOTS, include_dashboard=False, log_to_driver=False)
    tune.Tuner(
        tune.with_resources(lambda config: alone(config["number"], seconds, folder), {"CPU": 1}),
        param_space={"number": tune.grid_search(list(range(trials)))},
        tune_config=tune.TuneConfig(reuse_actors=reuse),
        run_config=tune.RunConfig(storage_path=str(folder / "tune"), verbose=0),
    ).fit()
    ray.shutdown()


def study(trials: int, seconds: float, folder: Path) -> None:
    """Run a study as its users do: ledger, lease, MLflow, Tune, Ray Train. Prints the parts of its latency."""
    from orchestrator.cluster.runner import RayRunner
    from orchestrator.study.events import Listener, Listeners
    from orchestrator.study.lease import Lease
    from orchestrator.study.ledger import Ledger, Result
    from orchestrator.study.storage import Storage
    from orchestrator.study.sweep import Resources, Sweep, Trial, grid
    from orchestrator.tracking.tracker import Tracker, default_uri

    class Clock(Listener):
        """Notes the times at which trials were asked to start and at which their results were seen."""

        def __init__(self) -> None:
            self.asked: dict[str, float] = {}
            self.seen: dict[str, float] = {}

        def started(self, trial: Trial) -> None:
            self.asked[trial.label] = time.time()

        def ended(self, trial: Trial, result: Result) -> None:
            self.seen[trial.label] = time.time()

        def paused(self, trial: Trial, reason: str) -> None:
            raise RuntimeError(f"{trial.label} paused: {reason}")

    recipe = Sleeping(number=0, duration=seconds, log=str(folder / "log"))
    sweep = Sweep("sleep", grid(recipe, {"number": list(range(trials))}), Resources(), axes=("number",))
    ledger, clock = Ledger.of(Storage.at(str(folder)), sweep), Clock()
    runner = RayRunner.at(None, sweep.resources, retries=0, asha=False, pin=None)
    tracker, lease = Tracker(default_uri(folder), sweep), Lease(ledger.storage)
    with lease.hold(print):
        ledger.open(sweep)
        tracker.connect(ledger, print)
        runner.run(sweep, sweep.trials, ledger, lease, Listeners([clock, tracker]))
        tracker.close(status="FINISHED")
    begun, ended = {}, {}
    for line in (folder / "log").read_text().splitlines():
        number, first, last = line.split()
        begun[f"sleep {number}"], ended[f"sleep {number}"] = float(first), float(last)
    later = sorted(begun, key=begun.__getitem__)[SLOTS:]  # the first wait for the first processes
    parts = {
        "asked_to_begun": median(begun[label] - clock.asked[label] for label in later),
        "ended_to_seen": median(clock.seen[label] - ended[label] for label in later),
    }
    print(json.dumps(parts))


RUNS: Mapping[str, Callable[[int, float, Path], None]] = {
    "bash": bash,
    "joblib": joblib,
    "tune": tune,
    "tune_reused": lambda trials, seconds, folder: tune(trials, seconds, folder, reuse=True),
    "study": study,
}

if __name__ == "__main__":
    escape_output()
    tyro.cli(main)
