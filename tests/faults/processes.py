"""Processes of a test, found by a mark in their environment, which all that they start have as well."""

import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

MARK = "L2S_FAULTS"


def marked(mark: str, **more: str) -> list[int]:
    """Processes that run with these marks."""
    wanted = {f"{name}={value}".encode() for name, value in {MARK: mark, **more}.items()}
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and int(folder.name) != os.getpid():
            try:
                there = (folder / "environ").read_bytes().split(b"\0")
            except OSError:  # it has just ended, or is not ours
                continue
            if wanted <= set(there):
                found.append(int(folder.name))
    return found


def runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def kill(pids: Iterable[int]) -> None:
    """As the kernel does when memory is short: without a word."""
    pids = list(pids)
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    until(lambda: not any(map(runs, pids)), "the killed processes are gone", 20)


def until(condition: Callable[[], object], what: str, seconds: float = 240, step: float = 0.05) -> None:
    """Wait for something that is sure to happen."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(step)
