"""A toy study in processes of its own, and what must hold of it whatever was killed."""

import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mlflow import MlflowClient

from orchestrator.study.sweep import Trial
from tests.faults.cluster import ROOT
from tests.faults.processes import kill, runs, until
from tests.toy.recipe import Toy

SWEEP = ROOT / "tests" / "toy" / "sweep.py"
LENGTH = 8
CELLS = ("cs 0", "cs 0.5", "ro 0", "ro 0.5")


def signature(cell: str) -> str:
    """Of the trial in a cell, such as `cs 0.5`."""
    language, weight = cell.split()
    return Trial(Toy(language=language, weight=float(weight), length=LENGTH)).signature


class Event(NamedTuple):
    """A line of the toy's log."""

    what: str
    cell: str
    pid: int
    raylet: int
    """Of its node; 0 without Ray."""
    time: float


class Submission:
    """A process that runs a study, and what it printed."""

    def __init__(self, command: list[str], environment: dict[str, str], output: Path) -> None:
        self.output = output
        with output.open("w") as file:
            self.process = subprocess.Popen(
                command,
                env=environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        """What it has printed so far."""
        return self.output.read_text()

    def ends(self, code: int, seconds: float = 400) -> str:
        """What it printed, when it has ended with this exit code."""
        try:
            found = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            found = None
            self.kill()
        assert found == code, f"exit code {found}, but expected {code}, after:\n{self.text}"
        return self.text

    def says(self, what: str, seconds: float = 240) -> None:
        """Wait until it has printed this."""
        ended = self.process.poll
        until(lambda: what in self.text or ended() is not None, f"{what!r} in:\n{self.text}", seconds)
        assert what in self.text, f"{what!r} is not in:\n{self.text}"

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """Without a word."""
        kill([self.process.pid])
        self.process.wait()


@dataclass
class Study:
    """The toy study in a folder; submitted as often as a test likes."""

    folder: Path
    environment: dict[str, str]
    address: str | None = None
    """Of a cluster; None runs it in the submitting process."""
    options: list[str] = field(default_factory=list)
    database: Path | None = None
    """An empty one of MLflow's, to begin with: making one takes seconds."""
    submissions: list[Submission] = field(default_factory=list)

    @property
    def storage(self) -> Path:
        """Folder of its storage."""
        return self.folder / "storage"

    @property
    def log(self) -> Path:
        """Of all starts and ends of its trials."""
        return self.folder / "log"

    @property
    def uri(self) -> str:
        """Of its MLflow database, unless a test has another."""
        return f"sqlite:///{self.folder / 'mlflow.db'}"

    def command(self, *more: str) -> list[str]:
        """What submits it."""
        where = ["--address", self.address] if self.address else ["--local"]
        places = ["--storage", str(self.storage), "--log", str(self.log), "--tracking-uri", self.uri]
        return [sys.executable, str(SWEEP), *where, *places, *self.options, *more]

    def submit(self, *more: str, environment: dict[str, str] | None = None) -> Submission:
        """Submit it."""
        return self.launch(self.command(*more), environment)

    def launch(self, command: list[str], environment: dict[str, str] | None = None) -> Submission:
        """Submit it in another way."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.database and not (self.folder / "mlflow.db").exists():
            shutil.copyfile(self.database, self.folder / "mlflow.db")
        output = self.folder / f"output-{len(self.submissions)}"
        self.submissions.append(Submission(command, environment or self.environment, output))
        return self.submissions[-1]

    @property
    def study(self) -> Path:
        """Its folder under its storage."""
        return self.storage / "toy"

    def trial(self, cell: str) -> Path:
        """The folder of a cell's trial."""
        return self.study / "trials" / signature(cell)

    def events(self) -> list[Event]:
        """The toy's log."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        parts = [line.split() for line in lines]
        return [
            Event(what, f"{language} {weight}", int(pid), int(raylet), float(time))
            for what, language, weight, pid, raylet, time in parts
        ]

    def workers(self) -> dict[str, Event]:
        """The last start of each trial whose process runs, and which has not come to its end."""
        last = {event.cell: event for event in self.events()}
        return {cell: event for cell, event in last.items() if event.what == "start" and runs(event.pid)}

    def at(self, cell: str, step: int) -> bool:
        """Whether the checkpoint of `step`, or a later one, is there while the trial runs."""
        checkpoints = (self.trial(cell) / "checkpoints").glob("step-*/manifest.json")
        return cell in self.workers() and any(int(path.parent.name[5:]) >= step for path in checkpoints)

    def truncate(self, cell: str) -> tuple[str, int, int] | None:
        """Cut off the end of the last of two checkpoints; the cell and both steps. None where there are no two."""
        kept = sorted((self.trial(cell) / "checkpoints").glob("step-*/manifest.json"))
        if len(kept) < 2:
            return None
        state = kept[-1].parent / "state.npz"
        state.write_bytes(state.read_bytes()[:100])
        before, last = (int(path.parent.name[5:]) for path in kept)
        return cell, before, last

    def result(self, cell: str) -> dict:
        """What came of a trial; empty before it has ended."""
        path = self.trial(cell) / "result.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def reports(self, cell: str) -> dict[str, list[tuple[int, float]]]:
        """Of each metric, its steps and values as a trial reported them."""
        found: dict[str, list[tuple[int, float]]] = {}
        for report in json.loads((self.trial(cell) / "history.json").read_text())["reports"]:
            for name in report.keys() - {"step", "time"}:
                found.setdefault(name, []).append((int(report["step"]), report[name]))
        return found

    def in_mlflow(self) -> dict[str, str]:
        """The status of the run of each signature, and under the study's name that of its parent; each once."""
        client = MlflowClient(self.uri)
        experiment = client.get_experiment_by_name("toy")
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id])
        names = [run.data.tags.get("l2s.signature") or str(run.info.run_name) for run in runs]
        assert len(set(names)) == len(names), f"a run was made twice: {Counter(names)}"
        return {name: run.info.status for name, run in zip(names, runs, strict=True)}

    def metrics_in_mlflow(self, cell: str) -> dict[str, list[tuple[int, float]]]:
        """As `reports`, as MLflow tells them."""
        client = MlflowClient(self.uri)
        experiment = client.get_experiment_by_name("toy")
        assert experiment is not None
        (run,) = client.search_runs([experiment.experiment_id], f"tags.`l2s.signature` = '{signature(cell)}'")
        names = run.data.metrics.keys() - {"trial_seconds", "gpu_hours", "attempts"}
        return {name: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)] for name in names}


def assert_undisturbed(study: Study, reference: Study, cells: tuple[str, ...] = CELLS) -> None:
    """All is as if nothing had happened: results, MLflow, table, and nothing ran again after its end."""
    for cell in cells:
        assert study.result(cell)["status"] == "finished", cell
        assert study.result(cell)["metrics"] == reference.result(cell)["metrics"], cell
        ours, theirs = (s.trial(cell) / "files" / "weights.npy" for s in (study, reference))
        assert ours.read_bytes() == theirs.read_bytes(), cell
        assert study.reports(cell) == reference.reports(cell), cell
        assert study.metrics_in_mlflow(cell) == reference.reports(cell), cell
        assert not (study.trial(cell) / "checkpoints").exists(), cell
    assert study.in_mlflow() == {"toy": "FINISHED"} | {signature(cell): "FINISHED" for cell in cells}
    if cells == CELLS:
        for name in ("table1.md", "table1.csv"):
            assert (study.study / name).read_bytes() == (reference.study / name).read_bytes()
    assert_ran_once(study, cells)
    assert not list(study.study.glob("submitter-*"))
    assert not list(study.study.rglob("*.partial"))


def assert_ran_once(study: Study, cells: tuple[str, ...]) -> None:
    """No trial began again after its end, and none has ended twice."""
    for cell in cells:
        what = [event.what for event in study.events() if event.cell == cell]
        assert what.count("end") == 1, (cell, what)
        assert what[-1] == "end", (cell, what)
