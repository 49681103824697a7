"""The toy study as a person submits it, and what is on its storage."""

import re
from pathlib import Path

import pytest
from mlflow import MlflowClient
from pyarrow import fs

from orchestrator.cli import main
from orchestrator.study.storage import Storage
from orchestrator.tracking.tracker import default_uri
from tests.toy.sweep import Options
from tests.toy.sweep import study as toys
from trainables.config import explain


def study(*arguments: str) -> int:
    return main(Options, toys, explain, ["--seconds", "0", *arguments])


def listing(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() if p.is_file() else b"" for p in sorted(folder.rglob("*"))}


def remote(storage: Storage) -> dict[str, bytes]:
    found = storage.filesystem.get_file_info(fs.FileSelector(storage.path, recursive=True, allow_not_found=True))
    files = [info for info in found if info.type == fs.FileType.File]
    return {info.path: storage.filesystem.open_input_stream(info.path).read() for info in files}


def refused(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2, one sentence, and no secret in it."""
    capsys.readouterr()
    assert study(*arguments) == 2
    told = capsys.readouterr()
    assert told.err.count("\n") == 1, told.err
    assert re.search(sentence, told.err), told.err
    assert "Traceback" not in told.out + told.err
    assert "swordfish" not in told.out + told.err


def runs_of(tmp_path: Path) -> list:
    client = MlflowClient(default_uri(tmp_path / "runs"))
    (experiment,) = client.search_experiments(filter_string="name = 'toy'")
    return list(client.search_runs([experiment.experiment_id]))
