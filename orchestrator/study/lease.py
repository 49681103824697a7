"""One submitter of a study at a time: a lease on its storage that the owner renews.

Storage has no locks that work on a folder, on NFS and on S3 alike; what they all have is that a file is seen by
every listing that begins after it was written. So a submitter writes its lease, then lists the leases, and goes on
only if it sees no other: of two that come together at most one sees none, because the later listing sees both.

A lease is a file, `submitter-<id>.json`: the owner's host, machine and process, and a beat. The protocol:

1. Outlive the leases that are there. On the same machine the process table says whether the owner runs: then this
   submitter is refused, else that lease is deleted. On another machine only the beat can tell: where it moves on
   within `PATIENCE`, this submitter is refused; where it stands still, the owner is dead and its lease deleted.
2. Write a lease with beat 0: it is made, not held. List the leases until there is no other.
   A lease with beat 1 or more is held: delete one's own, and be refused.
   All have beat 0: the one with the smallest name waits for the others to go; the others go.
3. Write beat 1: the study is held. Renew every `BEAT` seconds, until the block ends and the lease is deleted.
4. A lease that is gone was deleted by step 1 of another submitter, after `PATIENCE` seconds of silence, as of a
   machine that slept or was cut off. Whoever renews it interrupts its own process; and the workers of its trials,
   which look for it (`check`) before each report and before the result, end with Superseded and write no more.

What the lease cannot do: between a worker's look and its writing there is a moment. What it writes then belongs to
the same trial and the same step, and a checkpoint that two have written at once lacks the digests of its manifest.
"""

import contextlib
import json
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.study.failures import StudyFailed
from orchestrator.study.storage import Storage

PREFIX = "submitter-"
BEAT = 4.0
"""Seconds between renewals."""
HELD = 1
"""The beat from which on a lease is held; before, it is only made."""
PATIENCE = 20.0
"""Seconds without a renewal after which a submitter that cannot be asked is taken for dead."""


class Superseded(RuntimeError):
    """The lease is lost: another submitter has taken the study over."""


@dataclass(frozen=True)
class Lease:
    """A submitter's lease to the study in a folder."""

    study: Storage
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])

    @property
    def name(self) -> str:
        """The name of the lease's file in the study's folder."""
        return f"{PREFIX}{self.id}.json"

    def check(self) -> None:
        """Raises Superseded when the lease is gone."""
        if self.study.read(self.name) is None:
            raise Superseded("Another submitter has taken the study over.")

    def require_free(self) -> None:
        """Raises StudyFailed when another submitter is known to run the study; changes nothing."""
        for name in self._others():
            other = _read(self.study, name)
            if other is not None and _same_machine(other) and not _dead(other):
                raise StudyFailed(_held(self.study, other))

    @contextlib.contextmanager
    def hold(self, told: Callable[[str], None]) -> Iterator[None]:
        """Hold the study while the block runs; interrupt this process when it is lost.

        Raises StudyFailed, naming who holds it, when another submitter runs the study; takes over from a dead one.
        """
        self._acquire(told)
        done, lost = threading.Event(), threading.Event()
        thread = threading.Thread(target=self._renew, args=(done, lost), name="lease", daemon=True)
        thread.start()
        try:
            yield
        except KeyboardInterrupt:
            if lost.is_set():
                raise StudyFailed(f"Another submitter has taken over the study in {self.study}.") from None
            raise
        finally:
            done.set()
            thread.join()
            with contextlib.suppress(OSError):
                self.study.delete(self.name)

    def _acquire(self, told: Callable[[str], None]) -> None:
        for other in self._others():
            _outlive(self.study, other, told)
        self._write(0)
        deadline = time.monotonic() + PATIENCE
        while others := self._others():
            leases = {name: _glance(self.study, name) for name in others}
            holder = next((lease for lease in leases.values() if lease.get("beat", 0) >= HELD), None)
            # Both were written before either was listed: the smaller stays, unless the other runs already.
            if holder or min(others) < self.name or time.monotonic() > deadline:
                self.study.delete(self.name)
                raise StudyFailed(_held(self.study, holder or leases[min(others)]))
            time.sleep(0.2)
        self._write(HELD)

    def _others(self) -> list[str]:
        return [name for name in self.study.names() if name.startswith(PREFIX) and name != self.name]

    def _write(self, beat: int) -> None:
        self.study.write(self.name, json.dumps(_me() | {"beat": beat}))

    def _renew(self, done: threading.Event, lost: threading.Event) -> None:
        beat, renewed = HELD, time.monotonic()
        while not done.wait(BEAT):
            # While the storage is away or full nobody can take over; who finds the lease gone later is told then.
            with contextlib.suppress(OSError):
                now = time.monotonic()
                gone = self.study.read(self.name) is None
                if not gone:
                    self._write(beat := beat + 1)
                    # After so long a silence it may have been deleted just before this wrote it again.
                    gone = time.monotonic() - renewed > PATIENCE and bool(self._others())
                    renewed = now
                if gone:
                    lost.set()
                    os.kill(os.getpid(), signal.SIGINT)
                    return


def _outlive(study: Storage, name: str, told: Callable[[str], None]) -> None:
    """Return when the submitter behind a lease is dead and its lease deleted. Raises StudyFailed when it is alive."""
    first = _read(study, name)
    if first is None:
        return
    if _dead(first):
        told(f"The submitter on {first['host']} (pid {first['pid']}) is dead; this one goes on in its place.")
        study.delete(name)
        return
    if _same_machine(first):
        raise StudyFailed(_held(study, first))
    told(f"Another submitter, on {first['host']}, may be running this study; waiting to see whether it is alive.")
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        time.sleep(BEAT / 4)
        now = _read(study, name)
        if now is None:
            return
        if now["beat"] != first["beat"]:
            raise StudyFailed(_held(study, now))
    told(f"The submitter on {first['host']} is dead; this one goes on in its place.")
    study.delete(name)


def _read(study: Storage, name: str) -> dict[str, Any] | None:
    text = study.read(name)
    return json.loads(text) if text else None


def _glance(study: Storage, name: str) -> dict[str, Any]:
    """The content of a lease that may just be written or deleted; empty where it cannot be read this time."""
    with contextlib.suppress(OSError):
        return _read(study, name) or {}
    return {}


def _held(study: Storage, other: dict[str, Any]) -> str:
    who = f"on {other['host']}, pid {other['pid']}" if other else "elsewhere"
    return f"The study in {study} must have one submitter at a time, but another one ({who}) is running it."


def _me() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "machine": _machine(),
        "pid": os.getpid(),
        "process": _started(os.getpid()),
    }


def _machine() -> list[str]:
    """Names this boot of this machine and its space of process numbers, of which each container has its own."""
    with contextlib.suppress(OSError):
        return [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    return [socket.gethostname(), str(uuid.getnode())]


def _started(pid: int) -> str | None:
    """Clock ticks from boot to a process's start, by which one is told from another with the same number."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] == "Z" else fields[19]
    return None


def _same_machine(lease: dict[str, Any]) -> bool:
    return lease["machine"] == _machine()


def _dead(lease: dict[str, Any]) -> bool:
    """Whether the process behind a lease is known not to run any more."""
    return _same_machine(lease) and lease["process"] is not None and _started(lease["pid"]) != lease["process"]
