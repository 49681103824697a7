"""Names that finished trials have for ever: whatever becomes of the code, these recipes keep theirs."""

import hashlib
from pathlib import Path

import pytest

from orchestrator.study.sweep import Sweep
from sweeps import commonvoice20, controls
from trainables.corpora.batching import BySeconds
from trainables.corpora.common_voice import CommonVoice
from trainables.corpora.librispeech import LibriSpeech
from trainables.losses.prediction_heads import OnLast
from trainables.losses.unit_heads import CosineToLabels
from trainables.optimisation import Optimisation
from trainables.recipes.distil_hubert import DistilHubert, released_code
from trainables.recipes.distill_l2s import DistillL2S
from trainables.students.ctc import Pretrained, Scratch
from trainables.students.distilled import DeepThin, FilterBanks, ShallowWide
from trainables.teachers.fairseq_file import FairseqConversion
from trainables.teachers.heard import AnotherClip
from trainables.teachers.language_model import PretrainedWeights, RandomWeights
from trainables.teachers.speech import HubertFromFairseq, SpeechModel
from trainables.teachers.states import Cached, StatePreparation


@pytest.fixture(autouse=True)
def _content(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data and weights that anybody has: only what the recipes themselves say is left."""
    for config in (
        CommonVoice, LibriSpeech, Pretrained, Scratch, PretrainedWeights, RandomWeights, SpeechModel, HubertFromFairseq,
        FairseqConversion,
    ):  # fmt: skip
        monkeypatch.setattr(config, "fingerprint", lambda self: f"{type(self).__name__} content")
    monkeypatch.setattr(CommonVoice, "release", lambda _: "cv-corpus-6.1")


def names(sweep: Sweep) -> dict[str, str]:
    return {trial.label: trial.signature for trial in sweep.trials}


def digest(sweep: Sweep) -> str:
    return hashlib.sha256(" ".join(sorted(trial.signature for trial in sweep.trials)).encode()).hexdigest()[:16]


def paper(folder: Path, **options: object) -> Sweep:
    return commonvoice20.study(commonvoice20.Options.model_validate({"data": folder, **options}))[0]


def test_the_papers_trials_keep_their_names(tmp_path: Path) -> None:
    sweep = paper(tmp_path)
    assert {label: name for label, name in names(sweep).items() if label.startswith("cs")} == {
        "cs, from scratch, seed 1": "5e0214c9024e",
        "cs, fine-tuned, seed 1": "6ac98c407276",
        "cs, distilled, λ = 0.25, seed 1": "47f187ba849b",
        "cs, distilled, λ = 0.5, seed 1": "4a8f87b6c25c",
        "cs, distilled, λ = 1, seed 1": "3239dc807784",
    }
    assert (len(sweep.trials), digest(sweep)) == (100, "e5abf0cdb8ba5ba2")


def former_miniature(language: str, encoder: type[Pretrained | Scratch]) -> DistillL2S:
    """The recipe of the miniature until the demo was made shorter."""
    recipe = commonvoice20.mini(commonvoice20.CellOptions(preset="mini"))
    optimisation = Optimisation(steps=320, warmup=110, learning_rate=3e-4, new_learning_rate=5e-3, evaluate_every=160)
    whole = encoder(model=recipe.student.encoder.model)
    return recipe.model_copy(
        update={
            "corpus": recipe.corpus.model_copy(update={"language": language}),
            "student": recipe.student.model_copy(update={"encoder": whole}),
            "weight": 0.5 if encoder is Pretrained else 0.0,
            "batching": BySeconds(seconds=10),
            "longest_training_clip": 5.0,
            "optimisation": optimisation,
        }
    )


def test_the_miniatures_trials_keep_their_names() -> None:
    sweep, _ = commonvoice20.study(commonvoice20.Options(preset="mini"))
    assert names(sweep)["cs, distilled, λ = 0.5, seed 1"] == "78098085bce8"
    assert names(sweep)["ro, from scratch, seed 1"] == "38b4e5a6f6d3"


def test_the_former_miniatures_trials_keep_their_names() -> None:
    distilled = former_miniature("cs", Pretrained)
    assert distilled.signature() == "e861e863aadd"
    assert former_miniature("ro", Scratch).signature() == "b9602812b9bc"
    prepared = [preparation.signature() for preparation in distilled.preparations()]
    assert prepared == ["176d2a1d33e5", "a82c6e39e081", "1a275da1f428", "73dca59be42a"]


@pytest.mark.parametrize(("options", "names"), [
    ({"preset": "mini"}, ["c05ef72c6bae", "a82c6e39e081", "1a275da1f428", "622ca48261ce"]),
    ({"data": "/data"}, ["cda60214d742", "a82c6e39e081", "1a275da1f428", "08baf752f46c"]),
])  # fmt: skip
def test_what_has_been_prepared_keeps_its_name(options: dict[str, str], names: list[str]) -> None:
    """It is hours of decoding, on somebody's disk."""
    recipe = commonvoice20.recipe(commonvoice20.Options.model_validate(options))
    assert [preparation.signature() for preparation in recipe.preparations()] == names
    assert [str(preparation) for preparation in recipe.preparations()][1:] == [
        "cs valid",
        "cs test",
        "cs train teacher",
    ]


@pytest.mark.parametrize(("compare", "preset", "trials", "expected"), [
    ("teachers", "paper", 54, "0675fd0bbbdca26d"), ("teachers", "mini", 54, "7c710686dbc24c1f"),
    ("losses", "paper", 48, "78449f3af3831b76"), ("losses", "mini", 48, "5fe4700dd1273f58"),
])  # fmt: skip
def test_the_controls_keep_their_names(compare: str, preset: str, trials: int, expected: str, tmp_path: Path) -> None:
    options = controls.Options.model_validate({"preset": preset, "compare": compare, "data": tmp_path})
    sweep, _ = controls.study(options)
    assert (len(sweep.trials), digest(sweep)) == (trials, expected)


def distillation(**fields: object) -> DistilHubert:
    books = LibriSpeech(root="/data")
    return DistilHubert.model_validate({"corpus": books, "teacher": HubertFromFairseq(file="/hubert.pt"), **fields})


@pytest.mark.parametrize(("fields", "name"), [
    ({}, "081356c378e0"),
    ({"student": ShallowWide(), "heads": OnLast(), "regression": 1.0, "discrimination": 0.0}, "fc16e3bf955f"),
    ({"student": DeepThin(front_end=FilterBanks()), "front_end_steps": 5_000}, "6985a7f1e96c"),
    ({"teacher": SpeechModel(model="facebook/hubert-base-ls960"), "targets": Cached(), "crop": None}, "2c0c809a4776"),
    ({"hears": AnotherClip(), "unit_head": CosineToLabels(), "special_units": "left_out"}, "1cce82274e5a"),
])  # fmt: skip
def test_distillations_keep_their_names(fields: dict[str, object], name: str) -> None:
    assert distillation(**fields).signature() == name


def test_the_released_codes_distillation_keeps_its_name() -> None:
    assert released_code(distillation()).signature() == "63b53ad8ec7d"


def test_what_a_distillation_has_prepared_keeps_its_name() -> None:
    clustered = distillation(teacher=SpeechModel(model="facebook/hubert-base-ls960"))
    assert clustered.units().signature() == "644f3671ee28"
    assert distillation().units().signature() == "17cbeb8769ec"
    states = StatePreparation(teacher=clustered.teacher, split=clustered.split("train"), layers=("projected", 0, 12))
    assert states.signature() == "6e52d7886815"
