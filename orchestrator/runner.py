"""Who runs a study: this process, or a Ray cluster."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from orchestrator.claim import Claim
from orchestrator.events import Listener
from orchestrator.ledger import Ledger
from orchestrator.sweep import Sweep, Trial


class Runner(Protocol):
    """What a study needs of one."""

    def slots(self) -> int:
        """Trials at once. Raises ValueError, naming the resource, where there is room for none."""
        ...

    def probe(self, trial: Trial) -> Mapping[str, float]:
        """See `Recipe.probe`; where a trial would run."""
        ...

    def run(self, sweep: Sweep, trials: Sequence[Trial], ledger: Ledger, claim: Claim, listener: Listener) -> None:
        """Run `trials`; what comes of them is in the ledger."""
        ...
