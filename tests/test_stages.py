"""Several stages in one trial: what each goes on from, what a checkpoint has, and which student is kept."""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.regression import FIRST, SECOND, STAGES, WIDTH, Interrupted, Regression, Student, equal, fitted
from trainables.batch import Batch
from trainables.optimisation import Average, Constant, Optimisation
from trainables.run import LocalRun
from trainables.stages import Best, Last, Stages
from trainables.task import Losses


class Run(LocalRun):
    """Dies after the report of a step, if it is told one."""

    at: int | None = None

    def report(self, metrics: Mapping[str, float], *, step: int, checkpoint: Path | None = None) -> None:
        super().report(metrics, step=step, checkpoint=checkpoint)
        if step == self.at:
            raise Interrupted


def trial(run: LocalRun, *, twice: bool = True) -> tuple[dict[str, Tensor], list[Any], list[Regression]]:
    """Two stages whose second goes on with the first's student, part of it frozen, and another projection."""
    torch.manual_seed(0)
    student = Student()
    stages = Stages(run, STAGES)
    tasks, done = [Regression(student)], []
    done.append(fitted(tasks[0], stages, "first"))
    if twice:
        torch.manual_seed(1)
        student.front[0].requires_grad_(False)
        tasks.append(Regression(student, begins=4))
        tasks[1].projection.load_state_dict(tasks[0].projection.state_dict())
        done.append(fitted(tasks[1], stages, "second", Last()))
    return tasks[-1].state_dict(), done, tasks


def state(run: LocalRun) -> dict[str, Any]:
    folder = run.resume()
    assert folder is not None
    return torch.load(folder / "state.pt", weights_only=True)


def test_steps_go_on_counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, averaged = LocalRun(tmp_path), []
    monkeypatch.setattr(Average, "update", lambda _, step: averaged.append(step))
    _, (first, second), tasks = trial(run)
    assert [report["step"] for report in run.metrics()] == [3, 6, 8, 10, 12, 14, 15]
    assert (first.step, second.step, second.best_step) == (6, 15, 15)
    assert [folder.name for folder in sorted((tmp_path / "checkpoints").iterdir())] == [
        "step-00000014",
        "step-00000015",
    ]
    rates = [report["learning_rate"] for report in run.metrics()]
    assert rates == pytest.approx([0.05 * FIRST.factor(2), 0.05 * FIRST.factor(5), *(
        0.02 * SECOND.factor(step) for step in (1, 3, 5, 7, 8)
    )])  # fmt: skip
    draws = [*tasks[0].draws, *tasks[1].draws]
    assert len({*draws}) == len(draws) == 15, "no draw of one stage comes again in another"
    assert averaged == [*range(9)], "an average warms up with its stage"


@pytest.mark.parametrize("at", [3, 6, 8, 10, 14, 15])
def test_resumed_is_undisturbed(tmp_path: Path, at: int) -> None:
    whole, parts = LocalRun(tmp_path / "whole"), Run(tmp_path / "parts")
    weights, done, _ = trial(whole)
    parts.at = at
    with pytest.raises(Interrupted):
        trial(parts)
    again, resumed, tasks = trial(LocalRun(tmp_path / "parts"))
    assert equal(weights, again)
    for one, other in zip(done, resumed, strict=True):
        assert (one.step, one.values["valid/error"], one.best_step) == (
            other.step, other.values["valid/error"], other.best_step
        )  # fmt: skip
        assert equal(one.best_student, other.best_student)
    first, second = state(whole), state(LocalRun(tmp_path / "parts"))
    assert equal(first["task"], second["task"])
    assert equal(first["average"], second["average"])
    assert equal(first["finished"]["first"]["task"], second["finished"]["first"]["task"])
    assert [len(task.draws) for task in tasks] == [max(0, 6 - at), min(9, 15 - at)], "nothing is trained twice"


def test_a_checkpoint_has_what_is_trained_and_nothing_frozen(tmp_path: Path) -> None:
    run = LocalRun(tmp_path)
    _, _, tasks = trial(run)
    found = state(run)
    student = {"front.1.weight", "front.1.bias", "front.1.running_mean", "front.1.running_var",
               "front.1.num_batches_tracked", "head.weight", "head.bias"}  # fmt: skip
    projection = {
        "0.weight",
        "0.bias",
        "0.running_mean",
        "0.running_var",
        "0.num_batches_tracked",
        "1.weight",
        "1.bias",
    }
    assert set(found["task"]) == {f"student.{name}" for name in student} | {f"projection.{name}" for name in projection}
    assert set(found["best_student"]) == set(found["average"]) == student
    assert set(found["finished"]["first"]["task"]) == {*found["task"], "student.front.0.weight", "student.front.0.bias"}
    assert tasks[1].weights().keys() == tasks[1].student.state_dict().keys(), "what is kept is whole"


def test_what_is_frozen_stays_as_it_was_built(tmp_path: Path) -> None:
    run = LocalRun(tmp_path)
    trial(run, twice=False)
    folder = run.resume()
    assert folder is not None
    saved = {**state(run)["task"], "teacher.0.weight": torch.zeros(4, WIDTH), "student.fixed.bias": torch.zeros(WIDTH)}
    task = Regression(Student())
    before = {name: value.clone() for name, value in task.state_dict().items()}
    task.restore(saved)
    for name in ("teacher.0.weight", "teacher.1.running_mean", "student.fixed.bias"):
        assert torch.equal(task.state_dict()[name], before[name])
    assert torch.equal(task.student.head.weight, saved["student.head.weight"])
    del saved["student.head.bias"]
    sentence = "The checkpoint must have all that was trained, but lacks student.head.bias."
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        task.restore(saved)


def test_a_checkpoint_from_before_there_were_stages_is_resumed(tmp_path: Path) -> None:
    """It has the whole task, and of the values only the best; its optimiser's groups have no names."""
    whole, parts = LocalRun(tmp_path / "whole"), Run(tmp_path / "parts")
    weights, (done,), _ = trial(whole, twice=False)
    parts.at = 3
    with pytest.raises(Interrupted):
        trial(parts, twice=False)
    folder = parts.resume()
    assert folder is not None
    new = state(parts)
    torch.manual_seed(0)
    built = Regression(Student())
    groups = [
        {k: v for k, v in group.items() if k not in ("name", "begins")} for group in new["optimiser"]["param_groups"]
    ]
    old = {
        "task": {**built.state_dict(), **new["task"]}, "optimiser": {**new["optimiser"], "param_groups": groups},
        "step": 3, "best": new["values"]["valid/error"], "best_step": 3,
        "best_student": {**built.student.state_dict(), **new["best_student"]},
    }  # fmt: skip
    torch.save(old, folder / "state.pt")
    again, (resumed,), tasks = trial(LocalRun(tmp_path / "parts"), twice=False)
    assert equal(weights, again)
    assert (resumed.values["valid/error"], resumed.best_step) == (done.values["valid/error"], done.best_step)
    assert len(tasks[0].draws) == 3


def refused(sentence: str) -> Any:
    return pytest.raises(ValueError, match=f"^{re.escape(sentence)}")


def test_a_stage_whose_steps_would_overlap_with_anothers_is_refused_before_training(tmp_path: Path) -> None:
    stages, task = Stages(LocalRun(tmp_path), STAGES), Regression(Student())
    with refused("The next stage of first, second must be 'first', but is 'second' instead: its steps would overlap"):
        fitted(task, stages, "second")
    fitted(task, stages, "first")
    with refused("The next stage of first, second must be 'second', but is 'first' instead: its steps would overlap"):
        fitted(task, stages, "first")
    assert len(task.draws) == 6
    fitted(task, stages, "second")
    with refused("The next stage of first, second must be none, but is 'second' instead"):
        fitted(task, stages, "second")


def test_a_checkpoint_of_other_stages_is_refused(tmp_path: Path) -> None:
    run = LocalRun(tmp_path)
    trial(run)
    longer = FIRST.model_copy(update={"steps": 8})
    with refused(
        "Stage 'second' must begin after step 8, where those before it end, "
        "but its checkpoint begins it after step 6 instead"
    ):
        Stages(run, {"first": longer, "second": SECOND})
    with refused("A checkpoint must be of one of the stages second, but is of 'first' instead."):
        Stages(run, {"second": SECOND})


def test_weights_that_begin_later_do_not_move_before_and_then_as_if_that_were_their_first_step() -> None:
    torch.manual_seed(0)
    task = Regression(Student(), begins=2)
    front, moved = task.student.front[0].weight, []
    optimisation = Optimisation(steps=4, warmup=0, learning_rate=0.01, schedule=Constant(), evaluate_every=4)

    class Looking(Regression):
        def forward(self, batch: Batch) -> Losses:
            moved.append(front.detach().clone())
            return super().forward(batch)

    task.__class__ = Looking
    fitted(task, Stages(Nothing(), {"only": optimisation}), "only", Last())
    assert torch.equal(moved[0], moved[2])
    # Adam's first step is the learning rate's size, whatever the gradient.
    assert (moved[3] - moved[2]).abs().median().item() == pytest.approx(0.01, rel=1e-3)


class Nothing(LocalRun):
    """Records nothing."""

    def __init__(self) -> None:
        self.reports: list[dict[str, float]] = []

    def report(self, metrics: Mapping[str, float], *, step: int, checkpoint: Path | None = None) -> None:
        self.reports.append(dict(metrics))

    def resume(self) -> None:
        return None


class Scripted(Regression):
    """Whose validation values are given."""

    values: Iterator[float]

    def evaluate(self, batches: Iterator[Batch]) -> dict[str, float]:
        return {"score": next(self.values)}


@pytest.mark.parametrize(("selection", "kept"), [
    (Best(value="valid/score"), 3), (Best(value="valid/score", better="larger"), 4), (Last(), 6),
    (Best(value="train/loss", better="larger"), None), (Best(value="train/loss"), None),
])  # fmt: skip
def test_the_kept_student_is_best_in_any_reported_value_or_the_last(selection: Best | Last, kept: int | None) -> None:
    task, run = Scripted(Student()), Nothing()
    task.values = iter([math.nan, 5.0, 3.0, 9.0, 3.0, 9.0])
    optimisation = Optimisation(steps=6, warmup=0, learning_rate=0.01, evaluate_every=1)
    progress = fitted(task, Stages(run, {"only": optimisation}), "only", selection)
    if kept is None:
        losses = [report["train/loss"] for report in run.reports]
        kept = 1 + losses.index((max if selection == Best(value="train/loss", better="larger") else min)(losses))
    assert progress.best_step == kept
    assert {k: v for k, v in progress.values.items() if k in ("valid/score", "train/loss")} == {
        k: run.reports[kept - 1][k] for k in ("valid/score", "train/loss")
    }
    assert equal(task.learned_by_student(), progress.best_student)


def test_a_value_that_is_not_reported_is_refused_with_those_that_are() -> None:
    with refused("`selection.value` must be one of audio_seconds_per_second, train/loss, valid/accuracy, valid/error,"):
        fitted(Regression(Student()), Stages(Nothing(), {"only": FIRST}), "only", Best(value="valid/per"))


def test_the_average_is_what_is_evaluated_and_kept(tmp_path: Path) -> None:
    seen = []

    class Looking(Regression):
        def evaluate(self, batches: Iterator[Batch]) -> dict[str, float]:
            seen.append({name: value.clone() for name, value in self.learned_by_student().items()})
            return super().evaluate(batches)

    run, task = LocalRun(tmp_path), Looking(Student())
    progress = fitted(task, Stages(run, {"only": SECOND}), "only", Last())
    found = state(run)
    assert equal(found["average"], seen[-1])
    assert equal(found["average"], progress.best_student)
    assert equal(found["average"], task.learned_by_student())
    assert not torch.equal(found["average"]["head.weight"], found["task"]["student.head.weight"])
    assert len(seen) == 5


def test_without_clipping_gradients_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    norms: list[float] = []
    monkeypatch.setattr(nn.utils, "clip_grad_norm_", lambda _, norm: norms.append(norm))
    fitted(Regression(Student()), Stages(Nothing(), STAGES), "first")
    assert norms == [1.0] * 6
    free = FIRST.model_copy(update={"clip": None})
    fitted(Regression(Student()), Stages(Nothing(), {"only": free}), "only")
    assert len(norms) == 6
