"""Random kills change nothing in a study, is the claim: no cell is wrong, no trial runs again after its end.

Studies of tiny trials on a cluster of two nodes, both on this machine, lose a random process at random moments: a
train worker, a trial's steering process, the driver (which is submitted again), a whole node (which comes back).
What they end with is compared with the same study undisturbed.

    python -m benchmarks.random_kills --kills 50
"""

import json
import random
import shutil
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

from orchestrator.printing import escape_output
from tests.faults.cluster import Cluster, environment
from tests.faults.processes import kill, marked
from tests.faults.study import Study, Submission, signature

LANGUAGES, WEIGHTS = ("cs", "ro", "el", "sv-SE"), ("0", "0.5", "1")
CELLS = tuple(f"{language} {weight}" for language in LANGUAGES for weight in WEIGHTS)
GRID = ["--languages", *LANGUAGES, "--weights", *WEIGHTS]
PAUSE = (1.0, 8.0)
"""Seconds between two kills."""


@dataclass
class Figures:
    """The findings over all studies."""

    studies: int = 0
    submissions: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    wrong_cells: int = 0
    """Cells whose result, weights, reports or records in MLflow differ from the undisturbed study's; and tables."""
    duplicate_runs: int = 0
    """Starts of a trial that was finished."""
    seconds: float = 0.0


def main(kills: int = 50, seed: int = 0, minutes: float = 45) -> int:
    """Kill, submit again until all is complete, compare, and print one table and a line of JSON."""
    mark, folder = f"l2s-{uuid.uuid4().hex[:8]}", Path(tempfile.mkdtemp(prefix="l2s-kills-"))
    draw, figures, begun = random.Random(seed), Figures(), time.monotonic()
    options = [*GRID, "--seconds", "0.4"]
    try:
        reference = Study(folder / "reference", environment(mark, folder / "cache"), options=[*GRID, "--seconds", "0"])
        reference.submit().ends(0)
        cluster = Cluster(folder, mark, processors=1)
        cluster.start()
        cluster.add("second")
        while figures.kills.total() < kills and time.monotonic() - begun < 60 * minutes:
            study = Study(folder / f"study-{figures.studies}", cluster.environment, cluster.address, options)
            deadline = begun + 60 * minutes
            finished = disturb(study, cluster, draw, figures, kills, deadline)
            compare(study, reference, finished, figures)
    finally:
        kill(marked(mark))
        shutil.rmtree(folder, ignore_errors=True)
        for left in Path("/tmp").glob(f"{mark}-*"):
            shutil.rmtree(left, ignore_errors=True)
    figures.seconds = time.monotonic() - begun
    show(figures)
    return 1 if figures.wrong_cells or figures.duplicate_runs else 0


def disturb(
    study: Study, cluster: Cluster, draw: random.Random, figures: Figures, kills: int, deadline: float
) -> dict[str, float]:
    """Run a study to its end, killing processes. Returns the time at which each trial's result was written."""
    finished: dict[str, float] = {}
    submission, due, anywhere = study.submit(), time.monotonic() + draw.uniform(*PAUSE), False
    figures.submissions += 1
    while True:
        for cell in CELLS:
            if cell not in finished and study.result(cell).get("status") == "finished":
                finished[cell] = (study.trial(cell) / "result.json").stat().st_mtime
        code = submission.process.poll()
        if code == 0 or time.monotonic() > deadline + 300:
            return finished
        if code is not None:
            submission = study.submit()
            figures.submissions += 1
        elif due < time.monotonic() < deadline and figures.kills.total() < kills and (anywhere or study.workers()):
            kind = draw.choice(list(KINDS))
            if KINDS[kind](study, cluster, submission, draw):
                figures.kills[kind] += 1
            # Mostly while trials run, else most kills would hit a driver that is about to start.
            due, anywhere = time.monotonic() + draw.uniform(*PAUSE), draw.random() < 0.25
        time.sleep(0.05)


def _worker(study: Study, cluster: Cluster, submission: Submission, draw: random.Random) -> bool:
    running = sorted(event.pid for event in study.workers().values())
    kill([draw.choice(running)] if running else [])
    return bool(running)


def _steering(study: Study, cluster: Cluster, submission: Submission, draw: random.Random) -> bool:
    running = sorted(pid for pid in marked(cluster.mark) if _title(pid).startswith("ray::ImplicitFunc"))
    kill([draw.choice(running)] if running else [])
    return bool(running)


def _driver(study: Study, cluster: Cluster, submission: Submission, draw: random.Random) -> bool:
    submission.kill()
    return True


def _node(study: Study, cluster: Cluster, submission: Submission, draw: random.Random) -> bool:
    cluster.kill("second")
    cluster.add("second")
    return True


KINDS: dict[str, Callable[[Study, Cluster, Submission, random.Random], bool]] = {
    "train worker": _worker,
    "steering process": _steering,
    "driver": _driver,
    "second node": _node,
}


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def compare(study: Study, reference: Study, finished: dict[str, float], figures: Figures) -> None:
    """Count the differences from the undisturbed study."""
    figures.studies += 1
    runs = study.in_mlflow()
    for cell in CELLS:
        right = (
            study.result(cell).get("status") == "finished"
            and study.result(cell)["metrics"] == reference.result(cell)["metrics"]
            and _weights(study, cell) == _weights(reference, cell)
            and study.reports(cell) == reference.reports(cell) == study.metrics_in_mlflow(cell)
            and runs.get(signature(cell)) == "FINISHED"
        )
        if not right:
            figures.wrong_cells += 1
            print(f"wrong: {study.folder.name}, {cell}: {study.result(cell)}", file=sys.stderr)
    if (study.study / "table1.md").read_bytes() != (reference.study / "table1.md").read_bytes():
        figures.wrong_cells += 1
        print(f"wrong: {study.folder.name}, table1.md", file=sys.stderr)
    for event in study.events():
        if event.what == "start" and event.time > finished.get(event.cell, float("inf")):
            figures.duplicate_runs += 1
            print(f"again: {study.folder.name}, {event}", file=sys.stderr)


def _weights(study: Study, cell: str) -> bytes:
    return (study.trial(cell) / "files" / "weights.npy").read_bytes()


def show(figures: Figures) -> None:
    """Print one table and a line of JSON."""
    table = Table(title=f"{figures.kills.total()} random kills over {figures.studies} studies of {len(CELLS)} trials")
    table.add_column("")
    table.add_column("", justify="right")
    for kind in KINDS:
        table.add_row(f"killed: {kind}", str(figures.kills[kind]))
    for name, value in (
        ("submissions", f"{figures.submissions}"),
        ("wrong cells", f"{figures.wrong_cells}"),
        ("duplicate runs", f"{figures.duplicate_runs}"),
        ("wall time", f"{figures.seconds:.0f} s"),
    ):
        table.add_row(name, value)
    Console().print(table)
    print(json.dumps({**vars(figures), "trials": len(CELLS)}))


if __name__ == "__main__":
    escape_output()
    sys.exit(tyro.cli(main))
