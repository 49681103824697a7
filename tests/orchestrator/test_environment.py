"""Folders that the environment names."""

import os
from pathlib import Path

import pytest

from orchestrator.environment import check_folders, check_writable

BOTH = pytest.mark.parametrize("name", ["L2S_CACHE", "HF_HOME"])


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("L2S_CACHE", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)


@BOTH
@pytest.mark.parametrize("value", ["my cache", "~/cache", "./a%20b", "new/a/b", ""])
def test_a_folder_may_be_made_later(name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    check_folders()
    check_writable()
    assert os.environ[name] == value
    assert list(tmp_path.iterdir()) == []


@BOTH
def test_a_variable_that_names_no_folder_is_said(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(name, "file")
    with pytest.raises(ValueError, match=f"^{name} must be a folder that can be written, but {tmp_path}/file is not"):
        check_folders()
    monkeypatch.setenv(name, "~nobody-of-that-name/cache")
    with pytest.raises(ValueError, match=f"^{name} must be a folder, but is ~nobody-of-that-name/cache instead"):
        check_folders()


@BOTH
@pytest.mark.parametrize("value", ["file/cache", "/proc/cache"])
def test_a_folder_that_cannot_be_made_is_said(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(name, value)
    check_folders()
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
