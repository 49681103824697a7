"""What workers find where this process found it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import environment
from orchestrator.cluster import worker_environment

ROOT = Path(__file__).parents[3]
CODE = "from orchestrator.cluster import worker_environment as w; print(*w.importable(), sep='\\n')"


@pytest.mark.parametrize("name", environment.PLACES)
@pytest.mark.parametrize(("given", "place"), [("a b/c", "{here}/a b/c"), ("../c", "{here}/../c"), ("/c", "/c")])
def test_places_are_absolute_for_workers(
    name: str, given: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, given)
    environment.make_absolute()
    found = place.format(here=tmp_path)
    assert os.environ[name] == found
    if name in worker_environment.PASSED_ON:
        assert worker_environment.variables(own=False)[name] == found


def test_a_place_in_the_home_folder_is_one_without_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("L2S_CACHE", "~/c")
    environment.make_absolute()
    assert os.environ["L2S_CACHE"] == "/home/me/c"


def test_a_place_that_is_not_given_is_not_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", "")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    environment.make_absolute()
    assert os.environ["HF_HOME"] == ""
    assert "XDG_CACHE_HOME" not in os.environ


def imported_from(folder: Path, *arguments: str, **variables: str) -> list[str]:
    """What a process that was started in `folder` imports from, and so its workers."""
    ours = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=ours | variables, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_workers_import_what_the_script_does_wherever_it_is_started(tmp_path: Path) -> None:
    """The packages, what lies beside a script of somebody else's, and what its PYTHONPATH names."""
    script = tmp_path / "their scripts" / "study.py"
    script.parent.mkdir()
    (tmp_path / "their packages").mkdir()
    script.write_text(f"import sys\nsys.path.append({str(ROOT)!r})\n{CODE}\n")
    found = imported_from(tmp_path, "their scripts/study.py", PYTHONPATH="their packages:nowhere")
    assert found == [str(tmp_path / "their scripts"), str(tmp_path / "their packages"), str(ROOT)]


def test_a_process_without_a_script_imports_from_where_it_was_started(tmp_path: Path) -> None:
    assert imported_from(tmp_path, "-c", CODE, PYTHONPATH=str(ROOT)) == [str(tmp_path), str(ROOT)]


def test_what_is_installed_is_found_by_workers_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    site_packages = Path(pytest.__file__).parent.parent
    monkeypatch.setattr(sys, "path", [str(site_packages), str(Path(os.__file__).parent / "lib-dynload")])
    assert worker_environment.importable() == []


def test_a_node_of_a_running_cluster_keeps_its_own_after_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert worker_environment.variables(own=True)["PYTHONPATH"] == str(tmp_path)
    assert worker_environment.variables(own=False)["PYTHONPATH"] == f"{tmp_path}:${{PYTHONPATH}}"
