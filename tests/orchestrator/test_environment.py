"""Folders that the environment names."""

import os
from pathlib import Path

import pytest

from orchestrator.environment import check_writable, make_absolute

BOTH = pytest.mark.parametrize("name", ["L2S_CACHE", "HF_HOME"])


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("L2S_CACHE", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)


@BOTH
@pytest.mark.parametrize(
    ("value", "folder"),
    [("my cache", "my cache"), ("~/cache", "home/cache"), ("./a%20b", "a%20b"), ("new/a/b", "new/a/b")],
)
def test_a_folder_is_the_same_wherever_a_worker_starts(
    name: str, value: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    make_absolute()
    check_writable()
    assert os.environ[name] == str(tmp_path / folder)
    assert list(tmp_path.iterdir()) == []


@BOTH
def test_an_empty_variable_is_none(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "")
    make_absolute()
    check_writable()
    assert os.environ[name] == ""


@BOTH
def test_a_variable_that_names_no_folder_is_said(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(name, "file")
    with pytest.raises(ValueError, match=f"^{name} must be a folder that can be written, but {tmp_path}/file is not"):
        make_absolute()
    monkeypatch.setenv(name, "~nobody-of-that-name/cache")
    with pytest.raises(ValueError, match=f"^{name} must be a folder, but is ~nobody-of-that-name/cache instead"):
        make_absolute()


@BOTH
@pytest.mark.parametrize("value", ["file/cache", "/proc/cache"])
def test_a_folder_that_cannot_be_made_is_said(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(name, value)
    make_absolute()
    with pytest.raises(ValueError, match=f"^{name} must be a folder that can be written, but .*{value} is not"):
        check_writable()


def test_models_may_lie_where_they_are_only_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    for name in ("HF_HOME", "L2S_CACHE"):
        monkeypatch.setenv(name, str(tmp_path))
        if name == "HF_HOME":
            check_writable()
    with pytest.raises(ValueError, match=f"^L2S_CACHE must be a folder that can be written, but {tmp_path} is not"):
        check_writable()
