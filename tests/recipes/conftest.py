"""A distillation on tones with tiny models, of a teacher of either kind."""

from pathlib import Path

import pytest

from tests.distillations import SHORT, THIN
from trainables import testing
from trainables.corpora.batching import ByCount
from trainables.corpora.common_voice import CommonVoice
from trainables.recipes.distil_hubert import DistilHubert
from trainables.students.distilled import DeepThin
from trainables.teachers.clusters import Clusters
from trainables.teachers.speech import SpeechModel
from trainables.teachers.states import Cached


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
