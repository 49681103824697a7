"""The same sweep in this process, one trial after the other: no Ray, for a debugger."""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator import provenance
from orchestrator.study.events import Listener
from orchestrator.study.lease import Lease
from orchestrator.study.ledger import Ledger
from orchestrator.study.stored_run import StoredRun, attempt
from orchestrator.study.sweep import Sweep, Trial


@dataclass(frozen=True)
class LocalRunner:
    """Runs everything here. An exception is what the debugger is for: it ends the study."""

    def slots(self) -> int:
        """Trials at once."""
        return 1

    def probe(self, trial: Trial) -> Mapping[str, float]:
        """See the recipes' `probe`."""
        return trial.recipe.probe()

    def run(self, sweep: Sweep, trials: Sequence[Trial], ledger: Ledger, lease: Lease, listener: Listener) -> None:
        """Run `trials`."""
        prepared: set[str] = set()
        for trial in trials:
            ledger.begin(trial)
            listener.preparing(trial)
            for preparation in sweep.preparations(trial):
                if str(preparation) not in prepared:
                    preparation.build()
                    listener.noted(f"{preparation}: {preparation.summary()}")
                    prepared.add(str(preparation))
            listener.started(trial)
            here = attempt(host=socket.gethostname(), hardware=provenance.processor())
            run = StoredRun(
                ledger,
                trial.signature,
                attempt=here,
                rank=0,
                lease=lease,
                told=lambda metrics, trial=trial: listener.reported(trial, metrics),
            )
            listener.ended(trial, run.finish(trial.recipe.run(run)))
