"""What all tests share: shapes are checked at run time, and no test reaches a hub or the user's cache."""

import io
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

from jaxtyping import install_import_hook

install_import_hook(
    [
        f"trainables.{name}"
        for name in (
            "aligners",
            "decoding",
            "losses",
            "metrics",
            "recipes",
            "sequences",
            "students",
            "teachers",
            "training",
        )
    ],
    "beartype.beartype",
)

import pytest
import torch
from mlflow import MlflowClient

from orchestrator.tracking.tracker import default_uri
from tests.termination import pytest_configure as pytest_configure
from trainables import testing
from trainables.corpora.batching import ByCount, TimeMasking
from trainables.corpora.common_voice import CommonVoice
from trainables.optimisation import Optimisation
from trainables.recipes.distill_l2s import DistillL2S
from trainables.students.ctc import CTCStudent, Pretrained, Regularisation
from trainables.teachers.language_model import LanguageModel


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _on_the_processor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU but for tests that are marked so: its kernels add in any order, and equality to the last bit is the
    processor's."""
    if request.node.get_closest_marker("gpu"):
        if not torch.cuda.is_available():
            pytest.skip("needs a GPU")
    elif torch.cuda.is_available():
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # for the processes that it starts


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("L2S_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def ascii_output(monkeypatch: pytest.MonkeyPatch) -> Callable[[], io.BytesIO]:
    """Makes the encoding of standard output ASCII, from its call on; what is printed then."""

    def begin() -> io.BytesIO:
        printed = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding="ascii", write_through=True))
        return printed

    return begin


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `wav2vec2`, `whisper` and `bert` of tiny models."""
    folder = tmp_path_factory.mktemp("models")
    testing.wav2vec2(folder / "wav2vec2")
    testing.whisper(folder / "whisper")
    testing.bert(folder / "bert")
    return folder


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny release with the locales cs and ro."""
    root = tmp_path_factory.mktemp("release")
    testing.corpus(root, "cs")
    testing.corpus(root, "ro", seed=2)
    return root


@pytest.fixture
def recipe(release: Path, models: Path) -> DistillL2S:
    """A cell that trains in a second: no dropout, so that runs can be compared number by number."""
    return DistillL2S(
        corpus=CommonVoice(root=str(release), language="cs"),
        student=CTCStudent(
            encoder=Pretrained(model=str(models / "whisper")),
            regularisation=Regularisation(attention=0, hidden=0, layers=0),
        ),
        teacher=LanguageModel(model=str(models / "bert")),
        weight=0.5,
        batching=ByCount(utterances=6),
        masking=TimeMasking(probability=0.05, span=4),
        optimisation=Optimisation(steps=20, warmup=4, learning_rate=1e-3, evaluate_every=5, precision="float32"),
    )


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's, to be copied: it takes a second to make one."""
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    folder = tmp_path_factory.mktemp("mlflow")
    MlflowClient(default_uri(folder)).search_experiments()
    return folder / "mlflow.db"
