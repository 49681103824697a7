"""The options that every sweep script shares, and how a script turns them into a study."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import tyro
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rich.console import Console

from orchestrator import tracking
from orchestrator.events import Chorus, Narrator, StudyFailed
from orchestrator.ledger import Ledger
from orchestrator.local import LocalRunner
from orchestrator.sweep import Resources, Sweep
from orchestrator.tables import Layout, Table

if TYPE_CHECKING:
    from orchestrator.tuning import RayRunner

Flag = tyro.conf.FlagCreatePairsOff


class StudyOptions(BaseModel):
    """Where a study runs and what it leaves behind."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: Annotated[str, Field(pattern=r"^[\w.-]*$")] = ""
    """Name of the study and of its folder under the storage; by default the sweep's and the preset's."""
    storage: Path = Path("runs")
    """Folder for results, checkpoints, tables and, by default, MLflow's database; shared by all nodes."""
    tracking_uri: str | None = None
    """MLflow tracking server; by default the database mlflow.db under the storage."""
    address: str | None = None
    """Ray cluster to join, such as ray://host:10001; by default the submitted job's, or a new one on this
    machine."""
    workers: int = 1
    """Ray Train workers of each trial (data parallel)."""
    cpus: float = 1
    """CPUs of each worker."""
    gpus: float | None = None
    """GPUs of each worker, fractions allowed; by default the preset's."""
    local: Flag[bool] = False
    """Run the trials one after the other in this process, without Ray: for a debugger."""

    def resources(self, gpus: float) -> Resources:
        """What each trial takes, where the preset asks for `gpus`."""
        return Resources(self.workers, self.cpus, gpus if self.gpus is None else self.gpus)


Options = TypeVar("Options", bound=StudyOptions)


def main(
    options: type[Options],
    plan: Callable[[Options], tuple[Sweep, Layout, Sequence[str]]],
    folder_run: Callable[[Path], Any],
    explain: Callable[[ValidationError], str],
    arguments: Sequence[str] | None = None,
) -> int:
    """Parse the options, plan the study, run what is missing of it, and show its table.

    Returns the exit code: 0 when every cell is finished, 1 when some failed, 2 for input that cannot be used.
    """
    console = Console(highlight=False)
    complaint = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        chosen = tyro.cli(options, args=arguments, description=plan.__doc__)
        sweep, layout, notes = plan(chosen)
        return run_study(chosen, sweep, layout, notes, folder_run, console)
    except ValidationError as error:
        complaint.print(explain(error), markup=False)
        return 2
    except ValueError as error:
        complaint.print(str(error), markup=False)
        return 2
    except StudyFailed as error:  # any other error of --local is for the debugger
        complaint.print(str(error), markup=False)
        return 1
    except KeyboardInterrupt:
        complaint.print(
            "Interrupted. Finished trials and the last checkpoints are kept; the same command goes on from them."
        )
        return 130


def run_study(
    options: StudyOptions,
    sweep: Sweep,
    layout: Layout,
    notes: Sequence[str],
    folder_run: Callable[[Path], Any],
    console: Console,
) -> int:
    """Run the trials that have no result yet and render the table of all."""
    trials = sweep.trials  # its fingerprints are read here: what is missing is said before anything is written
    ledger = Ledger.open(options.storage, sweep.name)
    finished = [trial for trial in trials if ledger.result(trial.signature)]
    missing = [trial for trial in trials if trial not in finished]
    begun = sum(ledger.begun(trial.signature) for trial in missing)
    console.print(
        f"{sweep.name}: {len(trials)} trials, {len(finished)} finished, {len(missing)} to run"
        + (f", {begun} of them from a checkpoint" if begun else "")
    )
    runner = _runner(options, sweep, folder_run) if missing else None
    tracker = tracking.Tracker(options.tracking_uri or tracking.default_uri(options.storage), options.storage, sweep)
    for trial in finished:
        tracker.finished(trial, ledger.result(trial.signature) or {})
    failures = len(missing)
    try:
        narrator = Narrator(console, layout.metric, len(trials), len(finished))
        listener = Chorus([narrator, tracker])
        if runner:
            runner.prepare(sweep.preparations(missing), narrator.say)
            failures = runner.run(missing, ledger, listener)
    finally:
        results = {t.signature: r for t in trials if (r := ledger.result(t.signature))}
        table = Table.of(layout, trials, results, notes)
        paths = table.write(ledger.folder, "table1")
        for path in paths:
            tracker.artifact(path)
        tracker.describe(table.markdown())
        tracker.close(status="FAILED" if failures else "FINISHED")
    console.print()
    table.show(console)
    mlflow = Path(sys.executable).parent / "mlflow"
    console.print(f"\nTable: {paths[0]} and {paths[1].name}", soft_wrap=True)
    console.print(f"MLflow: {mlflow} ui --backend-store-uri {tracker.uri}", soft_wrap=True)
    if failures:
        console.print(f"{failures} of {len(trials)} trials have no result; the same command tries them again.")
    return 1 if failures else 0


def _runner(options: StudyOptions, sweep: Sweep, folder_run: Callable[[Path], Any]) -> "LocalRunner | RayRunner":
    if options.local:
        return LocalRunner(folder_run)
    from orchestrator.tuning import RayRunner  # Ray takes seconds to import: not for a study that is finished

    return RayRunner(options.address, sweep.resources)
