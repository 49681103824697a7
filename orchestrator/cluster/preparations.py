"""Each distinct preparation once, as Ray tasks; a trial may start as soon as its own are done."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from orchestrator.printing import printable
from orchestrator.study.sweep import Preparation, Sweep, Trial


class Preparing:
    """The preparations of a study, all submitted at once, in the order in which trials want them."""

    def __init__(self, sweep: Sweep, trials: Sequence[Trial], *, gpus: float) -> None:
        """`gpus` is the number that a worker of a trial has: what a GPU makes faster gets as many, at most one."""
        self.tasks: dict[str, Any] = {}
        self.names: dict[str, str] = {}
        self.after: dict[str, str | None] = {}
        """The key of the preparation that must be done before."""
        self.resources: dict[str, dict[str, float]] = {}
        """The amounts that each takes while it is built, by Ray's names of resources."""
        self.of: dict[str, list[str]] = {}
        """The keys of each trial's preparations, by the trial's signature."""
        self.errors: dict[str, str] = {}
        for trial in trials:
            keys: list[str] = []
            for preparation in sweep.preparations(trial):
                key = f"{preparation.type_name()} {preparation.model_dump_json()}"
                if key not in self.tasks:
                    share = min(1.0, gpus) if preparation.accelerated else 0.0
                    before = keys[-1] if keys else None
                    task = _prepare.options(num_gpus=share)
                    self.tasks[key] = task.remote(
                        preparation.type_name(), preparation.model_dump_json(), self.tasks[before] if before else None
                    )
                    self.names[key], self.after[key] = str(preparation), before
                    self.resources[key] = {"CPU": 1.0, "GPU": share}
                keys.append(key)
            self.of[trial.signature] = keys
        self.waiting = dict(self.tasks)

    def poll(self) -> list[str]:
        """A line on each preparation that was done since the last look."""
        if not self.waiting:
            return []
        keys = {task: key for key, task in self.waiting.items()}
        done, _ = ray.wait(list(keys), num_returns=len(keys), timeout=0)
        lines = []
        for task in done:
            key = keys[task]
            del self.waiting[key]
            try:
                lines.append(f"{self.names[key]}: {ray.get(task)}")
            except RayError as error:
                # A task that got another's error in place of its argument carries that error.
                self.errors[key] = printable(str(getattr(error, "cause", None) or error).strip().splitlines()[-1])
        return lines

    def taking(self) -> Counter[str]:
        """The resources of unfinished preparations that wait for no other: they are being built, or wait for room."""
        tasks = list(self.tasks.values())
        _, unfinished = ray.wait(tasks, num_returns=len(tasks), timeout=0) if tasks else ([], [])
        keys = [key for key, task in self.tasks.items() if task in unfinished]
        taken: Counter[str] = Counter()
        for key in keys:
            if self.after[key] not in keys:
                taken.update(self.resources[key])
        return taken

    def ready(self, trial: Trial) -> bool:
        """Whether all that the trial needs is there."""
        return not any(key in self.waiting or key in self.errors for key in self.of[trial.signature])

    def error(self, trial: Trial) -> str | None:
        """Why the trial can never start, if it cannot."""
        for key in self.of[trial.signature]:
            if key in self.errors:
                return f"{self.names[key]} could not be prepared: {self.errors[key]}"
        return None


@ray.remote(num_cpus=1)
def _prepare(type_name: str, fields: str, before: str | None) -> str:
    """`before` is the result of what must be built first: Ray waits for it."""
    import importlib

    module, name = type_name.split(":")
    preparation: Preparation = getattr(importlib.import_module(module), name).model_validate(json.loads(fields))
    preparation.build()
    return preparation.summary()
