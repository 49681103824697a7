"""Figure 3's numbers: what a fine-tuning leaves as it was is alike, and the others are what the kept weights say."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from trainables import testing
from trainables.config import Config
from trainables.corpora.batching import ByCount
from trainables.corpora.common_voice import CommonVoice
from trainables.corpora.prepared import PreparedSplit
from trainables.optimisation import Linear, Optimisation
from trainables.recipes.distil_hubert import DistilHubert
from trainables.recipes.finetune_ctc import FineTuneCtc
from trainables.recipes.layer_similarity import LayerSimilarity
from trainables.run import LocalRun
from trainables.sequences import Sequences
from trainables.similarity import ProjectionWeighted, SingularVectors
from trainables.students.ctc import Pretrained, Regularisation
from trainables.students.distilled import DeepThin
from trainables.students.encoders import SpeechEncoder
from trainables.teachers.clusters import Clusters
from trainables.teachers.speech import SpeechModel

THIN: dict[str, Any] = {
    "width": 16,
    "feed_forward": 24,
    "layers": 2,
    "heads": 2,
    "position_kernel": 8,
    "position_groups": 2,
}
SHORT = Optimisation(steps=8, warmup=2, schedule=Linear(), learning_rate=5e-3, evaluate_every=4, precision="float32")
NAMES = ("similarity/layer_0", "similarity/layer_1", "similarity/layer_2", "similarity/mean")


@pytest.fixture
def recipe(release: Path, tmp_path_factory: pytest.TempPathFactory) -> FineTuneCtc:
    """The fine-tuning of a student that is distilled; with dropout, of which the comparison must not see anything."""
    folder = tmp_path_factory.getbasetemp() / "teacher-hubert"
    if not folder.exists():
        testing.speech_encoder("hubert-base", folder)
    corpus = CommonVoice(root=str(release), language="cs")
    start = DistilHubert(
        corpus=corpus,
        teacher=SpeechModel(model=str(folder)),
        student=DeepThin(**THIN),
        clusters=Clusters(count=6, dimensions=4),
        batching=ByCount(utterances=6),
        optimisation=SHORT,
    )
    return FineTuneCtc(
        corpus=corpus,
        start=start,
        regularisation=Regularisation(attention=0.2, hidden=0.2, activation=0.2, layers=0.2),
        frozen_steps=2,
        batching=ByCount(utterances=6),
        optimisation=SHORT,
    )


@pytest.fixture
def undistilled(recipe: FineTuneCtc) -> FineTuneCtc:
    assert isinstance(recipe.start, DistilHubert)
    return changed(recipe, start=recipe.start.model_copy(update={"regression": 0.0, "discrimination": 0.0}))


def changed(recipe: FineTuneCtc, **fields: Config | int) -> FineTuneCtc:
    values = {name: value.model_dump() if isinstance(value, Config) else value for name, value in fields.items()}
    return FineTuneCtc.model_validate({**recipe.model_dump(), **values})


def loaded(kept: Path, encoder: SpeechEncoder) -> SpeechEncoder:
    weights = load_file(kept / "student.safetensors")
    of_encoder = {n.removeprefix("encoder."): value for n, value in weights.items() if n.startswith("encoder.")}
    encoder.load_state_dict(of_encoder or weights)
    return encoder.eval()


def test_what_has_not_learned_is_what_it_was(undistilled: FineTuneCtc, tmp_path: Path) -> None:
    """Its dropout is off, or the two networks would differ; and those of filter banks have their moments."""
    result = changed(undistilled, frozen_steps=8).run(LocalRun(tmp_path / "run"))
    assert [result[name] for name in NAMES] == pytest.approx([1] * 4, abs=1e-6)


def test_a_trial_tells_what_its_weights_say(recipe: FineTuneCtc, tmp_path: Path) -> None:
    assert isinstance(recipe.start, DistilHubert)
    need = LocalRun(tmp_path / "needs" / recipe.start.signature())
    need.finish(recipe.start.run(need))
    result = recipe.run(LocalRun(tmp_path / "run"))
    assert set(NAMES) <= set(recipe.reports()) <= result.keys()
    before, after = (loaded(folder, recipe.start.initial()) for folder in (need.folder, tmp_path / "run"))
    split = PreparedSplit(recipe.split("test").build())
    found: tuple[list[torch.Tensor], ...] = [], []
    for i in range(len(split)):  # clip by clip: no padding
        audio = Sequences.stack([split.audio(i).astype(np.float32) / 32768])
        for network, states in zip((before, after), found, strict=True):
            with torch.no_grad():
                states.append(network.states(audio, (1,))[1].values[0])
    expected = ProjectionWeighted()(*map(torch.cat, found))
    assert result["similarity/layer_1"] == pytest.approx(expected, abs=1e-4)
    assert 0 < expected < 0.999
    assert result["similarity/mean"] == pytest.approx(np.mean([result[name] for name in NAMES[:3]]))
    other = changed(recipe, similarity=LayerSimilarity(measure=SingularVectors(variance=0.8)))
    assert other.run(LocalRun(tmp_path / "other"))["similarity/layer_1"] != result["similarity/layer_1"]


def test_too_few_frames_are_refused_before_anything_is_trained(undistilled: FineTuneCtc, tmp_path: Path) -> None:
    run = LocalRun(tmp_path / "run")
    with pytest.raises(ValueError, match=r"^The clips on which layers are compared must have at least 10 frames for "
                       r"each of the student's 16 features, 160, but 1 clips have \d+: take more by"):  # fmt: skip
        changed(undistilled, similarity=LayerSimilarity(clips=1)).run(run)
    assert run.metrics() == []


def test_without_clips_nothing_is_compared_and_a_name_is_what_it_was(recipe: FineTuneCtc, tmp_path: Path) -> None:
    none = changed(recipe, similarity=LayerSimilarity(clips=0))
    assert not set(NAMES) & set(none.reports())
    assert "similarity" not in none.identity()
    assert none.signature() != recipe.signature()
    assert isinstance(recipe.start, DistilHubert)
    anybodys = changed(recipe, start=Pretrained(model=recipe.start.teacher.name))
    result = anybodys.run(LocalRun(tmp_path / "run"))
    assert not any(name.startswith("similarity") for name in (*anybodys.reports(), *result))


def test_clips_are_spread_over_the_split(recipe: FineTuneCtc) -> None:
    split = PreparedSplit(recipe.split("test").build())
    assert LayerSimilarity(clips=3).chosen(split).tolist() == [0, 2, 5]
    assert LayerSimilarity().chosen(split).tolist() == list(range(len(split)))
