"""Which trial starts next, and when."""

import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ray.tune.search import Searcher
from typing_extensions import override

from orchestrator.cluster.preparations import Preparing
from orchestrator.study import interrupts
from orchestrator.study.events import Listener
from orchestrator.study.ledger import Ledger, Result
from orchestrator.study.needs import Needs
from orchestrator.study.sweep import Trial

REFRESH_EVERY = 1.0
"""Seconds between looks at the preparations, the needs and the cluster."""


class Queue(Searcher):
    """Gives Tune the next trial whose preparations are done and whose needs are finished, as long as the cluster, as it
    is now, has a slot.

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
        self.needs = Needs(trials, ledger)
        self.running: dict[str, tuple[Trial, int]] = {}
        """The running trials, and the slots that each takes, by Tune's name for it."""
        self.over: list[Trial] = []
        """Trials that have ended since the last look."""
        self.room, self.refreshed, self.lacking = 0, 0.0, ""
        for trial in trials:
            if not preparing.ready(trial):
                listener.preparing(trial)

    def __reduce__(self) -> tuple[Any, ...]:
        # Tune pickles its search algorithm to restore an experiment, which is never done here.
        return object, ()

    @override
    def suggest(self, trial_id: str) -> Any:
        # The config of the trial that Tune is to start under this name, or None for not now.
        interrupts.check()
        if time.monotonic() - self.refreshed >= REFRESH_EVERY:
            self._refresh()
            self.refreshed = time.monotonic()
        if not self.waiting or self.paused:
            return Searcher.FINISHED
        left = self.room - sum(slots for _, slots in self.running.values())
        ready = [trial for trial in self.waiting if self.preparing.ready(trial) and self.needs.ready(trial)]
        if left <= 0 or not ready:
            return None
        spare = max(0, left - len(ready))
        most = max(self.workers, min(self.most_workers, self.workers * (1 + spare)))
        self.waiting.remove(ready[0])
        self.running[trial_id] = ready[0], -(-most // self.workers)
        return {"signature": ready[0].signature, "most_workers": most}

    @override
    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if trial_id in self.running:
            self.over.append(self.running.pop(trial_id)[0])

    @override
    def save(self, checkpoint_path: str) -> None:
        pass  # the ledger is what a study goes on from

    @override
    def restore(self, checkpoint_path: str) -> None:
        pass

    @override
    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        pass

    def _refresh(self) -> None:
        for line in self.preparing.poll():
            self.listener.noted(line)
        self._end_needs()
        for trial in list(self.waiting):
            if reason := self.preparing.error(trial) or self.needs.failure(trial):
                self._fail(trial, reason)
            elif reason := self.needs.hindrance(trial):
                self.waiting.remove(trial)
                self.needs.over[trial.signature] = None
                self.listener.paused(trial, reason)
        try:
            self.room, lacking = self.slots(), ""
        except ValueError as error:  # nodes have left; others may come
            self.room, lacking = 0, str(error)
        if lacking and lacking != self.lacking:
            self.listener.noted(f"Waiting for nodes. {lacking}")
        self.lacking = lacking

    def _end_needs(self) -> None:
        """See what has come of the trials that have ended, where others start from them."""
        needed = {need.signature for trial in self.waiting for need in trial.needs}
        for trial in self.over:
            if trial.signature in needed:
                self.needs.over[trial.signature] = self.ledger.result(trial.signature)
        self.over.clear()

    def _fail(self, trial: Trial, reason: str) -> None:
        self.waiting.remove(trial)
        result = Result("failed", reason=reason, attempts=0)
        self.ledger.finish(trial.signature, result)
        self.needs.over[trial.signature] = result
        self.listener.ended(trial, result)
