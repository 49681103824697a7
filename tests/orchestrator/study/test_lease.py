import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.study import lease as leases
from orchestrator.study.failures import StudyFailed
from orchestrator.study.lease import Lease, Superseded
from orchestrator.study.storage import Storage

HOLD = """
import sys, time
from orchestrator.study.lease import Lease
from orchestrator.study.failures import StudyFailed
from orchestrator.study.storage import Storage
try:
    with Lease(Storage.at(sys.argv[1])).hold(print):
        print("held", flush=True)
        {meanwhile}
except StudyFailed as error:
    print("refused:", error)
"""


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "BEAT", 0.05)
    monkeypatch.setattr(leases, "PATIENCE", 0.5)


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """A shell starts what it runs in the background with interrupts ignored; a submission takes them all the same."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def study(tmp_path: Path) -> Storage:
    return Storage.at(str(tmp_path / "study"))


@pytest.fixture
def told() -> list[str]:
    return []


def process(study: Storage, meanwhile: str) -> subprocess.Popen[str]:
    script = HOLD.format(meanwhile=meanwhile)
    return subprocess.Popen([sys.executable, "-c", script, study.path], stdout=subprocess.PIPE, text=True)


def elsewhere(study: Storage, beat: int = 0) -> str:
    """The lease of a submitter on another machine."""
    other = {"host": "elsewhere", "machine": ["another boot", "pid"], "pid": 7, "process": "1", "beat": beat}
    study.write("submitter-0other.json", json.dumps(other))
    return "submitter-0other.json"


def test_a_claim_is_there_while_it_is_held(storage: Storage) -> None:
    lease = Lease(storage)
    with pytest.raises(Superseded):
        lease.check()
    with lease.hold(print):
        lease.check()
        first = json.loads(storage.read(lease.name) or "")
        assert (first["host"], first["pid"]) == (os.uname().nodename, os.getpid())
        deadline = time.monotonic() + 10
        while json.loads(storage.read(lease.name) or "")["beat"] == first["beat"]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert storage.names() == []


@pytest.mark.parametrize("storage", ["folder", "s3"], indirect=True)
def test_of_many_that_come_together_one_holds(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """All have looked before any has written: the worst that can happen."""
    many = 6
    together, write = threading.Barrier(many), Lease._write
    held, refused, ended = [], [], threading.Event()

    def slowly(self: Lease, beat: int) -> None:
        if beat == 0:
            together.wait(timeout=20)
        write(self, beat)

    def submit() -> None:
        lease = Lease(storage)
        try:
            with lease.hold(lambda text: None):
                held.append(lease.id)
                ended.wait(60)
        except StudyFailed as error:
            refused.append(str(error))
            if len(refused) == many - 1:
                ended.set()

    monkeypatch.setattr(Lease, "_write", slowly)
    monkeypatch.setattr(leases, "PATIENCE", 2.0)
    threads = [threading.Thread(target=submit) for _ in range(many)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(held), len(refused)) == (1, many - 1)
    assert all("must have one submitter at a time, but another one (" in text for text in refused)
    assert storage.names() == []


def test_one_who_comes_late_is_refused_even_with_a_smaller_name(study: Storage, told: list[str]) -> None:
    with Lease(study, "5").hold(told.append):
        refusal = pytest.raises(StudyFailed, match=rf"pid {os.getpid()}\) is running it")
        with refusal, Lease(study, "1").hold(told.append):
            pass
    assert study.names() == told == []


def test_of_two_processes_one_holds(study: Storage) -> None:
    first = process(study, "sys.stdin.read()")
    second = process(study, "time.sleep(1)")
    out = [second.communicate()[0], ""]
    first.kill()
    out[1] = first.communicate()[0]
    assert sorted(text.split()[0] for text in out) in (["held", "held"], ["held", "refused:"]), out


def test_a_dead_process_is_replaced_at_once(study: Storage, told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "PATIENCE", 1000.0)
    dead = process(study, "import os; os._exit(1)")
    dead.communicate()
    assert len(study.names()) == 1
    begun = time.monotonic()
    with Lease(study).hold(told.append):
        assert time.monotonic() - begun < 5
        assert len(study.names()) == 1
    assert re.fullmatch(rf"The submitter on \S+ \(pid {dead.pid}\) is dead; this one goes on in its place\.", told[0])


def test_a_process_number_that_is_used_again_is_another_process(study: Storage, told: list[str]) -> None:
    study.write("submitter-a.json", json.dumps(leases._me() | {"process": "1", "beat": 3}))
    with Lease(study).hold(told.append):
        assert "is dead" in told[0]


def test_a_live_submitter_on_another_machine_is_left_alone(study: Storage, told: list[str]) -> None:
    name, done = elsewhere(study), threading.Event()

    def beating() -> None:
        beat = 0
        while not done.wait(0.05):
            elsewhere(study, beat := beat + 1)

    thread = threading.Thread(target=beating)
    thread.start()
    refusal = pytest.raises(StudyFailed, match=r"one submitter at a time, but another one \(on elsewhere, pid 7\)")
    with refusal, Lease(study).hold(told.append):
        pass
    done.set()
    thread.join()
    assert study.names() == [name]
    assert told == ["Another submitter, on elsewhere, may be running this study; waiting to see whether it is alive."]


def test_a_dead_submitter_on_another_machine_is_replaced(study: Storage, told: list[str]) -> None:
    name, begun = elsewhere(study), time.monotonic()
    with Lease(study).hold(told.append):
        assert time.monotonic() - begun > leases.PATIENCE
        assert name not in study.names()
    assert told[1:] == ["The submitter on elsewhere is dead; this one goes on in its place."]


def test_a_submitter_that_ends_meanwhile_is_not_waited_for(study: Storage, told: list[str]) -> None:
    name = elsewhere(study)
    timer = threading.Timer(0.1, study.delete, [name])
    timer.start()
    with Lease(study).hold(told.append):
        pass
    timer.join()
    assert len(told) == 1


def test_who_comes_at_the_same_moment_does_not_wait_for_a_holder_to_end(
    study: Storage, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease was not there yet when the first was held, and its name is the smaller one."""
    monkeypatch.setattr(leases, "PATIENCE", 1000.0)
    others, looks = Lease._others, iter(range(100))
    with Lease(study, "f").hold(told.append):
        # When it looks for the first time, there is none.
        monkeypatch.setattr(Lease, "_others", lambda self: others(self) if next(looks) else [])
        with pytest.raises(StudyFailed, match="must have one submitter at a time"), Lease(study, "0").hold(told.append):
            pass
    assert study.names() == []


def wait() -> None:
    for _ in range(200):
        time.sleep(0.05)


def test_a_lost_claim_interrupts(study: Storage, told: list[str]) -> None:
    def lose() -> None:
        with Lease(study).hold(told.append):
            study.delete(study.names()[0])
            elsewhere(study)
            wait()

    with pytest.raises(StudyFailed, match=r"Another submitter has taken over the study in .*study"):
        lose()
    assert study.names() == ["submitter-0other.json"]  # the other's lease stays


def test_a_claim_that_was_silent_for_too_long_gives_way(
    study: Storage, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other deletes the lease between a renewal's look and its writing, which brings the lease back."""
    write = Lease._write

    def stuck(self: Lease, beat: int) -> None:
        if beat == 2:
            time.sleep(2 * leases.PATIENCE)
            study.delete(self.name)
            elsewhere(study)
        write(self, beat)

    monkeypatch.setattr(Lease, "_write", stuck)
    with pytest.raises(StudyFailed, match="Another submitter has taken over"), Lease(study).hold(told.append):
        wait()
    assert study.names() == ["submitter-0other.json"]


def test_a_storage_that_is_away_for_a_while_costs_nothing(
    study: Storage, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: Any = Storage.read
    with Lease(study).hold(told.append) as _:
        before = json.loads(study.read(study.names()[0]) or "")["beat"]

        def away(self: Storage, name: str) -> str:
            raise OSError("the storage is away")

        with monkeypatch.context() as patched:
            patched.setattr(Storage, "read", away)
            time.sleep(2 * leases.PATIENCE)
        assert Storage.read is read
        time.sleep(4 * leases.BEAT)
        assert json.loads(study.read(study.names()[0]) or "")["beat"] > before


def test_an_interrupt_of_ones_own_stays_one(study: Storage, told: list[str]) -> None:
    with pytest.raises(KeyboardInterrupt), Lease(study).hold(told.append):
        raise KeyboardInterrupt
    assert study.names() == []


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "lease"]
