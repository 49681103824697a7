"""A recipe's run whose checkpoints, reports and files lie on the study's storage, whoever runs it."""

import hashlib
import os
import shutil
import tempfile
import time
import uuid
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from orchestrator import provenance
from orchestrator.study.lease import Lease
from orchestrator.study.ledger import Attempt, Ledger, Result
from orchestrator.study.storage import Storage
from orchestrator.study.sweep import load


class StoredRun:
    """One attempt at a trial, in one of its workers: the recipes' `Run`. Only the worker of rank 0 writes."""

    def __init__(
        self,
        ledger: Ledger,
        signature: str,
        *,
        attempt: Attempt,
        rank: int,
        lease: Lease,
        told: Callable[[Mapping[str, float]], None],
    ) -> None:
        """`told` hears of every report, in every worker. Reports of a lost lease raise Superseded."""
        self.trial, self.leads, self.lease, self.told = ledger.trial(signature), rank == 0, lease, told
        self.ledger, self.signature = ledger, signature
        self.checkpoints = ledger.checkpoints(signature)
        self.history = ledger.history(signature)
        self.attempt, self.begun = attempt, time.monotonic()
        self.history.attempts.append(attempt)
        scratch = _scratch(self.trial, signature, rank)
        self.forget = weakref.finalize(self, shutil.rmtree, scratch, ignore_errors=True)
        # Now, and not when the recipe asks: another worker may be so far ahead then that it has committed one.
        self.last = self.checkpoints.latest(scratch)
        if self.leads:
            self.trial.write("history.json", self.history.dump())

    def report(self, metrics: Mapping[str, float], *, step: int, checkpoint: Path | None = None) -> None:
        """Record metrics, then commit the checkpoint: no report is lost because a checkpoint is newer."""
        self.forget()  # Ray may end this process without a word, and what was fetched has been read
        if self.leads:
            self.lease.check()
            self.attempt.seconds = time.monotonic() - self.begun
            self.history.add(metrics, step=step, time=time.time())
            self.trial.write("history.json", self.history.dump())
            if checkpoint is not None:
                self.checkpoints.commit(step, checkpoint)
        self.told({**metrics, "step": step})

    def resume(self) -> Path | None:
        """The last committed checkpoint, there until the first report; a damaged one gives way to the one before it."""
        return self.last

    def keep(self, file: Path) -> None:
        """Keep a copy of a file with the trial's result."""
        if self.leads:
            self.trial.upload(file, f"files/{file.name}")

    def needed(self, recipe: object) -> Path:
        """Folder of the files that a need of this trial's recipe kept.

        It is the ledger's own where the storage is a folder, else a copy in the cache of this machine.
        Raises ValueError for a recipe that is no need of this trial's, or that has not been finished.
        """
        description = self.ledger.description(self.signature)
        mine, known = load(description), description.get("needs", [])
        # The driver has given the needs their signatures: here their data need not be there to be looked at.
        signature = next((s for s, need in zip(known, mine.needs(), strict=True) if need == recipe), None)
        if signature is None:
            raise ValueError(
                f"A recipe must name in its `needs` what it starts from, but {mine} does not name {recipe}."
            )
        result, files = self.ledger.trial(signature).read("result.json"), self.ledger.trial(signature) / "files"
        if result is None:
            raise ValueError(f"A need must be finished before what starts from it, but {recipe} is not.")
        return files.local or _fetched(files, signature, result)

    def finish(self, metrics: Mapping[str, float]) -> Result:
        """Write the result, which is what finishes the trial."""
        self.attempt.seconds = time.monotonic() - self.begun
        result = Result(
            "finished",
            metrics,
            seconds=self.history.seconds,
            gpu_hours=self.history.gpu_hours,
            attempts=len(self.history.attempts),
        )
        if self.leads:
            self.lease.check()
            self.trial.write("history.json", self.history.dump())
            self.ledger.finish(self.signature, result)
        return result


def _fetched(files: Storage, signature: str, result: str) -> Path:
    """A copy of a finished trial's files in the cache, made by whichever worker of this machine comes first.

    It is addressed by the trial, the study and the trial's result: the same recipe that was trained elsewhere, or
    again, has other weights.
    """
    made = hashlib.sha256(f"{files} {result}".encode()).hexdigest()[:8]
    cache = Path(os.environ.get("L2S_CACHE") or f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/distill-l2s")
    folder = cache.expanduser().absolute() / "needs" / f"{signature}-{made}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{folder.name}.lock"):
        if not folder.is_dir():
            partial = folder.with_name(f".{folder.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)  # of a worker that was killed: we hold its lock
            partial.mkdir()
            files.download_all(partial)
            partial.rename(folder)  # whole, or not at all
    return folder


def _scratch(trial: Storage, signature: str, rank: int) -> Path:
    """Folder that a worker fetches a checkpoint to; what a killed attempt of the same left there is deleted."""
    study = hashlib.sha256(f"{os.getuid()} {trial}".encode()).hexdigest()[:8]  # others may share the machine
    name = f"l2s-resume-{signature}-{study}-{rank}-"
    for left in Path(tempfile.gettempdir()).glob(f"{name}*"):
        shutil.rmtree(left, ignore_errors=True)
    # Each attempt has one, so that an attempt that ends late does not delete what the next one has fetched.
    return Path(tempfile.gettempdir()) / f"{name}{uuid.uuid4().hex[:8]}"


def attempt(*, host: str, hardware: str, workers: int = 1, gpus: float = 0.0, commit: str = "") -> Attempt:
    """An attempt that begins now."""
    begun = datetime.now(UTC).isoformat(timespec="seconds")
    return replace(
        Attempt(begun, host, hardware, workers, gpus),
        versions=provenance.versions(),
        commit=commit or provenance.commit(),
    )
