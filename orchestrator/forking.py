"""Ray's worker processes as forks of one process per node that has imported what they will import.

A Ray Train worker spends about five seconds of a core on importing Ray, PyTorch and transformers before it does
anything. Ray lets a job name the program that it starts its workers with (`py_executable`); this file is such a
program. The first of a node leaves a server behind; each asks it for a fork, which takes hundredths of a second,
and becomes the worker. Where anything is not as it should be, it becomes a plain Python instead.

Not for workers with a GPU: a fork must not inherit a CUDA context, and that none has one has not been tried there.

Run as a script, isolated and without site-packages, so it may import the standard library only.
"""

import array
import contextlib
import ctypes
import fcntl
import gc
import hashlib
import importlib
import json
import os
import random
import runpy
import shlex
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WARM = (
    "ray", "ray._private.workers.default_worker", "ray.train.torch", "ray.tune", "torch",
    "ray.train.v2._internal.execution.worker_group.worker", "pyarrow.fs", "pydantic",
)  # fmt: skip
"""What every worker imports."""
MORE = {"transformers": ("transformers:WhisperModel", "transformers:Wav2Vec2Model")}
"""What workers import if this process, which knows the recipes, has; with names that load when first asked for."""
WANTED = "L2S_WARM"
PATIENCE = 60.0
"""Seconds in which a server must be warm; until then its clients wait."""
IDLE = 60.0
"""Seconds without a worker after which a server ends."""
RAYLET = "RAY_RAYLET_PID"
PR_SET_PDEATHSIG = 1


def executable() -> str:
    """What to give Ray as `py_executable`: this file if the node has it, else Python as it is."""
    # In a job with a working directory the workers start there, wherever a node keeps it.
    here = Path(__file__).resolve()
    relative = f"{here.parent.name}/{here.name}"
    script = (
        f"for f in {shlex.quote(str(here))} {shlex.quote(relative)}; do "
        '[ -f "$f" ] && exec "$0" -I -S "$f" "$@"; done; exec "$0" "$@"'
    )
    return f"sh -c {shlex.quote(script)} {shlex.quote(sys.executable)}"


def environment() -> dict[str, str]:
    """What the server must be told: modules to import besides those of every worker."""
    return {WANTED: ",".join(name for module, names in MORE.items() if module in sys.modules for name in names)}


def become_worker(arguments: list[str]) -> None:
    """Hand this process's arguments, environment and files to a fork of the server, and wait for its end."""
    server = _server()
    if server is None:
        os.execv(sys.executable, [sys.executable, *arguments])
    request = json.dumps({"arguments": arguments, "environment": dict(os.environ), "folder": str(Path.cwd())}).encode()
    files = array.array("i", [0, 1, 2])
    server.sendmsg([len(request).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
    server.sendall(request)
    if not server.recv(64):
        os.execv(sys.executable, [sys.executable, *arguments])
    server.recv(1)  # nothing ever comes but the end of the worker
    os._exit(0)


def _server() -> socket.socket | None:
    """A connection to this node's server, started if need be; None where there is to be none."""
    folder = Path(tempfile.gettempdir()) / f"l2s-forking-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid() or RAYLET not in os.environ:
        return None
    # Of one raylet, one installation and one job, whose number Ray reads once, when it is imported.
    key = json.dumps([os.environ.get(name) for name in (RAYLET, "RAY_JOB_ID", "PYTHONPATH")] + [sys.executable])
    path = folder / hashlib.sha256(key.encode()).hexdigest()[:16]
    refused = path.with_suffix(".refused")
    if (found := _connected(path)) or refused.exists():
        return found
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (found := _connected(path)) or refused.exists():
            return found
        if os.fork() == 0:
            os.setsid()
            log = os.open(path.with_suffix(".log"), os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
            for number, file in ((0, os.open(os.devnull, os.O_RDONLY)), (1, log), (2, log)):
                os.dup2(file, number)
            # -P: what lies beside this file must not hide libraries of equal names.
            os.execv(sys.executable, [sys.executable, "-P", str(Path(__file__).resolve()), "--serve", str(path)])
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if (found := _connected(path)) or refused.exists():
                return found
            time.sleep(0.05)
    return None


def _connected(path: Path) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        return None
    return connection


def serve(path: Path) -> None:
    """Fork a worker for each request, until the raylet is gone or nothing was asked for in a while."""
    raylet = Path("/proc") / os.environ[RAYLET]
    if not _warm():
        path.with_suffix(".refused").touch()
        return
    gc.collect()
    gc.freeze()  # so that no collection of a child touches, and copies, what it shares with this process
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path.with_suffix(".new")))
    server.listen(64)
    path.with_suffix(".new").rename(path)
    server.settimeout(2)
    children: dict[int, socket.socket] = {}
    needed = time.monotonic()
    while raylet.exists() and time.monotonic() - needed < IDLE:
        if children:
            needed = time.monotonic()
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                children.pop(ended).close()
        try:
            connection, _ = server.accept()
        except TimeoutError:
            continue
        try:
            request, files = _received(connection)
        except (OSError, ValueError, IndexError):  # a client that was killed while it asked
            connection.close()
            continue
        child = os.fork()
        if child:
            for file in files:
                os.close(file)
            connection.sendall(b"started")
            children[child] = connection
            continue
        os.setpgid(0, 0)  # a raylet kills a worker by its process group
        # When the server dies its clients end, and Ray takes its workers for dead: so they must be.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        for inherited in (server, connection, *children.values()):
            inherited.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        _run(request)
        return
    path.unlink()


def _warm() -> bool:
    """Import what workers will; whether it is safe to fork after that."""
    raylet: Any = importlib.import_module("ray._raylet")
    actor: Any = importlib.import_module("ray.actor")

    class FromTheSystem:
        """Ray's own generator, once it was used here, would give the same "random" ids to every child."""

        @staticmethod
        def from_random() -> Any:
            return raylet.ActorClassID(os.urandom(raylet.ActorClassID.size()))

    true, actor.ActorClassID = actor.ActorClassID, FromTheSystem
    for name in [*WARM, *filter(None, os.environ.get(WANTED, "").split(","))]:
        module, _, attribute = name.partition(":")
        loaded = importlib.import_module(module)
        if attribute:
            getattr(loaded, attribute)
    actor.ActorClassID = true
    return not sys.modules["torch"].cuda.is_initialized() and _drawn_by_a_child() != _drawn_by_a_child()


def _drawn_by_a_child() -> bytes:
    """A random id of Ray's, drawn in a fork of this process."""
    raylet = importlib.import_module("ray._raylet")
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.write(writing, raylet.UniqueID.from_random().binary())
        os._exit(0)
    os.close(writing)
    drawn = os.read(reading, 64)
    os.close(reading)
    os.wait()
    return drawn


def _received(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    connection.settimeout(10)
    head, ancillary, _, _ = connection.recvmsg(4, socket.CMSG_SPACE(3 * array.array("i").itemsize))
    files = array.array("i")
    files.frombytes(ancillary[0][2])
    size, body = int.from_bytes(head, "big"), b""
    while len(body) < size:
        part = connection.recv(size - len(body))
        if not part:
            raise ValueError("a request was cut off")
        body += part
    connection.settimeout(None)
    return json.loads(body), list(files)


def _run(request: dict[str, Any]) -> None:
    """Be the Python that the raylet wanted to start."""
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    arguments = list(request["arguments"])
    while arguments[0].startswith("-"):
        arguments.pop(0)  # of the interpreter, such as -u
    sys.argv = arguments
    sys.path.insert(0, str(Path(arguments[0]).parent))
    random.seed()
    for name, seed in (("numpy.random", "seed"), ("torch", "seed")):
        getattr(sys.modules[name], seed)()
    runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(Path(sys.argv[2]))
    else:
        become_worker(sys.argv[1:])
