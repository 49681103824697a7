"""Which trial starts next, and when."""

import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ray.tune.search import Searcher

from orchestrator.cluster.preparations import Preparing
from orchestrator.study import interrupts
from orchestrator.study.events import Listener
from orchestrator.study.ledger import Ledger, Result
from orchestrator.study.sweep import Trial

REFRESH_EVERY = 1.0
"""Seconds between looks at the preparations and at the cluster."""


class Queue(Searcher):
    """Gives Tune the next trial whose preparations are done, as long as the cluster, as it is now, has a slot.

    To Tune it is a search algorithm: the one place where Tune asks again and again what to start.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        preparing: Preparing,
        ledger: Ledger,
        listener: Listener,
        *,
        slots: Callable[[], int],
        workers: int = 1,
        most_workers: int = 1,
        paused: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`trials` in the order in which they should start. `slots` raises ValueError where there are none.

        A slot has room for `workers`; a trial may have up to `most_workers` where slots are left over. Once a trial
        has `paused`, for a full storage or another submitter, none is started any more.
        """
        super().__init__()
        self.waiting = list(trials)
        self.preparing, self.ledger, self.listener, self.slots = preparing, ledger, listener, slots
        self.workers, self.most_workers, self.paused = workers, most_workers, paused
        self.running: dict[str, int] = {}
        """The slots that each running trial takes."""
        self.room, self.refreshed, self.lacking = 0, 0.0, ""
        for trial in trials:
            if not preparing.ready(trial):
                listener.preparing(trial)

    def __reduce__(self) -> tuple[Any, ...]:
        # Tune pickles its search algorithm to restore an experiment, which is never done here.
        return object, ()

    def suggest(self, trial_id: str) -> Any:
        """See `Searcher`: the signature of a trial, or None for not now."""
        interrupts.check()
        if time.monotonic() - self.refreshed >= REFRESH_EVERY:
            self._refresh()
            self.refreshed = time.monotonic()
        if not self.waiting or self.paused:
            return Searcher.FINISHED
        left = self.room - sum(self.running.values())
        ready = [trial for trial in self.waiting if self.preparing.ready(trial)]
        if left <= 0 or not ready:
            return None
        spare = max(0, left - len(ready))
        most = max(self.workers, min(self.most_workers, self.workers * (1 + spare)))
        self.waiting.remove(ready[0])
        self.running[trial_id] = -(-most // self.workers)
        return {"signature": ready[0].signature, "most_workers": most}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """See `Searcher`."""
        self.running.pop(trial_id, None)

    def save(self, checkpoint_path: str) -> None:
        """See `Searcher`. The ledger is what a study goes on from."""

    def restore(self, checkpoint_path: str) -> None:
        """See `Searcher`."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """See `Searcher`."""

    def _refresh(self) -> None:
        for line in self.preparing.poll():
            self.listener.noted(line)
        for trial in list(self.waiting):
            if reason := self.preparing.error(trial):
                self.waiting.remove(trial)
                result = Result("failed", reason=reason, attempts=0)
                self.ledger.finish(trial.signature, result)
                self.listener.ended(trial, result)
        try:
            self.room, lacking = self.slots(), ""
        except ValueError as error:  # nodes have left; others may come
            self.room, lacking = 0, str(error)
        if lacking and lacking != self.lacking:
            self.listener.noted(f"Waiting for nodes. {lacking}")
        self.lacking = lacking
