import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import provenance


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(provenance.COMMIT, raising=False)
    provenance.commit.cache_clear()
    yield
    provenance.commit.cache_clear()


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the code in it."""
    (tmp_path / "code" / "orchestrator").mkdir(parents=True)
    module = tmp_path / "code" / "orchestrator" / "provenance.py"
    module.write_text("a = 1\n")
    git(tmp_path / "code", "init")
    git(tmp_path / "code", "add", ".")
    git(tmp_path / "code", "commit", "-m", "first")
    monkeypatch.setattr(provenance, "__file__", str(module))
    return tmp_path / "code"


def test_the_commit_is_that_of_the_code(code: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert provenance.commit() == git(code, "rev-parse", "HEAD")


@pytest.mark.parametrize("name", ["orchestrator/provenance.py", "sweeps/new.py"])
def test_files_that_differ_from_the_commit_are_told(code: Path, name: str) -> None:
    (code / name).parent.mkdir(exist_ok=True)
    (code / name).write_text("a = 2\n")
    assert provenance.commit() == f"{git(code, 'rev-parse', 'HEAD')}-dirty"


def test_without_a_history_the_commit_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "orchestrator").mkdir()
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "orchestrator" / "provenance.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert provenance.commit() == "unknown"


@pytest.mark.usefixtures("code")
def test_without_git_the_commit_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert provenance.commit() == "unknown"


@pytest.mark.usefixtures("code")
def test_a_submitted_job_knows_the_commit_of_its_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("L2S_COMMIT", "abc-dirty")
    assert provenance.commit() == "abc-dirty"


def test_the_environment_of_a_job_is_printed_as_json() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.provenance"],
        env={**os.environ, "L2S_COMMIT": "abc"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == {"env_vars": {"L2S_COMMIT": "abc"}}


def test_what_else_a_result_depends_on() -> None:
    assert set(provenance.versions()) == {
        "python", "ray", "torch", "torchaudio", "transformers", "numpy", "pyarrow", "mlflow",
    }  # fmt: skip
    assert provenance.processor()
