"""The options that every sweep script shares, and how a script turns them into a study.

A submission goes through these steps, and whatever ends it, the same command begins again with the first:

    look    options, recipes and their fingerprints, ledger, lease, room on the cluster, MLflow; nothing is written
    lease   from here on no other submitter writes to the study (lease.py)
    open    study.json and layout.json are written, and the ledger is read again: another may have gone on with it
    run     the trials that have no settled result, by Ray or in this process; each writes its own into the ledger
    render  tables, figures and report are made from the ledger alone, however the trials ended
    close   MLflow gets what it lacks, and the lease is given back

Input that cannot be used raises Refused (exit code 2), nearly always in the first step; a study that cannot go on
raises StudyFailed (1).
"""

import contextlib
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import tyro
from pydantic import BaseModel, ConfigDict, ValidationError
from rich.console import Console

from orchestrator import environment, provenance
from orchestrator.arguments import parse
from orchestrator.local import LocalRunner
from orchestrator.printing import escape_output
from orchestrator.redaction import first_line, public
from orchestrator.results.live import LiveTable
from orchestrator.results.publish import Publisher, Rendering
from orchestrator.results.rendering.terminal import show
from orchestrator.study import plan as plans
from orchestrator.study.events import Listeners, Narrator
from orchestrator.study.failures import Refused, StudyFailed, refusing
from orchestrator.study.heartbeat import SteadyNarrator
from orchestrator.study.interrupts import INTERRUPTED, interruptible
from orchestrator.study.layout import Layout
from orchestrator.study.lease import Lease
from orchestrator.study.ledger import Ledger, Result
from orchestrator.study.runner import Runner
from orchestrator.study.storage import Storage
from orchestrator.study.stored_study import Submission, command_line
from orchestrator.study.sweep import Resources, Sweep, Trial
from orchestrator.tracking import tracker as tracking

Flag = tyro.conf.FlagCreatePairsOff


class StudyOptions(BaseModel):
    """The options of a study: where it runs, and what it leaves behind."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: str = ""
    """Name of the study and of its folder under the storage; by default the sweep's and the preset's."""
    storage: str = "runs"
    """Folder that all nodes share, or a URL such as s3://bucket/runs, for results, checkpoints and tables."""
    tracking_uri: str | None = None
    """MLflow tracking server; by default MLFLOW_TRACKING_URI, or mlflow.db under the storage, where it is a folder."""
    address: str | None = None
    """Ray cluster to join, from one of its nodes: its head's HOST:6379; by default the job's, or a new one here."""
    workers: int = 1
    """Ray Train workers of each trial (data parallel)."""
    most_workers: int | None = None
    """Workers that a trial may have where there is room when it starts or resumes; the result stays the same."""
    cpus: float = 1
    """CPUs of each worker."""
    gpus: float | None = None
    """GPUs of each worker, by default the preset's; with 0.25, four trials share one."""
    scheduler: Literal["fifo", "asha"] = "fifo"
    """`fifo` runs all trials to their end; `asha`, successive halving, stops the worse ones of each row: `stopped`."""
    retries: int = 2
    """How often a trial whose recipe raised an error is tried again. Lost workers and nodes do not count."""
    retry_failed: Flag[bool] = False
    """Run the trials again that an earlier submission gave up."""
    pin: str | None = None
    """Ray resource of the nodes that are safe for the processes that steer; by default the head node."""
    update_every: float | None = None
    """Seconds from one rendering of tables and report to the next while the study runs; by default only at its end."""
    plan: Flag[bool] = False
    """Say what would run, for how long, in how many GPU hours and on how much disk, and run nothing."""
    local: Flag[bool] = False
    """Run the trials one after the other in this process, without Ray: for `python -m pdb`."""

    def resources(self, gpus: float) -> Resources:
        """The resources of each trial; `gpus` is what the preset gives each worker, unless an option says otherwise."""
        return Resources(self.workers, self.cpus, gpus if self.gpus is None else self.gpus, self.most_workers)


Options = TypeVar("Options", bound=StudyOptions)


def main(
    options: type[Options],
    study: Callable[[Options], tuple[Sweep, Layout]],
    explain: Callable[[ValidationError], str],
    arguments: Sequence[str] | None = None,
) -> int:
    """Parse the options, make the study of them, run what is missing of it, and show its tables.

    Returns the exit code: 0 when every cell has its result, 1 when some have not, 2 for input that cannot be used,
    130 when interrupted.
    """
    escape_output()
    # No markup: paths may have brackets, and colons that Rich takes for the names of pictures.
    console = Console(highlight=False, markup=False, emoji=False)
    complaint = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
    try:
        with interruptible():
            with refusing():
                chosen = parse(options, arguments, description=study.__doc__)
                environment.make_absolute()
                sweep, layout = study(chosen)
            try:
                return run_study(chosen, sweep, layout, command_line(arguments), console)
            except (OSError, ValueError) as error:
                if chosen.local:  # the debugger's
                    raise
                raise StudyFailed(f"The study cannot go on: {first_line(error)}") from error
    except Refused as refused:
        error = refused.__cause__
        complaint.print(public(explain(error) if isinstance(error, ValidationError) else str(error)))
        return 2
    except StudyFailed as error:  # any other error of --local is for the debugger
        complaint.print(public(str(error)))
        return 1
    except KeyboardInterrupt:
        complaint.print(
            "Interrupted. Finished trials and the last checkpoints are kept; the same command goes on from them."
        )
        if runner := sys.modules.get("orchestrator.cluster.runner"):  # imported where Ray is needed
            runner.leave()
        return INTERRUPTED


def run_study(options: StudyOptions, sweep: Sweep, layout: Layout, command: str, console: Console) -> int:
    """Run the trials that have no result yet and render the tables of all; `command` is what makes the study again.

    All that can be wrong with the input is found before the lease to the study is written, and raises Refused.
    """
    with refusing():
        _check(options, sweep)
        layout.check(sweep)
        storage = Storage.at(options.storage)
        uri = tracking.chosen_uri(options.tracking_uri, storage.local)
        trials = sweep.everything  # its fingerprints are read here
        ledger = Ledger.of(storage, sweep)
        results, settled, missing = _state(ledger, sweep, options)
        begun = ledger.begun([trial.signature for trial in missing])
        console.print(_summary(sweep, settled, len(missing), len(begun)), soft_wrap=True)
        lease = Lease(ledger.storage)
        if not options.plan:
            lease.require_free()  # before Ray is asked for anything
        if missing:
            environment.check_writable()
        runner = _runner(options, sweep) if missing else LocalRunner()
    if options.plan:
        plans.show(console, sweep, ledger, missing, results, begun, runner)
        return 0
    tracker = tracking.Tracker(uri, sweep)
    if missing:
        with refusing():
            tracker.reach()
    with lease.hold(console.print):
        with refusing():
            ledger.open(sweep)
            # Until now another submitter may have gone on with it.
            results, settled, missing = _state(ledger, sweep, options)
            Submission.of(sweep, layout, command).write(ledger.storage)
        with _narrator(console, layout, sweep, settled, missing) as narrator:
            # Nothing is begun that MLflow does not hear of. A finished study shows its table whatever MLflow says.
            with refusing() if missing else contextlib.suppress(ValueError):
                tracker.connect(ledger, narrator.noted)
            for trial in trials:
                if trial.signature in settled:
                    tracker.ended(trial, settled[trial.signature])
            publisher = Publisher(ledger, tracker, narrator.noted)
            try:
                if missing:
                    with publisher.every(options.update_every):
                        runner.run(sweep, missing, ledger, lease, Listeners([narrator, tracker]))
            finally:
                with refusing():
                    results, _, lacking = _state(ledger, sweep, options, final=True)
                    try:
                        rendering = publisher.publish()
                    finally:
                        unrecorded = _close(tracker, "FAILED" if lacking else "FINISHED")
    _show(console, rendering, ledger.storage, uri)
    _count(console, results, lacking, len(trials))
    if unrecorded:
        raise unrecorded
    return 1 if lacking else 0


def _show(console: Console, rendering: Rendering, storage: Storage, uri: str) -> None:
    console.print()
    for sheet in rendering.sheets:
        show(sheet, console)
    console.print(rendering.told(storage), soft_wrap=True)
    console.print(_page(uri), soft_wrap=True)


def _count(console: Console, results: Mapping[str, Result], lacking: Sequence[Trial], trials: int) -> None:
    failed = sum(trial.signature in results and results[trial.signature].status == "failed" for trial in lacking)
    if failed:
        console.print(f"{failed} of {trials} trials have failed; --retry-failed tries them again.")
    if len(lacking) > failed:
        console.print(f"{len(lacking) - failed} of {trials} trials have no result; the same command goes on with them.")


def _close(tracker: tracking.Tracker, status: str) -> StudyFailed | None:
    """End the recording. Returns the error to raise, after the table, when MLflow does not have everything."""
    try:
        tracker.close(status=status)
    except StudyFailed as error:
        return error
    return None


def _check(options: StudyOptions, sweep: Sweep) -> None:
    """Raises ValueError, in one sentence, for an option that cannot be used: its type's own complaint fills a page."""
    if options.name and not re.fullmatch(r"\w[\w.-]*", options.name):
        raise ValueError(f"`name` must be of letters, digits, '_', '.' and '-', but is {options.name!r} instead.")
    if not options.storage:
        raise ValueError("`storage` must be a folder or a URL, but is empty.")
    if options.update_every is not None and not options.update_every > 0:
        raise ValueError(f"`update_every` must be more than 0 seconds, but is {options.update_every:g} instead.")
    if options.retries < 0:
        raise ValueError(f"`retries` must be at least 0, but is {options.retries} instead.")
    if options.scheduler == "asha" and sweep.metric is None:
        raise ValueError("The sweep must name the `metric` that `scheduler` asha goes by, but names none.")


def _state(
    ledger: Ledger, sweep: Sweep, options: StudyOptions, *, final: bool = False
) -> tuple[Mapping[str, Result], dict[str, Result], list[Trial]]:
    """All results that there are, those that stay as they are or, at the end, are as wanted, and the trials to run."""
    results = ledger.results([trial.signature for trial in sweep.everything])
    settled = {s: r for s, r in results.items() if _settled(r, options, final=final)}
    # A trial that an earlier submission stopped early goes on where others start from it now.
    settled = {s: r for s, r in settled.items() if r.status != "stopped" or s not in sweep.needed}
    return results, settled, sweep.missing(settled)


def _settled(result: Result, options: StudyOptions, *, final: bool) -> bool:
    """Whether a trial with this result is left as it is; or, at the end, whether that is what was wanted."""
    if result.status == "failed":
        return not final and not options.retry_failed
    # Without the scheduler that stopped it, a stopped trial goes on.
    return result.status == "finished" or options.scheduler == "asha"


def _summary(sweep: Sweep, settled: dict[str, Result], missing: int, begun: int) -> str:
    statuses = [result.status for result in settled.values()]
    counts = [f"{statuses.count(s)} {s}" for s in ("finished", "stopped", "failed") if s in statuses or s == "finished"]
    resumed = f", {begun} of them from a checkpoint" if begun else ""
    needs = len(sweep.everything) - len(sweep.trials)
    trials = f"{len(sweep.trials)} trials" + (f" and {needs} that they start from" if needs else "")
    return f"{sweep.name}: {trials}, {', '.join(counts)}, {missing} to run{resumed}"


def _page(uri: str) -> str:
    if uri.startswith("http"):
        return f"MLflow: {public(uri)}"
    command = [str(Path(sys.executable).parent / "mlflow"), "ui", "--backend-store-uri", public(uri)]
    return f"MLflow: {shlex.join(command)}"


@contextlib.contextmanager
def _narrator(
    console: Console, layout: Layout, sweep: Sweep, settled: dict[str, Result], missing: Sequence[Trial]
) -> Iterator[Narrator]:
    """A live table where a person looks at a terminal, else a line per event and at least one a minute."""
    if console.is_terminal and missing:
        with LiveTable(console, layout, sweep, settled, missing) as table:
            yield table
    else:
        with SteadyNarrator(console, sweep, layout, len(settled) + len(missing), len(settled)) as narrator:
            yield narrator


def _runner(options: StudyOptions, sweep: Sweep) -> Runner:
    if options.local:
        return LocalRunner()
    described = json.dumps([trial.describe() for trial in sweep.everything])
    if within := re.search(r'"__main__:([\w.]+)"', described):  # the type of a recipe, or of a corpus of one's own
        raise ValueError(
            "A recipe and its parts must be in modules that workers can import, but "
            f"{within[1]} is in the script itself: move it to a file beside the script."
        )
    provenance.check_ray()  # an older one may lack names that the import below needs
    from orchestrator.cluster.runner import RayRunner  # Ray takes seconds to import: not for a study that is finished

    return RayRunner.at(
        options.address,
        sweep.resources,
        retries=options.retries,
        asha=options.scheduler == "asha",
        pin=options.pin,
    )
