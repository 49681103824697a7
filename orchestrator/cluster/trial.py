"""One trial, in its Tune actor and in its Ray Train workers, and what becomes of its failures.

The way of one metric from a worker to MLflow, through five processes:

    first worker          StoredRun.report ──▶ history.json on the study's storage ─────────────────┐
                             │ _tell: ray.train.report                                              │
    Train's controller    Reports.after_report, once all workers have reported                      │
                             │ Reports.put                                                          │
    the queue's actor        │                                                                      │
                             │ Reports.get                                                          │
    Tune actor            _fit: ray.tune.report                                                     │
                             │                                                                      │
    driver                Tune's loop ──▶ RowsApart.on_trial_result, which may stop the trial       │
                             └──▶ StudyCallback.on_trial_result ──▶ Listeners ──▶ the terminal      │
                                                                       │                            │
                                                                    Tracker.reported: a task        │
                                                                       └──▶ thread "mlflow" ◀───────┘
                                                                               └──▶ MLflow

The terminal and the scheduler get what came through all processes, and miss what was under way in one that was
killed. MLflow misses nothing: whatever wakes its thread, it reads the history and sends all that MLflow lacks.
"""

import contextlib
import errno
import functools
import socket
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import ray
import ray.train
import ray.tune
from ray.exceptions import RayError
from ray.util import get_current_placement_group
from ray.util.queue import Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from typing_extensions import override

from orchestrator import provenance
from orchestrator.redaction import first_line, public
from orchestrator.study.lease import Lease, Superseded
from orchestrator.study.ledger import Ledger, Result
from orchestrator.study.stored_run import StoredRun, attempt
from orchestrator.study.sweep import Resources, load

if TYPE_CHECKING:
    from ray.train.torch import TorchTrainer

LOST_IN_A_ROW = 8
"""Groups of workers that a trial may lose before it has a new checkpoint: a recipe may be what kills them."""


@dataclass(frozen=True)
class StudyContext:
    """The settings that all trials of a study share. Ray hands them to the Tune actors once, beside the configs."""

    ledger: Ledger
    lease: Lease
    resources: Resources
    retries: int
    """How often a trial whose recipe raised an error is tried again."""
    commit: str
    """The commit of the code, which a worker's copy of it may not know."""


@dataclass
class Budget:
    """How many failures a trial may still have before it is given up.

    An error of the recipe counts against `errors`, a lost worker against `LOST_IN_A_ROW`. A full storage or another
    submitter are no fault of the trial, which waits for a person. An error whose class has an attribute `repeatable`
    that is false ends the trial at once: so a recipe, whose classes nobody here knows, says that the same steps would
    only raise it again, as when a loss is no longer a number.
    """

    errors: int
    """Errors of the recipe after which it is tried again."""
    lost: int = 0
    """Groups of workers lost since the last checkpoint."""
    checkpoint: str = ""
    """Name of the last checkpoint at the last loss."""

    def after_failure(self, error: BaseException, ledger: Ledger, signature: str) -> str:
        """A sentence on the attempt that failed and is followed by another.

        Raises Pause when the trial must wait for a person, GivenUp when it must not be tried again.
        """
        causes = _losses(error)
        raised = [cause for cause in causes.values() if not _of_ray(cause)]
        if any(isinstance(cause, Superseded) for cause in raised):
            raise Pause("another submitter has taken the study over")
        if pause := next((cause for cause in raised if isinstance(cause, Pause)), None):
            raise Pause(str(pause))
        if full := next((cause for cause in raised if _full(cause)), None):
            raise Pause(f"the storage is full ({first_line(full)})")
        if last := next((cause for cause in raised if not getattr(cause, "repeatable", True)), None):
            raise GivenUp(_reason(last))
        # When a worker is lost, those that wait for it raise errors too.
        if len(raised) == len(causes):
            reason = _reason(raised[0])
            self.errors -= 1
            if self.errors < 0:
                raise GivenUp(reason)
            return f"tried again after {reason}"
        newest = (ledger.checkpoints(signature).steps() or [""])[-1]
        self.lost, self.checkpoint = (self.lost + 1 if newest == self.checkpoint else 1), newest
        if self.lost > LOST_IN_A_ROW:
            raise GivenUp(f"its workers were lost {self.lost} times since its last checkpoint (out of memory?)")
        return "goes on after a worker was lost"


class Pause(Exception):
    """The trial cannot go on now, through no fault of its own; the next submission resumes it."""


class GivenUp(Exception):
    """The trial has failed for good."""


def run_trial(config: dict[str, Any], study: StudyContext) -> None:
    """Run a trial in its Tune actor: attempts, until it has a result or must pause.

    `config` has the trial's `signature`, and the `most_workers` that it may have now.
    """
    signature, ledger, budget = config["signature"], study.ledger, Budget(study.retries)
    number = 0
    try:
        require_visible(ledger)
        while (found := ledger.result(signature)) is None or found.status != "finished":
            number += 1
            reports = Reports(f"{signature}-{len(ledger.history(signature).attempts)}-{number}", _queue())
            try:
                _fit(_trainer(config, study, reports), reports)
            except (ray.train.TrainingFailedError, RayError, OSError) as error:
                ray.tune.report({"noted": budget.after_failure(error, ledger, signature)})
            else:
                return
    except Pause as pause:
        ray.tune.report({"paused": str(pause)})
    except GivenUp as error:
        history = ledger.history(signature)
        cause = error.__context__
        text = "".join(traceback.format_exception(cause)) if cause else ""
        ledger.trial(signature).write("error.txt", public(text))
        failed = Result(
            "failed",
            reason=str(error),
            seconds=history.seconds,
            gpu_hours=history.gpu_hours,
            attempts=len(history.attempts),
        )
        ledger.finish(signature, failed)


def require_visible(ledger: Ledger) -> None:
    """Raises Pause where this node does not see the study, before anything is written where nobody will find it."""
    study, host = ledger.storage, socket.gethostname()
    if study.read("study.json") is None:
        raise Pause(f"The storage must be a folder that all nodes share, but {host} does not see {study}.")


@functools.cache
def _queue() -> Queue:
    """The queue of this Tune actor, for all its trials: each takes a process of its own."""
    # On this node: elsewhere, trials would depend on one more machine.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})


@dataclass(frozen=True)
class Reports(ray.train.UserCallback):
    """Carries the first worker's reports through a queue, from Ray Train's controller to the Tune actor.

    Ray Train calls `after_report` in the controller, to which it is pickled; the Tune actor calls `get`. The errors
    that recipes raise take the same way, from the worker: Ray 2.54 hands them over within one of its own classes,
    from which they cannot be taken by public means.
    """

    attempt: str
    queue: Queue

    @override
    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        self.put(dict(metrics[0]))

    def put(self, report: dict[str, Any] | None) -> None:
        """Put a report into the queue, or a worker's rank and error as `raised`, or None for the attempt's end."""
        self.queue.put((self.attempt, report))

    def get(self) -> dict[str, Any] | None:
        """Wait for what comes next; what is left of an attempt that Tune has stopped is passed over."""
        while (found := self.queue.get())[0] != self.attempt:
            pass
        return found[1]


def _fit(trainer: "TorchTrainer", reports: Reports) -> None:
    """Train, and tell Tune what comes through `reports`; raises what `fit` raises.

    Tune stops a trial by raising SystemExit in its function where that reports. Then this function ends, and the
    thread as soon as the driver has ended the workers.

    Ray's own `TuneReportCallback` would do without this queue and this thread, but it has a slot for one report: the
    thread of the actor that empties the slot, for Tune, is also the one that fills it with the controller's reports.
    Where this function reports too, or ends with a report under way, that thread waits for itself for ever.
    """
    errors: list[BaseException] = []
    raised: dict[int, Exception] = {}

    def fit() -> None:
        try:
            trainer.fit()
        except BaseException as error:
            errors.append(error)
        finally:
            with contextlib.suppress(RayError):  # who waits for it has found the queue lost as well
                reports.put(None)

    fitting = threading.Thread(target=fit, daemon=True)
    fitting.start()
    try:
        while (report := reports.get()) is not None:
            if "raised" in report:
                raised.update([report["raised"]])
            else:
                ray.tune.report(report)
    except RayError:  # the queue is lost, so that training fails at its next report
        fitting.join()
        _queue.cache_clear()
        raise
    for error in errors:
        if isinstance(error, ray.train.WorkerGroupError):
            error.worker_failures.update((rank, raised[rank]) for rank in error.worker_failures.keys() & raised.keys())
        raise error


def _trainer(config: dict[str, Any], study: StudyContext, reports: Reports) -> "TorchTrainer":
    # It imports PyTorch, which the driver, where this module is imported too, need not wait for.
    from ray.train.torch import TorchTrainer

    resources, ledger = study.resources, study.ledger
    return TorchTrainer(
        _train,
        train_loop_config={"signature": config["signature"], "study": study, "reports": reports},
        scaling_config=ray.train.ScalingConfig(
            # Ray's own elastic scaling takes what other trials were promised; here it is decided at each attempt.
            num_workers=resources.fitting(ray.available_resources(), config["most_workers"]),
            use_gpu=resources.gpus > 0,
            resources_per_worker=resources.per_worker(),
        ),
        run_config=ray.train.RunConfig(
            # Train keeps nothing there that is used again: checkpoints and results are the ledger's.
            name=reports.attempt,
            storage_path=(ledger.storage / "ray").path,
            storage_filesystem=ledger.storage.filesystem,
            failure_config=_no_repetition(),
            callbacks=[reports],
        ),
    )


def _no_repetition() -> ray.train.FailureConfig:
    """Ray's own limits of repetition, all 0: each attempt is made here, with as many workers as fit by then.

    Their number grows from release to release; that of preemptions, where there is one, has no bound by default.
    """
    limits: dict[str, Any] = {each.name: 0 for each in fields(ray.train.FailureConfig) if each.name.startswith("max_")}
    return ray.train.FailureConfig(**limits)


def _train(config: dict[str, Any]) -> None:
    """Run the recipe, in each Ray Train worker."""
    try:
        _run(config)
    except Exception as error:
        with contextlib.suppress(Exception):  # the queue is lost, or it cannot be pickled: it is as Ray tells it
            config["reports"].put({"raised": (ray.train.get_context().get_world_rank(), error)})
        raise


def _run(config: dict[str, Any]) -> None:
    """Run the recipe; the first worker writes the result, which is what finishes the trial."""
    signature, study = config["signature"], config["study"]
    require_visible(study.ledger)
    # When the Tune actor is killed nobody but the driver removes the group, which keeps its resources.
    group = get_current_placement_group()
    ray.train.report({"placement_group": group.id.hex() if group else ""})
    context, resources = ray.train.get_context(), study.resources
    workers = context.get_world_size()
    run = StoredRun(
        study.ledger,
        signature,
        attempt=attempt(
            host=socket.gethostname(),
            hardware=_hardware(),
            workers=workers,
            gpus=workers * resources.gpus,
            commit=study.commit,
        ),
        rank=context.get_world_rank(),
        lease=study.lease,
        told=_tell,
    )
    reports = run.history.reports
    _tell({"step": reports[-1]["step"] if reports else 0})
    run.finish(load(study.ledger.description(signature)).run(run))


def _tell(metrics: Mapping[str, float]) -> None:
    ray.train.report({"reported": dict(metrics)})


def _hardware() -> str:
    prefix = "accelerator_type:"
    here = ray.get_runtime_context().get_node_id()
    for node in ray.nodes():
        if node["NodeID"] == here:
            for name in node["Resources"]:
                if name.startswith(prefix):
                    return name.removeprefix(prefix)
    return provenance.processor()


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error)}"


def _full(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _losses(error: BaseException) -> Mapping[int, BaseException]:
    """The errors that ended training, by rank; rank -1 for one that was no worker's doing."""
    if isinstance(error, ray.train.WorkerGroupError) and error.worker_failures:
        return error.worker_failures
    return {-1: getattr(error, "controller_failure", error)}


def _of_ray(error: BaseException) -> bool:
    """Whether an error is Ray's own, such as the loss of a worker: most of its classes have no public name."""
    return isinstance(error, RayError) or type(error).__module__.partition(".")[0] == "ray"
