"""`TorchTrainer` as a light part of a Tune trial.

As it is, a trainer starts four processes beside its workers: a controller, a cleaner of its placement group, a
manager of Ray datasets and, for reports to reach Tune, a queue; nine seconds of a core. Inside a Tune trial there is
a process that only waits, so the controller runs there and reports reach Tune by a call. What is overridden here is
Ray's own code, of the one version that this project allows.
"""

import asyncio
from typing import Any

import ray.tune
from ray.train import UserCallback
from ray.train._internal.session import get_session
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.callback import WorkerGroupCallback
from ray.train.v2._internal.execution.controller import TrainController


class TrialTrainer(TorchTrainer):
    """A `TorchTrainer` whose controller runs in this process, which is a Tune trial's."""

    def _create_default_callbacks(self) -> list[Any]:
        unneeded = PlacementGroupCleanerCallback, DatasetsCallback
        kept = [callback for callback in super()._create_default_callbacks() if not isinstance(callback, unneeded)]
        return [*kept, _Tune()]

    def _initialize_and_run_controller(self, **parts: Any) -> Any:
        controller = TrainController(**parts)
        try:
            asyncio.run(controller.run())
            return controller.get_result()
        finally:
            # When Tune stops the trial, this is all that ends its workers.
            if controller.get_worker_group() is not None:
                controller._shutdown_worker_group()


class ReportToTune(UserCallback):
    """Hands what rank 0 reports to the Tune trial, in whose thread it is called."""

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """See `UserCallback`. In a trial that Tune has stopped it does not return."""
        ray.tune.report(dict(metrics[0]))


class _Tune(WorkerGroupCallback):
    """Ends the workers of a trial that Tune has stopped, and tells Tune of their placement group."""

    def after_worker_group_start(self, worker_group: Any) -> None:
        group = worker_group.get_worker_group_state().placement_group_handle.placement_group
        ray.tune.report({"placement_group": group.id.hex()})

    def after_worker_group_poll_status(self, worker_group_status: Any) -> None:
        session = get_session()
        if session is not None and session.stop_event.is_set():
            raise SystemExit
