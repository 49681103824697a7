"""The distillation of a speech model and the fine-tuning of its student, on tones and tiny models."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pyarrow import parquet
from safetensors.torch import load_file
from torch import Tensor

from tests.distillations import SHORT, THIN, changed, first_batch
from tests.fairseq import SETTINGS, fairseqs, saved
from trainables import testing
from trainables.__main__ import main
from trainables.cache import sha256_of
from trainables.corpora.batching import ByCount, ChannelMasking, TimeMasking
from trainables.corpora.common_voice import CommonVoice
from trainables.losses.prediction_heads import OnLast
from trainables.losses.unit_heads import CosineToLabels, HardLabels, Logits
from trainables.optimisation import Optimisation, TriStage
from trainables.recipes import probe
from trainables.recipes.distil_hubert import DistilHubert, released_code
from trainables.recipes.finetune_ctc import FineTuneCtc, FineTuneTask
from trainables.recipes.recipe import Recipe, with_needs
from trainables.run import LocalRun
from trainables.students.ctc import Pretrained, Regularisation
from trainables.students.distilled import DeepThin, FilterBanks, ShallowWide, TeachersFrontEnd
from trainables.teachers.fairseq_file import FairseqConversion
from trainables.teachers.heard import AnotherClip
from trainables.teachers.speech import HubertFromFairseq, RandomSpeechModel
from trainables.teachers.states import Cached, Online, OnlineInTraining


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
    few = changed(recipe, special_units="left_out")
    assert few.signature() != recipe.signature()
    assert few.preparations() == recipe.preparations()  # the teacher's states are the same
    fewer = few.task()
    hidden = recipe.teacher.build((2,))(first_batch(recipe, 0).audio).layers[2]
    torch.testing.assert_close(fewer.units(hidden).values, task.units(hidden).values[..., 4:].log_softmax(dim=2))
    assert fewer.unit_head(hidden).values.shape[2] == fewer.units.count == task.units.count - 4
    assert any(isinstance(preparation, FairseqConversion) for preparation in recipe.preparations())
    assert set(recipe.reports()) <= recipe.run(LocalRun(tmp_path / "run")).keys()


def test_each_front_end_and_control_trains(distillation: DistilHubert, tmp_path: Path) -> None:
    random = RandomSpeechModel(model=distillation.teacher.name)
    variants: list[dict[str, object]] = [
        {}, {"teacher": random.model_dump()}, {"layers": "sum"}, {"by": "utterance"},
        {"hears": AnotherClip().model_dump()}, {"targets": OnlineInTraining().model_dump()},
        *({"unit_head": head.model_dump()} for head in (Logits(temperature=0.1), CosineToLabels(), HardLabels())),
    ]  # fmt: skip
    results = [
        changed(distillation, **fields).run(LocalRun(tmp_path / str(i)))["valid/loss"]
        for i, fields in enumerate(variants)
    ]
    assert len(set(results)) == len(variants)


def test_what_cannot_be_is_refused(distillation: DistilHubert) -> None:
    for fields, message in (
        ({"front_end_steps": 12}, "`front_end_steps` must be less than all steps, 12, but is 12"),
        ({"front_end_steps": 3}, "`front_end_steps` must be 0 for a student on its teacher's front-end"),
        ({"special_units": "left_out"}, "`special_units` must be 'kept' for a teacher that is not from fairseq's file"),
        ({"crop": 2.0}, "`crop` must be None where the teacher's states are cached"),
    ):
        with pytest.raises(ValueError, match=message):
            changed(distillation, **fields)
    with pytest.raises(ValueError, match="must be for the teacher's layers, 1 to 2, but are for 8 too"):
        changed(distillation, heads=OnLast(layers=(2, 8)).model_dump()).preparations()
    with pytest.raises(ValueError, match=r"`targets.layers` must have all that are needed, \(1, 2\), but are \(2,\)"):
        changed(distillation, targets=Cached(layers=(2,)).model_dump()).preparations()


@pytest.mark.parametrize(("student", "initialised"), [
    (ShallowWide(layers=2, encoder_norm="teacher"), {
        "transformer": "teacher", "projection": "teacher", "positions": "teacher", "encoder_norm": "random",
        "front_end": {"kind": "teachers", "convolutions": "teacher", "conv_norm": "none", "gradient": 0.1},
    }),
    (DeepThin(front_end=TeachersFrontEnd(gradient=0)), {
        "front_end": {"kind": "teachers", "convolutions": "teacher", "conv_norm": "none", "gradient": 0.1},
    }),
    (DeepThin(front_end=FilterBanks(dropout=0)), {
        "front_end": {"kind": "filter_banks", "gradient": 1.0, "dropout": 0.1},
    }),
])  # fmt: skip
def test_the_released_codes_settings(
    distillation: DistilHubert, student: ShallowWide | DeepThin, initialised: dict[str, object]
) -> None:
    steps = 5 if student.front_end.kind == "filter_banks" else 0
    kept = {
        "heads": OnLast(layers=(1, 2)).model_dump(), "regression": 2.0, "discrimination": 0.5, "seed": 7,
        "front_end_steps": steps,
    }  # fmt: skip
    other = changed(
        distillation, **kept, student=student.model_dump(), layers="sum", by="utterance", front_end_norm="l2",
        front_end_target="convolutions", hears=AnotherClip().model_dump(), unit_head=HardLabels().model_dump(),
    )  # fmt: skip
    found = released_code(other).model_dump()
    unchanged = {name for name, value in other.model_dump().items() if found[name] == value}
    elsewhere = {"kind", "corpus", "teacher", "clusters", "special_units", "longest_clip", "evaluation_seconds"}
    assert unchanged == elsewhere | kept.keys()
    assert found["student"] == {**student.model_dump(), **initialised}
    assert {name: found[name] for name in ("layers", "by", "front_end_norm", "front_end_target", "special_units")} == {
        "layers": "mean", "by": "frame", "front_end_norm": "l1", "front_end_target": "encoder_input",
        "special_units": "kept",
    }  # fmt: skip
    assert found["unit_head"] == {"kind": "logits", "temperature": 0.1}
    assert found["hears"] == {"kind": "own_clip"}
    assert found["targets"] == {
        "kind": "online_in_training",
        "regularisation": {"attention": 0.1, "hidden": 0.1, "activation": 0, "projection": 0.1, "layers": 0},
    }
    assert found["crop"] * 16_000 == 250_000
    assert found["batching"] == {"kind": "by_count", "utterances": 12}
    optimisation = found["optimisation"]
    assert (optimisation["steps"], optimisation["warmup"]) == (25_000, 1_750)
    assert optimisation["schedule"] == {"kind": "linear"}
    assert (optimisation["learning_rate"], optimisation["betas"], optimisation["epsilon"]) == (2e-4, (0.9, 0.98), 1e-6)
    assert (optimisation["weight_decay"], optimisation["clip"]) == (1e-6, 5.0)


def test_the_released_code_trains(distillation: DistilHubert, tmp_path: Path) -> None:
    wide = ShallowWide(layers=1).model_dump()
    whole = released_code(changed(distillation, student=wide, heads=OnLast(layers=(1, 2)).model_dump()))
    few = changed(whole, optimisation=SHORT.model_dump(), batching=ByCount(utterances=6).model_dump())
    assert set(few.reports()) <= few.run(LocalRun(tmp_path / "run")).keys()


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
