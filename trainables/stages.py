"""The stages of a trial, what is kept of each, and the checkpoints that it resumes from.

Most trials have one stage, some train one thing after the other: a front-end, then the whole student; a student, then
its fine-tuning. All stages are named at once, in their order, and each is trained by one call of `fit`:

    stages = Stages(run, {"front-end": self.front_end, "distillation": self.optimisation})
    fit(first, stages=stages, stage="front-end", ...)
    fit(second, stages=stages, stage="distillation", ...)

Steps go on counting. If the front-end takes 5 000, the first report of the distillation comes after step 5 000, its
draws are those of (seed, 5 000) and later, and its checkpoints sort after all of the front-end's. A resumed trial goes
through the same calls. A checkpoint says of which stage it is, and brings what each finished stage left behind, so that
`fit` skips those, leaving their tasks as they were, and goes on in the middle of the one that was broken off.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from trainables.config import Config
from trainables.optimisation import Average, Optimisation
from trainables.run import Run
from trainables.task import Task


class Best(Config):
    """Keep the student that is best in one of the values that are reported at each evaluation."""

    kind: Literal["best"] = "best"
    value: str
    """Name of the value, such as `valid/cer`."""
    better: Literal["smaller", "larger"] = "smaller"

    def prefers(self, new: Mapping[str, float], kept: Mapping[str, float]) -> bool:
        """Whether the student with the `new` values is to be kept, rather than the one with the values `kept`.

        Raises ValueError when there is no such value.
        """
        if self.value not in new:
            raise ValueError(
                f"`selection.value` must be one of {', '.join(sorted(new))}, but is {self.value!r} instead."
            )
        if not kept or math.isnan(kept[self.value]):
            return True
        difference = new[self.value] - kept[self.value]
        return difference < 0 if self.better == "smaller" else difference > 0


class Last(Config):
    """Keep the student as it is after the last step."""

    kind: Literal["last"] = "last"

    def prefers(self, new: Mapping[str, float], kept: Mapping[str, float]) -> bool:
        """The newer one, always."""
        return True


Selection = Annotated[Best | Last, Field(discriminator="kind")]


@dataclass
class Progress:
    """Where a stage stands: all that is not in its task, its optimiser or its average."""

    step: int
    """Steps of the trial that are done, those of earlier stages counted."""
    values: dict[str, float] = field(default_factory=dict)
    """The values that were reported when the kept student was evaluated."""
    best_step: int = 0
    """Steps of the trial that the kept student has seen."""
    best_student: dict[str, Tensor] = field(default_factory=dict)
    """The weights and buffers of the kept student that training has changed, in main memory."""

    def keep(self, task: Task, values: Mapping[str, float]) -> None:
        """Keep the student as it is, with these values."""
        self.values, self.best_step = dict(values), self.step
        self.best_student = _copied(task.learned_by_student())


class Stages:
    """The stages of one trial on its run, which `fit` goes through in this order."""

    def __init__(self, run: Run, optimisations: Mapping[str, Optimisation]) -> None:
        """Reads the last checkpoint, if there is one. To be made before anything is reported.

        Raises ValueError when the checkpoint's stages are not these.
        """
        self.run, self.optimisations = run, optimisations
        ends = accumulate(optimisation.steps for optimisation in optimisations.values())
        begins = (end - o.steps for end, o in zip(ends, optimisations.values(), strict=True))
        self.begins = dict(zip(optimisations, begins, strict=True))
        self.waiting, self.current = list(optimisations), ""
        folder = run.resume()
        self.saved = None if folder is None else self._read(folder)
        self.finished: dict[str, dict[str, Any]] = self.saved["finished"] if self.saved else {}
        """The last state of each finished stage, by its name."""

    def begin(self, stage: str) -> tuple[range, Optimisation]:
        """The steps of the stage that is trained from now on, counted over all stages, and its optimisation.

        Raises ValueError when it is not its turn: its steps would be counted twice.
        """
        if stage not in self.waiting[:1]:
            turn = repr(self.waiting[0]) if self.waiting else "none"
            raise ValueError(
                f"The next stage of {', '.join(self.optimisations)} must be {turn}, but is {stage!r} instead: "
                "its steps would overlap with another's."
            )
        self.current = self.waiting.pop(0)
        begin, optimisation = self.begins[stage], self.optimisations[stage]
        return range(begin, begin + optimisation.steps), optimisation

    def resume(
        self, task: Task, optimiser: torch.optim.Optimizer, average: Average | None, selection: Selection
    ) -> Progress:
        """Put the task, the optimiser and the average where the current stage was broken off, and say where that is."""
        if (left := self.finished.get(self.current)) is not None:
            task.restore(left["task"])
            end = self.begins[self.current] + self.optimisations[self.current].steps
            return Progress(end, left["values"], left["best_step"], _copied(task.learned_by_student()))
        if (saved := self.saved) is None:
            return Progress(self.begins[self.current])
        self.saved = None  # its memory is needed
        task.restore(saved["task"])
        optimiser.load_state_dict(saved["optimiser"])
        if average is not None:
            average.restore(saved["average"])
        if (values := saved.get("values")) is None:
            assert isinstance(selection, Best)  # before there were stages there was nothing else
            values = {selection.value: saved["best"]}
        return Progress(saved["step"], values, saved["best_step"], saved["best_student"])

    def commit(
        self,
        metrics: Mapping[str, float],
        progress: Progress,
        task: Task,
        optimiser: torch.optim.Optimizer,
        average: Average | None,
        *,
        rank: int,
    ) -> None:
        """Report `metrics`, with a checkpoint from the first worker."""
        if rank != 0:
            self.run.report(metrics, step=progress.step)
            return
        state = {
            "stage": self.current, "begin": self.begins[self.current], "finished": self.finished,
            "task": task.learned(), "optimiser": optimiser.state_dict(), "average": average.values if average else {},
            **vars(progress),
        }  # fmt: skip
        with TemporaryDirectory(prefix="checkpoint-", ignore_cleanup_errors=True) as folder:
            torch.save(state, Path(folder, "state.pt"))
            self.run.report(metrics, step=progress.step, checkpoint=Path(folder))

    def end(self, task: Task, progress: Progress) -> None:
        """The current stage is over, with its kept student in `task`: later checkpoints have to bring that along."""
        if self.waiting:
            self.finished[self.current] = {
                "begin": self.begins[self.current], "task": _copied(task.learned()),
                "values": progress.values, "best_step": progress.best_step,
            }  # fmt: skip

    def _read(self, folder: Path) -> dict[str, Any]:
        """A checkpoint whose stages begin where these do; of those from before there were stages, the first's."""
        state = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
        state = {"stage": self.waiting[0], "begin": 0, "finished": {}, **state}
        begins = {name: left["begin"] for name, left in state["finished"].items()} | {state["stage"]: state["begin"]}
        for name, begin in begins.items():
            if name not in self.begins:
                names = ", ".join(self.begins)
                raise ValueError(f"A checkpoint must be of one of the stages {names}, but is of {name!r} instead.")
            if begin != self.begins[name]:
                raise ValueError(
                    f"Stage {name!r} must begin after step {self.begins[name]}, where those before it end, but its "
                    f"checkpoint begins it after step {begin} instead: steps would overlap or be missing."
                )
        return state


def _copied(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.detach().to("cpu", copy=True) for name, weight in weights.items()}
