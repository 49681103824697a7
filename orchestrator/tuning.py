"""Ray: preparations as tasks, trials scheduled by Tune, each a Ray Train `TorchTrainer`.

What is imported where decides what a trial costs: recipes travel as JSON, so that only the workers that train
load the recipe's module and transformers with it; the Tune actors do not.
"""

import logging
import os
import re
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.tune
from ray.exceptions import RayTaskError
from ray.train.torch import TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback

from orchestrator.events import Listener, StudyFailed
from orchestrator.ledger import Ledger
from orchestrator.sweep import Preparation, Resources, Trial, load, type_name

WORKER_ENVIRONMENT = {
    # Train notices that a worker is done at its next health check, of which there is one in two seconds.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}
PASSED_ON = ("L2S_CACHE", "HF_HUB_OFFLINE", "HF_HOME")


def join(address: str | None) -> None:
    """Join the cluster at `address`, or this job's; start one on this machine where there is none.

    Raises ValueError when there is no cluster at `address`.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Tune writes and prints nothing of its own: the ledger and the listeners do.
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    # By default Tune takes an interrupt for the end of the study, as if what is missing had been run.
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    variables = WORKER_ENVIRONMENT | {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    if address and (match := re.fullmatch(r"(?:ray://)?([^:/]+):(\d+)", address)):
        try:
            socket.create_connection((match[1], int(match[2])), timeout=5).close()
        except OSError as error:  # Ray itself would try for minutes
            raise ValueError(f"A Ray cluster must run at {address}, but none does: {error}") from error
    own = address is None and "RAY_ADDRESS" not in os.environ
    try:
        ray.init(
            # Never a cluster that happens to run on this machine: somebody else's work is on it.
            address="local" if own else address,
            runtime_env={"env_vars": variables},
            log_to_driver=False,
            logging_level=logging.ERROR,
            include_dashboard=False if own else None,
        )
    except ConnectionError as error:
        raise ValueError(f"A Ray cluster must run at {address}, but none does: {error}") from error
    # The listeners tell of a failure in one line; Tune would print every process's stack.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)


def concurrency(resources: Resources, cluster: Mapping[str, float]) -> int:
    """How many trials the cluster can hold at once.

    Raises ValueError, naming the resource, when it cannot hold one.
    """
    most = []
    for name, amount in resources.per_worker().items():
        if not amount:
            continue
        needed, there = amount * resources.workers, cluster.get(name, 0)
        if there < needed:
            raise ValueError(f"The cluster must have at least {needed:g} {name} for one trial, but has {there:g}.")
        most.append(int(there / needed + 1e-6))
    return min(most, default=1)


class RayRunner:
    """Runs everything on a Ray cluster."""

    def __init__(self, address: str | None, resources: Resources) -> None:
        """Join the cluster at `address`, or this job's; start one on this machine where there is none.

        Raises ValueError when there is no cluster at `address`, or when it cannot hold one trial.
        """
        self.resources = resources
        join(address)
        concurrency(resources, ray.cluster_resources())

    def prepare(self, chains: Sequence[Sequence[Preparation]], told: Callable[[str], None]) -> None:
        """Build every chain as Ray tasks, chains side by side.

        Raises StudyFailed with the reason when one cannot be built.
        """
        tasks: dict[Any, Preparation] = {}
        for chain in chains:
            before: Any = None
            for preparation in chain:
                before = _prepare.remote(type_name(preparation), preparation.model_dump_json(), before)
                tasks[before] = preparation
        waiting = list(tasks)
        while waiting:
            done, waiting = ray.wait(waiting)
            try:
                told(f"{tasks[done[0]]}: {ray.get(done[0])}")
            except RayTaskError as error:
                raise StudyFailed(f"{tasks[done[0]]} could not be prepared: {error.cause}") from error

    def run(self, trials: Sequence[Trial], ledger: Ledger, listener: Listener) -> int:
        """Run `trials` on the cluster; returns how many failed for good."""
        by_signature = {trial.signature: trial for trial in trials}
        for trial in trials:
            ledger.begin(trial)
        tuner = ray.tune.Tuner(
            # The Tune actor only waits for its trainer: with a CPU of its own it could starve its workers.
            ray.tune.with_resources(_trial, {"CPU": 0, "node:__internal_head__": 0.001}),
            param_space={
                "signature": ray.tune.grid_search(list(by_signature)),
                "recipes": {trial.signature: trial.describe() for trial in trials},
                "resources": self.resources,
                "ledger": ledger,
            },
            tune_config=ray.tune.TuneConfig(
                max_concurrent_trials=concurrency(self.resources, ray.cluster_resources()),
                trial_dirname_creator=lambda trial: trial.config["signature"],
                reuse_actors=True,
            ),
            run_config=ray.tune.RunConfig(
                name="tune",
                storage_path=str(ledger.folder),
                verbose=0,
                callbacks=[_Hearing(by_signature, ledger, listener)],
            ),
        )
        tuner.fit()
        return sum(ledger.result(signature) is None for signature in by_signature)


@ray.remote(num_cpus=1)
def _prepare(type_name: str, fields: str, before: str | None) -> str:
    """`before` is the result of what must be built first: Ray waits for it."""
    import importlib

    module, name = type_name.split(":")
    preparation = getattr(importlib.import_module(module), name).model_validate_json(fields)
    preparation.build()
    return preparation.summary()


def _trial(config: dict[str, Any]) -> None:
    """One trial, in a Tune actor."""
    signature, ledger, resources = config["signature"], config["ledger"], config["resources"]
    TorchTrainer(
        _train,
        train_loop_config={"signature": signature, "recipe": config["recipes"][signature], "ledger": ledger},
        scaling_config=ray.train.ScalingConfig(
            num_workers=resources.workers,
            use_gpu=resources.gpus > 0,
            resources_per_worker=resources.per_worker(),
        ),
        run_config=ray.train.RunConfig(
            # The name decides which folder an interrupted trial resumes from.
            name=signature,
            storage_path=str(ledger.trials),
            failure_config=ray.train.FailureConfig(max_failures=2),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
            callbacks=[TuneReportCallback()],
        ),
    ).fit()


def _train(config: dict[str, Any]) -> None:
    """The recipe, in each Ray Train worker; the first writes the result, which is what finishes the trial."""
    begun = time.monotonic()
    result = load(config["recipe"]).run(RayRun())
    if ray.train.get_context().get_world_rank() == 0:
        config["ledger"].finish(config["signature"], {"metrics": result, "seconds": time.monotonic() - begun})


class RayRun:
    """A recipe's run, where a Ray Train worker runs it."""

    def report(self, metrics: Mapping[str, float], *, step: int, checkpoint: Path | None = None) -> None:
        """Report to Train, which copies the checkpoint to the study's storage."""
        committed = ray.train.Checkpoint.from_directory(checkpoint) if checkpoint else None
        ray.train.report({"reported": {**metrics, "step": step}}, checkpoint=committed)

    def resume(self) -> Path | None:
        """The last committed checkpoint, fetched to this node."""
        checkpoint = ray.train.get_checkpoint()
        return Path(checkpoint.to_directory()) if checkpoint else None


class _Hearing(ray.tune.Callback):
    """Tells the listener what Tune's loop sees."""

    def __init__(self, trials: Mapping[str, Trial], ledger: Ledger, listener: Listener) -> None:
        self.trials, self.ledger, self.listener = trials, ledger, listener

    def __reduce__(self) -> tuple[Any, ...]:
        # Tune pickles its callbacks to restore an experiment, which is never done here.
        return ray.tune.Callback, ()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self.listener.started(self.trials[trial.config["signature"]])

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        metrics = result.get("reported")
        if metrics:
            self.listener.reported(self.trials[trial.config["signature"]], metrics)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        signature = trial.config["signature"]
        result = self.ledger.result(signature)
        assert result is not None, "a trial that Tune calls complete has written its result"
        self.listener.finished(self.trials[signature], result)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        reason = str(trial.get_error() or "unknown").strip().splitlines()[-1]
        self.listener.failed(self.trials[trial.config["signature"]], reason)
