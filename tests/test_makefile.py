"""What `make` deletes and what it leaves behind: its Python and its tests are stand-ins, which install nothing."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.faults.processes import kill, runs, until

ROOT = Path(__file__).parent.parent
STAND_IN = """
import os, subprocess, time
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def server():
    server = subprocess.Popen(["sleep", "300"], start_new_session=True)
    yield server
    server.kill()
    server.wait()


def test_something(server):
    Path(__file__).with_name(f"{os.getpid()}.pids").write_text(f"{os.getpid()} {server.pid}")
    time.sleep(SECONDS)
"""


@pytest.fixture
def make(tmp_path: Path) -> Iterator[list[str]]:
    """The command, in an environment whose `python` runs one stand-in whatever it is asked for."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "a log").mkdir()
    (tmp_path / "complete").touch()
    options = "-q -p tests.termination -p no:cacheprovider -c /dev/null"
    stand_in = f"{sys.executable} -m pytest {options} {tmp_path}/test_it.py"
    (tmp_path / "bin" / "python").write_text(f"#!/bin/sh\nexec {stand_in}\n")
    (tmp_path / "bin" / "python").chmod(0o755)
    yield ["make", "--silent", "--directory", str(ROOT), "test", f"ENV={tmp_path}"]
    kill(started(tmp_path))


def environment(folder: Path) -> dict[str, str]:
    """Ours, but for what the `make` that may run these tests tells others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "PYTEST"))}
    return kept | {"TMPDIR": str(folder / "a log")}


def started(folder: Path) -> list[int]:
    """Stand-ins that have got to their test, and their servers."""
    return [int(pid) for file in folder.glob("*.pids") for pid in file.read_text().split()]


@pytest.mark.parametrize(
    ("number", "everybody"), [(signal.SIGINT, True), (signal.SIGTERM, True), (signal.SIGTERM, False)]
)
def test_all_ends_with_it(number: int, everybody: bool, make: list[str], tmp_path: Path) -> None:
    """A terminal interrupts, and `timeout` terminates, everybody at once; others terminate make alone."""
    (tmp_path / "test_it.py").write_text(STAND_IN.replace("SECONDS", "120"))
    process = subprocess.Popen(
        make, env=environment(tmp_path), stdout=subprocess.DEVNULL, start_new_session=True,
        # What `make test` runs in the background ignores it, these tests among them, and would pass that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        until(lambda: len(started(tmp_path)) == 4, "both run")
        (os.killpg if everybody else os.kill)(process.pid, number)
        process.wait(30)
    finally:
        kill([process.pid])
    assert process.returncode in (-number, 2)  # make's own words for a rule that was interrupted, or failed
    assert [pid for pid in started(tmp_path) if runs(pid)] == []
    assert list((tmp_path / "a log").iterdir()) == []


def test_it_fails_where_they_do(make: list[str], tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_it():\n    assert False\n")
    done = subprocess.run(make, env=environment(tmp_path), capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stdout.count("1 failed") == 3, done.stdout
    assert list((tmp_path / "a log").iterdir()) == []


PYTHON = """#!/bin/sh
echo "$@" >> "$LOG"
[ "$1 $2" = "-m venv" ] || exit 0
[ -z "$FAILS" ] || exit 1
mkdir -p "$3/bin"
cp "$0" "$3/bin/python"
echo 'echo activated' > "$3/bin/activate"
"""
"""Makes an environment that has itself for a Python, or fails to."""


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A stand-in for Python in a folder with a space."""
    script = tmp_path / "a python" / "python3"
    script.parent.mkdir()
    script.write_text(PYTHON)
    script.chmod(0o755)
    return script


def made(
    python: Path, *arguments: str, variables: Mapping[str, str] = MappingProxyType({}), clone: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """What `make` does with this Python, in an environment that has these variables, and no others about caches."""
    ours = {k: v for k, v in environment(python).items() if k not in ("L2S_CACHE", "XDG_CACHE_HOME", "TMPDIR")}
    told = {"PYTHON": str(python), "LOG": str(python.with_name("log"))}
    command = ["make", "--silent", "--directory", str(clone), *arguments]
    return subprocess.run(
        command, env={**ours, **told, **variables}, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip


def asked(python: Path) -> list[str]:
    """The calls of the stand-in for Python."""
    log = python.with_name("log")
    return log.read_text().splitlines() if log.exists() else []


def contents(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


NAMES = [
    "my cache",
    " my",
    "my ",
    "my;cache",
    "my&cache",
    "my#cache",
    "my%cache",
    "*",
    "-rf",
    "(my)",
    "{my,cache}",
    "m\u00fd",
]


@pytest.mark.parametrize("variable", ["L2S_CACHE", "XDG_CACHE_HOME", "HOME"])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_beside_the_environment_is_deleted(name: str, variable: str, python: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    for folder in ("my", "cache", "distill-l2s"):
        (trap / folder).mkdir(parents=True)
        (trap / folder / "precious").touch()
    before = contents(trap)
    done = made(python, "env", variables={variable: str(trap / name), "FAILS": "yes"})
    assert done.returncode == 2
    assert "apt-get install python3-venv" in done.stderr
    assert contents(trap) == before

    done = made(python, "env", variables={variable: str(trap / name)})
    assert done.returncode == 0, done.stderr
    assert before < contents(trap)
    activate = Path(done.stdout.removesuffix("\n"))
    assert activate.parts[: len(trap.parts) + 1] == (*trap.parts, name)
    sourced = subprocess.run(["bash", "-c", 'source "$0"', activate], capture_output=True, text=True, check=True)
    assert sourced.stdout == "activated\n"


@pytest.mark.parametrize("name", ["it's", 'a"b', "a$HOME", "$(error a)", "`touch b`", "a:b", "a\\b", "a\tb", "a\nb"])
def test_a_folder_that_cannot_be_activated_is_refused_before_anything_runs(
    name: str, python: Path, tmp_path: Path
) -> None:
    done = made(python, "env", variables={"L2S_CACHE": str(tmp_path / name)})
    assert done.returncode == 2
    (sentence, end) = done.stderr.splitlines()
    assert sentence.startswith("The environment's path must have no quotes, colons, dollar signs,")
    assert end.startswith("make: ***")
    assert asked(python) == []
    assert {path.name for path in tmp_path.iterdir()} == {"a python"}


def test_an_environment_is_made_once_and_anew_where_that_was_interrupted(python: Path, tmp_path: Path) -> None:
    first = made(python, "env", variables={"L2S_CACHE": str(tmp_path / "my cache")})
    calls = asked(python)
    assert made(python, "env", variables={"L2S_CACHE": str(tmp_path / "my cache")}).stdout == first.stdout
    assert asked(python) == calls
    folder = Path(first.stdout).parent.parent
    (folder / "complete").unlink()
    (folder / "half").touch()
    assert made(python, "env", variables={"L2S_CACHE": str(tmp_path / "my cache")}).stdout == first.stdout
    assert asked(python) == calls * 2
    assert not (folder / "half").exists()


@pytest.mark.parametrize("what", ["folder", "environment", "file", "link"])
def test_what_make_did_not_make_is_not_deleted(what: str, python: Path, tmp_path: Path) -> None:
    precious = tmp_path / "some folder" / "precious"
    precious.parent.mkdir()
    precious.touch()
    match what:
        case "environment":
            (precious.parent / "pyvenv.cfg").touch()
        case "link":
            (tmp_path / "link").symlink_to(precious.parent)
    chosen = {"file": precious, "link": tmp_path / "link"}.get(what, precious.parent)
    done = made(python, "env", f"ENV={chosen}")
    assert done.returncode == 2
    assert f"must be new, empty or an environment that make began, but {chosen} is neither" in done.stderr
    assert precious.exists()
    assert chosen.exists()
    assert not [call for call in asked(python) if "venv" in call]


def test_an_empty_folder_will_do(python: Path, tmp_path: Path) -> None:
    (tmp_path / "an environment").mkdir()
    done = made(python, "env", f"ENV={tmp_path}/an environment")
    assert done.stdout == f"{tmp_path}/an environment/bin/activate\n"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What `make` reads, in a folder with a space in its name."""
    clone = tmp_path / "a clone"
    clone.mkdir()
    for name in ("Makefile", "constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, clone)
    return clone


@pytest.mark.parametrize(("given", "under"), [("caches", "a clone/caches"), ("~/caches", "home/caches")])
def test_a_relative_cache_is_under_the_clone_and_a_tilde_is_the_home(
    given: str, under: str, clone: Path, python: Path, tmp_path: Path
) -> None:
    done = made(python, "env", variables={"L2S_CACHE": given, "HOME": str(tmp_path / "home")}, clone=clone)
    assert done.stdout.startswith(f"{tmp_path}/{under}/env-")


def test_no_cache_at_all_is_the_one_of_the_user(python: Path, tmp_path: Path) -> None:
    done = made(python, "env", variables={"L2S_CACHE": "", "XDG_CACHE_HOME": "", "HOME": str(tmp_path / "home")})
    assert done.stdout.startswith(f"{tmp_path}/home/.cache/distill-l2s/env-")


def test_commands_run_in_a_clone_with_a_space(clone: Path, python: Path, tmp_path: Path) -> None:
    done = made(python, "demo-synthetic", variables={"L2S_CACHE": str(tmp_path / "my cache")}, clone=clone)
    assert done.returncode == 0, done.stderr
    assert asked(python)[-1].endswith(f"--data {tmp_path}/my cache/miniature/synthetic_common_voice")


def test_clean_deletes_only_in_the_clone(clone: Path, python: Path, tmp_path: Path) -> None:
    kept = [
        tmp_path / "a" / "runs" / "precious",
        tmp_path / "clone" / "build" / "precious",
        clone / "trainables" / "a.py",
    ]
    left = [clone / "runs" / "b", clone / "my package" / "__pycache__" / "c.pyc", clone / "d.egg-info" / "e"]
    for path in [*kept, *left]:
        path.parent.mkdir(parents=True)
        path.touch()
    assert made(python, "clean", clone=clone).returncode == 0
    assert [path for path in kept if not path.exists()] == []
    assert [path for path in left if path.parent.exists()] == []
