"""One cluster and one undisturbed study for all tests of faults; nothing is left running."""

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.cluster import Cluster, environment
from tests.faults.processes import kill, marked
from tests.faults.study import Study


@pytest.fixture(scope="session")
def mark() -> Iterator[str]:
    """A word that is in the environment of every process that these tests start."""
    mark = f"l2s-{uuid.uuid4().hex[:8]}"
    yield mark
    kill(marked(mark))
    for folder in Path("/tmp").glob(f"{mark}-*"):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def one_cluster(mark: str, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    return Cluster(tmp_path_factory.mktemp("cluster"), mark)


@pytest.fixture
def cluster(one_cluster: Cluster) -> Cluster:
    """Its head runs and no other node, whatever the test before has done to them."""
    one_cluster.start()
    return one_cluster


@pytest.fixture(scope="session")
def reference(mark: str, tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Study:
    """The study when nothing goes wrong."""
    folder = tmp_path_factory.mktemp("reference")
    study = Study(folder, environment(mark, folder / "cache"), options=["--seconds", "0"], database=empty_database)
    study.submit().ends(0)
    return study


@pytest.fixture
def local(mark: str, tmp_path: Path, empty_database: Path) -> Iterator[Study]:
    """A study without Ray."""
    study = Study(tmp_path / "study", environment(mark, tmp_path / "cache"), database=empty_database)
    yield study
    _end(study)


@pytest.fixture
def study(cluster: Cluster, tmp_path: Path, empty_database: Path) -> Iterator[Study]:
    """A study on the cluster."""
    study = Study(
        tmp_path / "study",
        cluster.environment | {"L2S_CACHE": str(tmp_path / "cache")},
        cluster.address,
        options=["--seconds", "0.3"],
        database=empty_database,
    )
    yield study
    _end(study)


def _end(study: Study) -> None:
    for submission in study.submissions:
        submission.kill()
