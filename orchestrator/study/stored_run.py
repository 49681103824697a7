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

from orchestrator import provenance
from orchestrator.study.lease import Lease
from orchestrator.study.ledger import Attempt, Ledger, Result
from orchestrator.study.storage import Storage


class StoredRun:
    """One attempt at a trial, in one of its workers; only the one of rank 0 writes."""

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
        """See the recipes' `Run`. The history comes first: a report is never lost because a checkpoint is newer."""
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
        """See the recipes' `Run`; there until the first report. A damaged one is passed over for the one before it."""
        return self.last

    def keep(self, file: Path) -> None:
        """See the recipes' `Run`."""
        if self.leads:
            self.trial.upload(file, f"files/{file.name}")

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


def _scratch(trial: Storage, signature: str, rank: int) -> Path:
    """Where a worker fetches a checkpoint to; what a killed attempt of the same left there is deleted."""
    study = hashlib.sha256(f"{os.getuid()} {trial}".encode()).hexdigest()[:8]  # others may share the machine
    name = f"l2s-resume-{signature}-{study}-{rank}-"
    for left in Path(tempfile.gettempdir()).glob(f"{name}*"):
        shutil.rmtree(left, ignore_errors=True)
    # Of its own, so that an attempt that ends late does not delete what the next one has fetched.
    return Path(tempfile.gettempdir()) / f"{name}{uuid.uuid4().hex[:8]}"


def attempt(*, host: str, hardware: str, workers: int = 1, gpus: float = 0.0, commit: str = "") -> Attempt:
    """An attempt that begins now."""
    begun = datetime.now(UTC).isoformat(timespec="seconds")
    return replace(
        Attempt(begun, host, hardware, workers, gpus),
        versions=provenance.versions(),
        commit=commit or provenance.commit(),
    )
