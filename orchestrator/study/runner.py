"""The interface of those who run a study: this process, or a Ray cluster."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from orchestrator.study.events import Listener
from orchestrator.study.lease import Lease
from orchestrator.study.ledger import Ledger
from orchestrator.study.sweep import Sweep, Trial


class Runner(Protocol):
    """Someone who runs the trials of a study."""

    def slots(self) -> int:
        """How many trials run at once. Raises ValueError, naming the resource, where there is room for none."""
        ...

    def probe(self, trial: Trial) -> Mapping[str, float]:
        """The recipe's `probe` where the trial would run: `seconds` of a step, and the model's `parameters`."""
        ...

    def run(self, sweep: Sweep, trials: Sequence[Trial], ledger: Ledger, lease: Lease, listener: Listener) -> None:
        """Run `trials`, telling `listener` of their events; their results are in the ledger when it returns."""
        ...
