"""Ray: preparations as tasks, trials scheduled by Tune, each a Ray Train `TorchTrainer`.

What is imported where decides what a trial costs: recipes are read from the ledger, by the workers that train, so
that only these load the recipe's module and transformers with it; the Tune actors do not.
"""

import contextlib
import logging
import os
import shlex
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
import ray.train
import ray.tune
from ray.exceptions import RayError

from orchestrator import provenance
from orchestrator.cluster import head, worker_environment
from orchestrator.cluster.callback import StudyCallback
from orchestrator.cluster.preparations import Preparing
from orchestrator.cluster.queue import Queue
from orchestrator.cluster.scheduler import RowsApart
from orchestrator.cluster.trial import StudyContext, run_trial
from orchestrator.redaction import first_line
from orchestrator.study.estimates import Estimates
from orchestrator.study.events import Listener
from orchestrator.study.failures import StudyFailed
from orchestrator.study.interrupts import INTERRUPTED
from orchestrator.study.lease import Lease
from orchestrator.study.ledger import Ledger
from orchestrator.study.sweep import Resources, Sweep, Trial, load

HEAD = "node:__internal_head__"


def join(address: str | None) -> None:
    """Join the cluster at `address`, or this job's; start one on this machine where there is none.

    Raises ValueError when there is no cluster at `address`, or when this process cannot be part of it.
    """
    where = head.find(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # A job's own environment may name the same variables: Ray refuses that, though the values are the same.
    os.environ.setdefault("RAY_OVERRIDE_JOB_RUNTIME_ENV", "1")
    # Tune writes and prints nothing of its own: the ledger and the listeners do.
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    # By default Tune takes an interrupt for the end of the study, as if what is missing had been run.
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    # Ray puts the program into a line for a shell without quotes, and its folder may have a space.
    python = {} if where else {"py_executable": shlex.quote(sys.executable)}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            # Never a cluster that happens to run on this machine: somebody else's work is on it.
            address=where or "local",
            runtime_env={"env_vars": worker_environment.variables(own=where is None), **python},
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except ConnectionError as error:
        raise ValueError(f"A Ray cluster must run at {where}, but none does: {first_line(error)}") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray's own handler prints a stack and ends the process at once
    # The listeners tell of a failure in one line; Tune would print every process's stack.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)


def leave() -> None:
    """End this process now if its cluster has ended already, as by a signal to a whole group of processes.

    Ray would try to reach it for a minute, and then end the process in its own way.
    """
    if not ray.is_initialized():
        return
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)


def concurrency(resources: Resources, nodes: Sequence[Mapping[str, float]]) -> int:
    """How many trials nodes with these resources can hold at once.

    Raises ValueError, naming the resource, when they cannot hold one.
    """
    needed = {name: amount for name, amount in resources.per_worker().items() if amount}
    if not needed:
        return 1
    for name, amount in needed.items():
        wanted, there = amount * resources.workers, sum(node.get(name, 0) for node in nodes)
        if there < wanted:
            raise ValueError(f"The cluster must have at least {wanted:g} {name} for one trial, but has {there:g}.")
    # A worker does not span nodes, though a trial may.
    workers = sum(min(int(node.get(name, 0) / amount + 1e-6) for name, amount in needed.items()) for node in nodes)
    if workers < resources.workers:
        raise ValueError(f"The cluster must have room for {resources}, but no such nodes.")
    return workers // resources.workers


def nodes() -> list[Mapping[str, float]]:
    """The resources of each node of the cluster that is alive now."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


@dataclass(frozen=True)
class RayRunner:
    """Runs everything on a Ray cluster."""

    resources: Resources
    retries: int
    asha: bool
    steering: str
    """Ray resource of the nodes for the processes that only steer."""

    @classmethod
    def at(cls, address: str | None, resources: Resources, *, retries: int, asha: bool, pin: str | None) -> "RayRunner":
        """Join the cluster at `address`, or this job's; start one on this machine where there is none.

        Raises ValueError when there is no cluster at `address`, or when it cannot hold one trial.
        """
        join(address)
        concurrency(resources, nodes())
        if pin is not None and not any(pin in node for node in nodes()):
            raise ValueError(f"`pin` must be a resource of some node, but no node has {pin!r}.")
        return cls(resources, retries, asha, pin or HEAD)

    def slots(self) -> int:
        """Trials at once."""
        return concurrency(self.resources, nodes())

    def probe(self, trial: Trial) -> Mapping[str, float]:
        """Seconds of a training step and parameters, as the recipe measures them on a worker's share of the cluster."""
        options = {"num_cpus": self.resources.cpus, "num_gpus": self.resources.gpus}
        try:
            return ray.get(_probe.options(**options).remote(trial.describe()))
        except RayError as error:
            raise StudyFailed(f"{trial.label} could not be tried out: {_cause(error)}") from error

    def run(self, sweep: Sweep, trials: Sequence[Trial], ledger: Ledger, lease: Lease, listener: Listener) -> None:
        """Run `trials` on the cluster, needs before what starts from them; their results are in the ledger."""
        for trial in trials:
            ledger.begin(trial)
        results = ledger.results([trial.signature for trial in sweep.everything])
        ordered = Estimates.of(sweep.axes[0], sweep.everything, results).longest_first(trials)
        preparing = Preparing(sweep, ordered, gpus=self.resources.gpus)
        callback = StudyCallback(
            {trial.signature: trial for trial in trials}, ledger, listener, self.resources, preparing.taking
        )
        queue = Queue(
            ordered,
            preparing,
            ledger,
            listener,
            slots=self.slots,
            workers=self.resources.workers,
            most_workers=self.resources.most_workers or 1,
            paused=callback.paused,
        )
        with _scratch() as scratch:
            study = StudyContext(ledger, lease, self.resources, self.retries, provenance.commit())
            ray.tune.Tuner(
                ray.tune.with_resources(
                    # Tune copies each trial's config several times; the queue's has a signature and a number.
                    ray.tune.with_parameters(run_trial, study=study),
                    # The Tune actor waits for its workers: with a CPU of its own it could starve them.
                    {"CPU": 0, self.steering: 0.001},
                ),
                tune_config=ray.tune.TuneConfig(
                    num_samples=len(trials),
                    search_alg=queue,
                    scheduler=RowsApart(callback.trials, sweep.needed, sweep.axes[0], sweep.metric)
                    if self.asha and sweep.metric
                    else None,
                    trial_dirname_creator=lambda trial: trial.config["signature"],
                    reuse_actors=True,
                ),
                run_config=ray.tune.RunConfig(
                    name="tune",
                    # Tune's own state, on which nothing rests.
                    storage_path=scratch,
                    verbose=0,
                    failure_config=ray.tune.FailureConfig(max_failures=LOST_ACTORS),
                    callbacks=[callback],
                ),
            ).fit()
        ledger.storage.delete("ray")


LOST_ACTORS = 10
"""Steering processes that may be killed, per trial."""


@contextlib.contextmanager
def _scratch() -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="l2s-tune-")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@ray.remote(max_retries=0)
def _probe(description: dict[str, Any]) -> Mapping[str, float]:
    return load(description).probe()


def _cause(error: RayError) -> str:
    return str(getattr(error, "cause", None) or error).strip().splitlines()[-1]
