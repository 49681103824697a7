"""Which trial starts next, when, and which one stops early."""

import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search import Searcher

from orchestrator import interrupts
from orchestrator.events import Listener
from orchestrator.ledger import Ledger, Result
from orchestrator.preparing import Preparing
from orchestrator.sweep import Trial

LOOK_EVERY = 1.0
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
        self.room, self.looked, self.lacking = 0, 0.0, ""
        for trial in trials:
            if not preparing.ready(trial):
                listener.preparing(trial)

    def __reduce__(self) -> tuple[Any, ...]:
        # Tune pickles its search algorithm to restore an experiment, which is never done here.
        return object, ()

    def suggest(self, trial_id: str) -> Any:
        """See `Searcher`: the signature of a trial, or None for not now."""
        interrupts.check()
        if time.monotonic() - self.looked >= LOOK_EVERY:
            self._look()
            self.looked = time.monotonic()
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

    def _look(self) -> None:
        for line in self.preparing.look():
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


class RowsApart(TrialScheduler):
    """Asynchronous successive halving within each row of the study: a language's trials against each other only."""

    def __init__(self, trials: Mapping[str, Trial], row: str, metric: str) -> None:
        """`trials` by signature; `row` is the field that tells rows apart."""
        super().__init__()
        self.trials, self.row, self.judged = trials, row, f"reported/valid_{metric}"
        self.rows: dict[Any, ASHAScheduler] = {}

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """See `TrialScheduler`: it has its metric already."""
        return True

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """See `TrialScheduler`."""
        self._of(trial).on_trial_add(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """See `TrialScheduler`."""
        self._of(trial).on_trial_error(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """See `TrialScheduler`. One that is trained to its end is tested: to stop it would save next to nothing."""
        if result.get("reported/step", 0) >= self.trials[trial.config["signature"]].recipe.steps:
            return TrialScheduler.CONTINUE
        return self._of(trial).on_trial_result(tune_controller, trial, result)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """See `TrialScheduler`."""
        self._of(trial).on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """See `TrialScheduler`."""
        self._of(trial).on_trial_remove(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """See `TrialScheduler`: the first that waits."""
        return next((trial for trial in tune_controller.get_trials() if trial.status == "PENDING"), None)

    def debug_string(self) -> str:
        """See `TrialScheduler`."""
        return "successive halving within rows"

    def _of(self, tune_trial: Any) -> ASHAScheduler:
        trial = self.trials[tune_trial.config["signature"]]
        row = trial.fields[self.row]
        if row not in self.rows:
            steps = trial.recipe.steps
            self.rows[row] = ASHAScheduler(
                time_attr="reported/step",
                metric=self.judged,
                mode="min",
                grace_period=max(1, steps // 4),
                reduction_factor=2,
                max_t=steps,
            )
        return self.rows[row]
