"""The same sweep in this process, one trial after the other: no Ray, for a debugger."""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator import provenance
from orchestrator.study.events import Listener
from orchestrator.study.lease import Lease
from orchestrator.study.ledger import Ledger, Result
from orchestrator.study.needs import Needs
from orchestrator.study.stored_run import StoredRun, attempt
from orchestrator.study.sweep import Sweep, Trial


@dataclass(frozen=True)
class LocalRunner:
    """Runs everything here. An exception is what the debugger is for: it ends the study."""

    def slots(self) -> int:
        """Trials at once."""
        return 1

    def probe(self, trial: Trial) -> Mapping[str, float]:
        """Seconds of a training step and parameters, as the recipe measures them here."""
        return trial.recipe.probe()

    def run(self, sweep: Sweep, trials: Sequence[Trial], ledger: Ledger, lease: Lease, listener: Listener) -> None:
        """Run `trials`, of which needs come before what starts from them."""
        prepared: set[str] = set()
        needs = Needs(trials, ledger)
        for trial in trials:
            ledger.begin(trial)
            if reason := needs.failure(trial):
                result = Result("failed", reason=reason, attempts=0)
                ledger.finish(trial.signature, result)
            elif reason := needs.hindrance(trial):
                result = None
                listener.paused(trial, reason)
            else:
                listener.preparing(trial)
                for preparation in sweep.preparations(trial):
                    if str(preparation) not in prepared:
                        preparation.build()
                        listener.noted(f"{preparation}: {preparation.summary()}")
                        prepared.add(str(preparation))
                result = self._run(trial, ledger, lease, listener)
            needs.over[trial.signature] = result
            if result is not None:
                listener.ended(trial, result)

    def _run(self, trial: Trial, ledger: Ledger, lease: Lease, listener: Listener) -> Result:
        listener.started(trial)
        run = StoredRun(
            ledger,
            trial.signature,
            attempt=attempt(host=socket.gethostname(), hardware=provenance.processor()),
            rank=0,
            lease=lease,
            told=lambda metrics: listener.reported(trial, metrics),
        )
        return run.finish(trial.recipe.run(run))
