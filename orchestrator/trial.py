"""One trial, in its Tune actor and in its Ray Train workers, and what becomes of its failures."""

import errno
import socket
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray
import ray.train
import ray.tune
from ray.exceptions import RayError
from ray.train.v2._internal.exceptions import RayTrainError

from orchestrator import provenance
from orchestrator.claim import Superseded
from orchestrator.ledger import Ledger, Result
from orchestrator.redaction import first_line, public
from orchestrator.stored_run import StoredRun, attempt
from orchestrator.sweep import load

if TYPE_CHECKING:
    from orchestrator.trainer import TrialTrainer

LOST_IN_A_ROW = 8
"""Groups of workers that a trial may lose before it has a new checkpoint: a recipe may be what kills them."""


@dataclass
class Budget:
    """What a trial may go through before it is given up."""

    errors: int
    """That the recipe may raise and be tried again."""
    lost: int = 0
    """Groups of workers lost since the last checkpoint."""
    checkpoint: str = ""

    def spend(self, error: BaseException, ledger: Ledger, signature: str) -> str:
        """What to say of an attempt that failed, and is tried again.

        Raises Pause when the trial must wait for a person, GivenUp when its budget is used up.
        """
        causes = _losses(error)
        raised = [cause for cause in causes.values() if not isinstance(cause, RayError | RayTrainError)]
        if any(isinstance(cause, Superseded) for cause in raised):
            raise Pause("another submitter has taken the study over")
        if pause := next((cause for cause in raised if isinstance(cause, Pause)), None):
            raise Pause(str(pause))
        if full := next((cause for cause in raised if _full(cause)), None):
            raise Pause(f"the storage is full ({first_line(full)})")
        # When a worker is lost, those that wait for it raise errors too.
        if len(raised) == len(causes):
            first = raised[0]
            reason = f"{type(first).__name__}: {first_line(first)}"
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
    """The trial cannot go on now, through no fault of its own."""


class GivenUp(Exception):
    """The trial has failed for good."""


def run_trial(config: dict[str, Any]) -> None:
    """The trial in its Tune actor: attempts, until it has a result or must pause."""
    signature, ledger, budget = config["signature"], config["ledger"], Budget(config["budget"].errors)
    number = 0
    try:
        look(ledger)
        while (found := ledger.result(signature)) is None or found.status != "finished":
            number += 1
            try:
                _trainer(config, f"{signature}-{len(ledger.history(signature).attempts)}-{number}").fit()
            except (ray.train.TrainingFailedError, RayError, OSError) as error:
                ray.tune.report({"noted": budget.spend(error, ledger, signature)})
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


def look(ledger: Ledger) -> None:
    """Raises Pause where this node does not see the study, before anything is written where nobody will find it."""
    study, host = ledger.storage, socket.gethostname()
    if study.read("study.json") is None:
        raise Pause(f"The storage must be a folder that all nodes share, but {host} does not see {study}.")


def _trainer(config: dict[str, Any], name: str) -> "TrialTrainer":
    # It imports PyTorch, which the driver, where this module is imported too, need not wait for.
    from orchestrator.trainer import ReportToTune, TrialTrainer

    resources, ledger = config["resources"], config["ledger"]
    return TrialTrainer(
        _train,
        train_loop_config={
            "recipe": config["recipes"][config["signature"]],
            **{key: config[key] for key in ("signature", "ledger", "claim", "commit", "resources")},
        },
        scaling_config=ray.train.ScalingConfig(
            # Ray's own elastic scaling takes what other trials were promised; here it is decided at each attempt.
            num_workers=resources.fitting(ray.available_resources(), config["most_workers"]),
            use_gpu=resources.gpus > 0,
            resources_per_worker=resources.per_worker(),
        ),
        run_config=ray.train.RunConfig(
            # Train keeps nothing there that is used again: checkpoints and results are the ledger's.
            name=name,
            storage_path=(ledger.storage / "ray").path,
            storage_filesystem=ledger.storage.filesystem,
            # Each attempt is made here, with as many workers as fit by then; by default Ray repeats a preempted one.
            failure_config=ray.train.FailureConfig(max_failures=0, max_preemption_failures=0),
            callbacks=[ReportToTune()],
        ),
    )


def _train(config: dict[str, Any]) -> None:
    """The recipe, in each Ray Train worker; the first writes the result, which is what finishes the trial."""
    look(config["ledger"])
    context, resources = ray.train.get_context(), config["resources"]
    workers = context.get_world_size()
    run = StoredRun(
        config["ledger"],
        config["signature"],
        attempt=attempt(
            host=socket.gethostname(),
            hardware=_hardware(),
            workers=workers,
            gpus=workers * resources.gpus,
            commit=config["commit"],
        ),
        rank=context.get_world_rank(),
        claim=config["claim"],
        told=_tell,
    )
    reports = run.history.reports
    _tell({"step": reports[-1]["step"] if reports else 0})
    run.finish(load(config["recipe"]).run(run))


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


def _full(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _losses(error: BaseException) -> Mapping[int, BaseException]:
    """Why training failed, by rank; rank -1 for what was no worker's doing."""
    if isinstance(error, ray.train.WorkerGroupError) and error.worker_failures:
        return error.worker_failures
    return {-1: getattr(error, "controller_failure", error)}
