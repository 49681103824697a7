"""Events of Tune's loop, passed on to the listeners; and the resources of processes that were killed."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import ray
import ray.tune
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group
from ray.util.state import list_placement_groups
from ray.util.state.exception import RayStateApiException
from typing_extensions import override

from orchestrator.study import interrupts
from orchestrator.study.events import Listener
from orchestrator.study.ledger import Ledger, Result
from orchestrator.study.sweep import Resources, Trial

PATIENCE = 60.0
"""Seconds after which a trial that has not begun is told of, with what it lacks."""


class StudyCallback(ray.tune.Callback):
    """Tells the listener of a study's trials, and gives back the resources that killed processes held.

    Ray Train reserves the resources of an attempt's workers as a placement group, which its controller removes when
    they end. The group belongs to the driver's job: where the controller is killed, or the Tune actor and the
    controller with it, the workers end too, but their CPUs and GPUs stay reserved until the job ends, and the next
    attempt may wait for them for ever. Ray Train has a watcher of its own that knows a group once its workers run, and
    asks the dashboard after the controller; not every cluster has a dashboard. So groups are removed here as well:

        a worker runs, and first of all tells of its group     the group is noted in `placed`
        the attempt or the trial ends, in whatever way         the noted group is removed, if it is still there
        a process is killed before a worker has told           all groups of this job's workers that no running trial
                                                               has told of are removed: after the failed attempt, or,
                                                               where the Tune actor was killed (`lost`), when Tune
                                                               starts the trial again

    The last may hit another trial that is just being started: it loses its workers, and is tried again.
    """

    def __init__(
        self,
        trials: Mapping[str, Trial],
        ledger: Ledger,
        listener: Listener,
        resources: Resources,
        preparing: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        """`trials` by signature; `preparing` says what the study's own preparations take, or would, in Ray's words."""
        self.trials, self.ledger, self.listener, self.resources = trials, ledger, listener, resources
        self.preparing = preparing
        self.starting: dict[str, float] = {}
        """The moments at which trials were started that have not begun yet, by signature, on the monotonic clock."""
        self.paused: dict[str, str] = {}
        """The reasons for which trials paused, by signature."""
        self.placed: dict[str, str] = {}
        """The placement groups of running trials, in hexadecimal, by signature."""
        self.lost: set[str] = set()
        """Signatures of trials whose Tune actor was killed before a worker told of its placement group."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Tune pickles its callbacks to restore an experiment, which is never done here.
        return ray.tune.Callback, ()

    @override
    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
        """Tells of trials that have not begun for long, and raises KeyboardInterrupt when one was asked for."""
        interrupts.check()
        now = time.monotonic()
        for signature, begun in list(self.starting.items()):
            if now - begun > PATIENCE:
                self.starting[signature] = now  # and tell again after as long
                self.listener.noted(f"{self.trials[signature].label}: waits for {self._lacking()}")

    @override
    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Tells that the trial is started; first removes the group that a killed actor of the trial has left."""
        signature = trial.config["signature"]
        if signature in self.lost:
            self.lost.discard(signature)
            self._release_untold()
        self.starting[signature] = time.monotonic()
        self.listener.started(self.trials[signature])

    @override
    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        """Passes on what the Tune actor sends: the first worker's reports, a failed attempt, the reason of a pause."""
        signature = trial.config["signature"]
        if group := result.get("placement_group"):
            self.placed[signature] = group
        if reason := result.get("paused"):
            self.paused[signature] = reason
        if metrics := result.get("reported"):
            self.starting.pop(signature, None)
            self.listener.reported(self.trials[signature], metrics)
        if note := result.get("noted"):
            self.listener.noted(f"{self.trials[signature].label}: {note}")
            if signature not in self.placed:
                self._release_untold()
            self._over(signature)
            self.starting[signature] = time.monotonic()  # the next attempt

    @override
    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Tells how the trial ended; without a result and without a pause, the scheduler has stopped it."""
        signature = trial.config["signature"]
        self._over(signature)
        result = self.ledger.result(signature)
        if signature in self.paused:
            self.listener.paused(self.trials[signature], self.paused[signature])
            return
        if result is None:
            result = self._stopped(signature)
            self.ledger.finish(signature, result)
        self.listener.ended(self.trials[signature], result)

    @override
    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Removes the group of a trial whose Tune actor was killed, and which Tune is about to start again."""
        signature = trial.config["signature"]
        if signature not in self.placed:
            self.lost.add(signature)
        self._over(signature)

    @override
    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Tells that the Tune actor has failed too often to be started again; a failed recipe has a result instead."""
        signature = trial.config["signature"]
        self._over(signature)
        reason = str(trial.get_error() or "unknown").strip().splitlines()[-1]
        self.listener.paused(self.trials[signature], f"its steering process failed: {reason}")

    def _over(self, signature: str) -> None:
        self.starting.pop(signature, None)
        if group := self.placed.pop(signature, None):
            _release(group)

    def _release_untold(self) -> None:
        """Remove the placement groups of this job's workers that no running trial has told of.

        One of them is that of a trial whose controller was killed while its workers were started, with the Tune actor
        or alone. A cluster without a dashboard cannot say whose a group is; there it stays until the job ends.
        """
        context = ray.get_runtime_context()
        worker = {name: amount for name, amount in self.resources.per_worker().items() if amount}
        ours: list[Any] = []
        with contextlib.suppress(RayStateApiException):
            ours = list_placement_groups(
                address=context.gcs_address,  # by default whatever cluster is found on this machine
                filters=[("creator_job_id", "=", context.get_job_id()), ("state", "!=", "REMOVED")],
                limit=10_000,
                timeout=10,
            )
        untold = {group.placement_group_id for group in ours} - set(self.placed.values())
        for group, found in placement_group_table().items():
            # Tune's own groups, in which its actors are, ask for other things than a worker does.
            if group in untold and all(bundle == worker for bundle in found["bundles"].values()):
                _release(group)

    def _stopped(self, signature: str) -> Result:
        history = self.ledger.history(signature)
        last = history.reports[-1] if history.reports else {"step": 0}
        metrics = {name: value for name, value in last.items() if name != "time"}
        return Result(
            "stopped",
            metrics,
            reason=f"worse than others of its row at step {last['step']:g}",
            seconds=history.seconds,
            gpu_hours=history.gpu_hours,
            attempts=len(history.attempts),
        )

    def _lacking(self) -> str:
        free = ray.available_resources()
        total = ray.cluster_resources()
        names = [name for name, amount in self.resources.per_worker().items() if amount]
        there = ", ".join(f"{free.get(name, 0):g} of {total.get(name, 0):g} {name}" for name in names)
        held = self._held({name: total.get(name, 0) - free.get(name, 0) for name in names})
        return f"{self.resources}; free now: {there or 'nothing that it needs'}{held}"

    def _held(self, taken: Mapping[str, float]) -> str:
        """Words on the resources that the study's own preparations hold of all that is taken; empty if none.

        Trials are in placement groups. What is taken outside of them is taken by tasks, of which the preparations are
        ours: some of them may still wait, so that they hold no more than all tasks do.
        """
        grouped: Counter[str] = Counter()
        for group in placement_group_table().values():
            if group["state"] == "CREATED":
                for bundle in group["bundles"].values():
                    grouped.update(bundle)
        wanted = self.preparing()
        held = {name: min(wanted.get(name, 0), amount - grouped[name]) for name, amount in taken.items()}
        told = " and ".join(f"{amount:g} {name}" for name, amount in held.items() if amount > 0)
        return f"; the study's own preparations hold {told}" if told else ""


def _release(placement_group: str) -> None:
    """Remove a placement group, which ends the workers in it: it outlives the process that made it."""
    remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(placement_group))))
