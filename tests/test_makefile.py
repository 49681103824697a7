"""What `make test` leaves behind when it is stopped; its tests are stand-ins that have started a server."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

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
    (tmp_path / "log").mkdir()
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
    return kept | {"TMPDIR": str(folder / "log")}


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
    assert list((tmp_path / "log").iterdir()) == []


def test_it_fails_where_they_do(make: list[str], tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_it():\n    assert False\n")
    done = subprocess.run(make, env=environment(tmp_path), capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stdout.count("1 failed") == 3, done.stdout
    assert list((tmp_path / "log").iterdir()) == []
