"""The distillation of a speech model and the fine-tuning of its student, on tones and tiny models."""

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pyarrow import parquet
from safetensors.torch import load_file
from torch import Tensor

from tests.fairseq import SETTINGS, fairseqs, saved
from tests.interrupted import Interrupted, InterruptedRun
from trainables import testing
from trainables.__main__ import main
from trainables.batch import Batch
from trainables.cache import sha256_of
from trainables.corpora.batching import ByCount, ChannelMasking, TimeMasking
from trainables.corpora.common_voice import CommonVoice
from trainables.losses.prediction_heads import LayerToLayer, OnLast
from trainables.losses.unit_heads import CosineToLabels, HardLabels, Logits
from trainables.optimisation import Linear, Optimisation, TriStage
from trainables.recipes import probe
from trainables.recipes.distil_hubert import DistilHubert
from trainables.recipes.finetune_ctc import FineTuneCtc, FineTuneTask
from trainables.recipes.recipe import Recipe, with_needs
from trainables.run import LocalRun
from trainables.students.ctc import Pretrained, Regularisation
from trainables.students.distilled import DeepThin, FilterBanks, ShallowWide, TeachersFrontEnd
from trainables.teachers.clusters import Clusters
from trainables.teachers.fairseq_file import FairseqConversion
from trainables.teachers.heard import AnotherClip
from trainables.teachers.speech import HubertFromFairseq, RandomSpeechModel, SpeechModel
from trainables.teachers.states import Cached, Online

THIN = {"width": 16, "feed_forward": 24, "layers": 2, "heads": 2, "position_kernel": 8, "position_groups": 2}
SHORT = Optimisation(
    steps=12, warmup=2, schedule=Linear(), learning_rate=2e-3, evaluate_every=4, precision="float32", shares=2
)


@pytest.fixture(params=["whisper", "hubert-base"])
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def distillation(family: str, release: Path, tmp_path_factory: pytest.TempPathFactory) -> DistilHubert:
    folder = tmp_path_factory.getbasetemp() / f"teacher-{family}"
    if not folder.exists():
        testing.speech_encoder(family, folder)
    return DistilHubert(
        corpus=CommonVoice(root=str(release), language="cs"),
        teacher=SpeechModel(model=str(folder)),
        student=DeepThin.model_validate(THIN),
        clusters=Clusters(count=6, dimensions=4),
        targets=Cached(),
        crop=None,
        batching=ByCount(utterances=6),
        optimisation=SHORT,
    )


def changed(recipe: DistilHubert, **fields: object) -> DistilHubert:
    """The recipe with other fields, checked again."""
    return DistilHubert.model_validate({**recipe.model_dump(), **fields})


def finetuned(start: DistilHubert | Pretrained, corpus: CommonVoice) -> FineTuneCtc:
    return FineTuneCtc(
        corpus=corpus,
        start=start,
        regularisation=Regularisation(attention=0, hidden=0, layers=0),
        masking=TimeMasking(probability=0.2, span=4),
        channel_masking=ChannelMasking(probability=0.2, span=4),
        frozen_steps=2,
        batching=ByCount(utterances=6),
        optimisation=Optimisation(
            steps=8, warmup=2, schedule=TriStage(), learning_rate=2e-3, evaluate_every=4, precision="float32"
        ),
    )


def kept(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "student.safetensors")


def first_batch(recipe: DistilHubert, step: int) -> Batch:
    (batch,) = next(recipe._loader("train").training(recipe.batching, seed=1, start=step, shares=1, mine=[0]))
    return batch


def test_a_student_comes_nearer_to_its_teacher(distillation: DistilHubert, tmp_path: Path) -> None:
    longer = SHORT.model_copy(update={"steps": 60, "evaluate_every": 20})
    recipe = changed(distillation, optimisation=longer.model_dump())
    run = LocalRun(tmp_path / "run")
    result = recipe.run(run)
    curve = [line["valid/loss"] for line in run.metrics() if "train/loss" in line]
    assert curve[-1] < curve[0]
    assert set(recipe.reports()) <= result.keys()
    assert result["valid/agreement"] > 1 / 6
    assert json.loads((tmp_path / "run" / "distilled.json").read_text())["valid/kl"] == result["valid/kl"]


@pytest.mark.parametrize("targets", [Online(), Cached()])
def test_a_teacher_from_fairseqs_file_brings_its_units(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, targets: Online | Cached
) -> None:
    weights = fairseqs(testing.speech_encoder("hubert-base", tmp_path / "hubert"), "2")
    file = saved(tmp_path / "hubert.pt", weights, argparse.Namespace(**SETTINGS), monkeypatch)
    recipe = DistilHubert(
        corpus=CommonVoice(root=str(release), language="cs"),
        teacher=HubertFromFairseq(file=str(file), sha256=sha256_of(file)),
        student=DeepThin.model_validate(THIN),
        targets=targets,
        crop=None,
        batching=ByCount(utterances=6),
        optimisation=SHORT,
    )
    task = recipe.task()
    assert task.units.temperature == pytest.approx(0.2)
    assert task.units.count == len(weights["label_embs_concat"])
    assert any(isinstance(preparation, FairseqConversion) for preparation in recipe.preparations())
    assert set(recipe.reports()) <= recipe.run(LocalRun(tmp_path / "run")).keys()


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


def test_each_front_end_and_control_trains(distillation: DistilHubert, tmp_path: Path) -> None:
    random = RandomSpeechModel(model=distillation.teacher.name)
    variants: list[dict[str, object]] = [
        {}, {"teacher": random.model_dump()}, {"layers": "sum"}, {"by": "utterance"},
        {"hears": AnotherClip().model_dump()},
        *({"unit_head": head.model_dump()} for head in (Logits(temperature=0.1), CosineToLabels(), HardLabels())),
    ]  # fmt: skip
    results = [
        changed(distillation, **fields).run(LocalRun(tmp_path / str(i)))["valid/loss"]
        for i, fields in enumerate(variants)
    ]
    assert len(set(results)) == len(variants)


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


def test_what_cannot_be_is_refused(distillation: DistilHubert) -> None:
    for fields, message in (
        ({"front_end_steps": 12}, "`front_end_steps` must be less than all steps, 12, but is 12"),
        ({"front_end_steps": 3}, "`front_end_steps` must be 0 for a student on its teacher's front-end"),
        ({"crop": 2.0}, "`crop` must be None where the teacher's states are cached"),
    ):
        with pytest.raises(ValueError, match=message):
            changed(distillation, **fields)
    with pytest.raises(ValueError, match="must be for the teacher's layers, 1 to 2, but are for 8 too"):
        changed(distillation, heads=OnLast(layers=(2, 8)).model_dump()).preparations()
    with pytest.raises(ValueError, match=r"`targets.layers` must have all that are needed, \(1, 2\), but are \(2,\)"):
        changed(distillation, targets=Cached(layers=(2,)).model_dump()).preparations()


def test_a_student_is_fine_tuned_from_what_was_distilled(distillation: DistilHubert, tmp_path: Path) -> None:
    corpus = distillation.corpus
    assert isinstance(corpus, CommonVoice)
    recipe = finetuned(distillation, corpus)
    assert list(with_needs(recipe)) == [distillation.signature(), recipe.signature()]
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps({"type": recipe.type_name(), "fields": recipe.model_dump()}))
    assert main([str(file), str(tmp_path / "run")]) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert set(recipe.reports()) <= result.keys()
    near = json.loads((tmp_path / "needs" / distillation.signature() / "distilled.json").read_text())
    assert result["distilled/agreement"] == near["valid/agreement"]
    rows = parquet.read_table(tmp_path / "run" / "utterances.parquet")
    errors, words = (sum(rows[f"wer_{part}"].to_pylist()) for part in ("errors", "length"))
    assert result["test/wer"] == pytest.approx(100 * errors / words)
    (tmp_path / "exported").mkdir()
    card = recipe.export(tmp_path / "run", result, tmp_path / "exported")
    assert "distilled from" in card.about


def test_its_head_learns_first_and_convolutions_never(distillation: DistilHubert, tmp_path: Path) -> None:
    corpus = distillation.corpus
    assert isinstance(corpus, CommonVoice)
    undistilled = changed(distillation, regression=0, discrimination=0)
    recipe = finetuned(undistilled, corpus)
    assert not recipe.needs()
    assert str(undistilled) in str(recipe)
    before = undistilled.initial().state_dict()
    few = recipe.model_copy(update={"frozen_steps": 8})
    few.run(LocalRun(tmp_path / "frozen"))
    recipe.run(LocalRun(tmp_path / "whole"))
    frozen, whole = kept(tmp_path / "frozen"), kept(tmp_path / "whole")
    convolutions = [n for n in before if ".conv" in n and "pos_conv" not in n and n.endswith("weight")]
    assert convolutions
    for name, value in before.items():
        if value.is_floating_point():
            assert torch.equal(frozen[f"encoder.{name}"], value), name
    assert all(torch.equal(whole[f"encoder.{name}"], before[name]) for name in convolutions)
    assert any(not torch.equal(whole[f"encoder.{name}"], value) for name, value in before.items())


def test_any_pretrained_encoder_is_fine_tuned_too(distillation: DistilHubert, tmp_path: Path) -> None:
    corpus = distillation.corpus
    assert isinstance(corpus, CommonVoice)
    recipe = finetuned(Pretrained(model=distillation.teacher.name), corpus)
    result = recipe.run(LocalRun(tmp_path / "run"))
    assert set(recipe.reports()) <= result.keys()
    (tmp_path / "exported").mkdir()
    assert recipe.export(tmp_path / "run", result, tmp_path / "exported").task == "automatic-speech-recognition"


def test_probes_need_nothing_prepared(distillation: DistilHubert) -> None:
    corpus = distillation.corpus
    assert isinstance(corpus, CommonVoice)
    recipes: tuple[Recipe, ...] = distillation, finetuned(distillation, corpus)
    for recipe in recipes:
        found = recipe.probe()
        assert found["seconds"] > 0
        assert found["parameters"] > 1_000


def test_a_probe_of_filter_banks_prepares_nothing(
    distillation: DistilHubert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("L2S_CACHE", str(tmp_path / "cache"))
    corpus = distillation.corpus
    assert isinstance(corpus, CommonVoice)
    banks = distillation.student.model_copy(update={"front_end": FilterBanks()})
    recipe = changed(distillation, student=banks.model_dump(), front_end_steps=4)
    for probed in (recipe, finetuned(recipe, corpus)):
        assert probed.probe()["seconds"] > 0
    assert not (tmp_path / "cache").exists()


def test_no_step_reads_what_the_teacher_is(distillation: DistilHubert, tmp_path: Path) -> None:
    shutil.copytree(distillation.teacher.name, tmp_path / "teacher")
    recipe = changed(distillation, teacher=SpeechModel(model=str(tmp_path / "teacher")).model_dump())
    task, batch = recipe.task(), first_batch(recipe, 0)
    shutil.rmtree(tmp_path / "teacher")
    assert task(batch).total > 0
    assert task.evaluate(iter([batch]))["loss"] > 0


def test_filter_banks_learn_in_fine_tuning_and_convolutions_over_waveforms_do_not(distillation: DistilHubert) -> None:
    corpus = distillation.corpus
    assert isinstance(corpus, CommonVoice)
    banks = distillation.student.model_copy(update={"front_end": FilterBanks()})
    for start, learning in ((distillation, False), (changed(distillation, student=banks.model_dump()), True)):
        recipe = finetuned(changed(start, regression=0, discrimination=0), corpus)
        model, _ = recipe._start(LocalRun(Path("unused")), probe.VOCABULARY)
        convolutions = [weight for module in model.encoder.convolutions for weight in module.parameters()]
        assert all(weight.requires_grad is learning for weight in convolutions)


def test_while_the_head_alone_learns_nothing_else_has_a_gradient(distillation: DistilHubert) -> None:
    corpus = distillation.corpus
    assert isinstance(corpus, CommonVoice)
    model, _ = finetuned(changed(distillation, regression=0, discrimination=0), corpus)._start(
        LocalRun(Path("unused")), probe.VOCABULARY
    )
    task = FineTuneTask(model, probe.VOCABULARY, 2)
    (batch,) = probe.noise(ByCount(utterances=3), longest=1.0, shares=1)
    for step, whole in ((1, False), (2, True)):
        task.zero_grad()
        task(replace(batch, step=step)).total.backward()
        assert model.head.weight.grad is not None
        assert any(weight.grad is not None for weight in model.encoder.parameters()) is whole


def test_trials_of_different_structures_can_share_a_cache(distillation: DistilHubert) -> None:
    cache = Cached(layers=(0, 1, 2)).model_dump()
    wide = ShallowWide(layers=1, front_end=TeachersFrontEnd()).model_dump()
    thin, wide = (
        changed(distillation, targets=cache, **fields)
        for fields in ({}, {"student": wide, "heads": OnLast(layers=(1, 2)).model_dump()})
    )
    assert thin.preparations() == wide.preparations()
