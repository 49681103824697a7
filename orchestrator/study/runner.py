"""Who runs a study: this process, or a Ray cluster."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from orchestrator.study.events import Listener
from orchestrator.study.lease import Lease
from orchestrator.study.ledger import Ledger
from orchestrator.study.sweep import Sweep, Trial


class Runner(Protocol):
    """What a study needs of one."""

    def slots(self) -> int:
        """Trials at once. Raises ValueError, naming the resource, where there is room for none."""
        ...

    def probe(self, trial: Trial) -> Mapping[str, float]:
        """See `Recipe.probe`; where a trial would run."""
        ...

    def run(self, sweep: Sweep, trials: Sequence[Trial], ledger: Ledger, lease: Lease, listener: Listener) -> None:
        """Run `trials`; what comes of them is in the ledger."""
        ...
