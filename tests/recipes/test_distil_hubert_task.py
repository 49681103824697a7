"""The losses of a distillation and where their targets come from, on tones and tiny models."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.distillations import THIN, changed, first_batch
from tests.interrupted import Interrupted, InterruptedRun
from trainables.batch import Batch
from trainables.losses.prediction_heads import LayerToLayer, OnLast
from trainables.recipes.distil_hubert import DistilHubert
from trainables.run import LocalRun
from trainables.students.ctc import Regularisation
from trainables.students.distilled import DeepThin, FilterBanks, ShallowWide, TeachersFrontEnd
from trainables.students.states import State
from trainables.teachers.heard import AnotherClip
from trainables.teachers.speech import RandomSpeechModel, SpeechModel
from trainables.teachers.states import Cached, Online, OnlineInTraining


def kept(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "student.safetensors")


@pytest.mark.parametrize(("regression", "discrimination"), [(1, 0), (0, 1), (0.5, 2)])
def test_the_loss_is_the_weighted_sum(distillation: DistilHubert, regression: float, discrimination: float) -> None:
    recipe = changed(distillation, regression=regression, discrimination=discrimination)
    task, batch = recipe.task(), first_batch(recipe, 0)
    losses = task(batch)
    of_regression, of_discrimination = {"l1", "log_sigmoid", "cosine"}, {"discrimination"}
    wanted = (of_regression if regression else set[str]()) | (of_discrimination if discrimination else set[str]())
    assert set(losses.terms) == wanted  # what has no weight is not computed
    terms = dict.fromkeys(("l1", "log_sigmoid", "discrimination"), torch.zeros(())) | losses.terms
    expected = regression * (terms["l1"] + terms["log_sigmoid"]) + discrimination * terms["discrimination"]
    torch.testing.assert_close(losses.total, expected)
    losses.total.backward()
    reached = {name for name, weight in task.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert any(name.startswith("student.") for name in reached)
    assert any(name.startswith("unit_head.") for name in reached) == bool(discrimination)
    assert any(name.startswith("heads.") for name in reached) == bool(regression)
    assert not any(name.startswith(("teacher.", "units.")) for name, _ in task.named_parameters())


def test_shares_add_up_by_frame_and_by_utterance(distillation: DistilHubert) -> None:
    for by in ("frame", "utterance"):
        recipe = changed(distillation, by=by)
        task = recipe.task().eval()
        whole, parts = (
            next(recipe._loader("train").training(recipe.batching, seed=1, start=0, shares=n, mine=range(n)))
            for n in (1, 3)
        )
        (total,) = (task(batch).total for batch in whole)
        torch.testing.assert_close(sum(task(batch).total for batch in parts), total, rtol=1e-4, atol=1e-5)


def test_a_teacher_that_listens_at_each_step_says_what_is_cached(distillation: DistilHubert) -> None:
    online = changed(distillation, targets=Online().model_dump())
    batch = first_batch(distillation, 3)
    cached, heard = distillation.task().eval(), online.task().eval()
    heard.load_state_dict(cached.state_dict(), strict=False)
    heard.units = cached.units
    assert heard.teacher is not None
    assert not heard.teacher.encoder.training
    torch.testing.assert_close(heard(batch).total, cached(batch).total, rtol=2e-3, atol=2e-3)


def test_only_the_control_has_dropout_in_its_teacher(distillation: DistilHubert) -> None:
    usual, control = (changed(distillation, targets=targets.model_dump()) for targets in (Online(), OnlineInTraining()))
    assert "teacher with dropout" in str(control)
    assert "teacher with dropout" not in str(usual)
    batch = first_batch(distillation, 0)
    for recipe, drops in ((usual, False), (control, True)):
        task = recipe.task().train()
        assert task.teacher is not None
        assert any(module.training for module in task.teacher.modules()) is drops
        assert not any(weight.requires_grad for weight in task.teacher.parameters())
        first, second = (task.targets(batch).layers[2].values for _ in range(2))
        assert torch.equal(first, second) is not drops
        task(batch).total.backward()
        assert not any(weight.grad is not None for weight in task.teacher.parameters())
        task.eval()
        first, second = (task.targets(batch).layers[2].values for _ in range(2))
        assert torch.equal(first, second)
    with pytest.raises(ValueError, match=r"`regularisation.layers` must be 0 in a teacher, .* but is 0.1 instead"):
        OnlineInTraining(regularisation=Regularisation(layers=0.1))


@pytest.mark.parametrize("student", [ShallowWide(layers=1), DeepThin.model_validate(THIN)])
def test_filter_banks_learn_their_front_end_first(
    distillation: DistilHubert, student: ShallowWide | DeepThin, tmp_path: Path
) -> None:
    heads = OnLast(layers=(1, 2)) if isinstance(student, ShallowWide) else LayerToLayer()
    banks = student.model_copy(update={"front_end": FilterBanks()})
    recipe = changed(distillation, student=banks.model_dump(), heads=heads.model_dump(), front_end_steps=4)
    task = recipe.task()
    for step, whole in ((3, False), (4, True)):
        task.zero_grad()
        losses = task(first_batch(recipe, step))
        assert ("front_end" in losses.terms) is not whole
        losses.total.backward()
        learning = [weight for weight in task.student.layers.parameters() if weight.grad is not None]
        assert bool(learning) is whole
        assert any(weight.grad is not None for weight in task.student.get_submodule("front_end").parameters())
    result = recipe.run(LocalRun(tmp_path / "whole"))
    with pytest.raises(Interrupted):
        recipe.run(InterruptedRun(tmp_path / "resumed", at=4))
    assert recipe.run(LocalRun(tmp_path / "resumed")) == result
    whole, resumed = kept(tmp_path / "whole"), kept(tmp_path / "resumed")
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


@pytest.mark.parametrize("target", ["encoder_input", "projected", "convolutions"])
def test_a_front_end_learns_any_of_three_states(distillation: DistilHubert, target: str, family: str) -> None:
    banks = distillation.student.model_copy(update={"front_end": FilterBanks()}).model_dump()
    recipe = changed(distillation, student=banks, front_end_steps=4, front_end_target=target)
    if family == "whisper" and target == "projected":
        with pytest.raises(ValueError, match="to give the state 'projected', but whisper has none"):
            recipe.preparations()
        return
    online = changed(recipe, targets=Online().model_dump())
    batch = first_batch(recipe, 3)
    cached, heard = recipe.task().eval(), online.task().eval()
    found = heard(batch)
    assert found.terms.keys() == {"front_end"}
    torch.testing.assert_close(found.total, cached(batch).total, rtol=2e-3, atol=2e-3)
    state: State = 0 if target == "encoder_input" else "projected" if target == "projected" else "convolutions"
    expected = recipe.teacher.build((state,))(batch.audio).layers[state].values
    torch.testing.assert_close(cached.targets(batch).layers[state].values, expected, rtol=2e-3, atol=2e-3)
    assert heard.front_end_head is not None
    assert heard.front_end_head.out_features == expected.shape[2]
    # Later steps compare with the layers alone, which lie beside that state in the cache.
    later = replace(batch, step=4)
    torch.testing.assert_close(heard(later).total, cached(later).total, rtol=2e-3, atol=2e-3)


def test_another_clips_states_are_the_same_online_and_cached(distillation: DistilHubert) -> None:
    shuffled = changed(distillation, hears=AnotherClip().model_dump())
    own, other = (first_batch(recipe, 0).sources["teacher"] for recipe in (distillation, shuffled))
    assert torch.equal(own.lengths, other.lengths)
    assert not torch.allclose(own.values, other.values, atol=0.1)
    online = changed(shuffled, targets=Online().model_dump(), crop=0.5)
    batch = first_batch(online, 0)
    found = online.task().targets(batch)
    student = online.task().student.states(batch.audio, (1,))[1]
    assert torch.equal(found.layers[1].lengths, student.lengths)
    assert "another clip's states" in str(shuffled)
    assert distillation.signature() != shuffled.signature()


def test_no_step_reads_what_the_teacher_is(distillation: DistilHubert, tmp_path: Path) -> None:
    shutil.copytree(distillation.teacher.name, tmp_path / "teacher")
    recipe = changed(distillation, teacher=SpeechModel(model=str(tmp_path / "teacher")).model_dump())
    task, batch = recipe.task(), first_batch(recipe, 0)
    shutil.rmtree(tmp_path / "teacher")
    assert task(batch).total > 0
    assert task.evaluate(iter([batch]))["loss"] > 0


def test_the_same_convolutions_are_computed_once(distillation: DistilHubert, family: str) -> None:
    frozen = distillation.student.model_copy(update={"front_end": TeachersFrontEnd(gradient=0)}).model_dump()
    recipe = changed(distillation, student=frozen, targets=Online().model_dump())
    shuffled = changed(recipe, hears=AnotherClip().model_dump())
    batch, other = first_batch(recipe, 0), first_batch(shuffled, 0)
    task, computed = recipe.task().eval(), list[int]()
    assert task.shares is (family != "whisper")
    if family == "whisper":  # whose convolutions are a small part
        return
    first = task.student.get_submodule("model.feature_extractor.conv_layers.0")
    first.register_forward_hook(lambda *_: computed.append(1))

    def results(batch: Batch) -> tuple[Tensor, dict[str, float], list[Tensor]]:
        task.zero_grad()
        computed.clear()
        total = task(batch).total
        total.backward()
        gradients = [weight.grad.clone() for weight in task.student.parameters() if weight.grad is not None]
        return total, task.evaluate(iter([batch])), gradients

    total, near, gradients = results(batch)
    assert not computed
    task.shares = False
    again, near_again, gradients_again = results(batch)
    assert len(computed) == 2
    assert torch.equal(total, again)
    assert near == near_again
    assert len(gradients) > 10
    assert all(torch.equal(one, two) for one, two in zip(gradients, gradients_again, strict=True))
    # Of another clip, which is all that the teacher hears, the student's own frames are not known.
    task.shares = True
    results(other)
    assert len(computed) == 2


def test_convolutions_that_differ_are_not_shared(distillation: DistilHubert) -> None:
    frozen = distillation.student.model_copy(update={"front_end": TeachersFrontEnd(gradient=0)}).model_dump()
    random = RandomSpeechModel(model=distillation.teacher.name).model_dump()
    for fields in ({}, {"student": frozen, "teacher": random}, {"student": frozen, "targets": Cached().model_dump()}):
        assert not changed(distillation, **{"targets": Online().model_dump(), **fields}).task().shares
