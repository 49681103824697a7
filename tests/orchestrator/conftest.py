"""Studies of toys, and storages of every kind to keep them on."""

import contextlib
import http.server
import socket
import subprocess
import sys
import threading
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from orchestrator.study.lease import Lease
from orchestrator.study.ledger import Ledger
from orchestrator.study.storage import Storage
from orchestrator.study.sweep import Sweep, grid
from tests.faults.cluster import free_ports
from tests.faults.processes import until
from tests.toy.recipe import Toy


@pytest.fixture
def toy() -> Toy:
    return Toy(language="cs", seconds=0)


@pytest.fixture
def toys(toy: Toy) -> Sweep:
    """Two languages at two weights."""
    return Sweep("toys", grid(toy, {"language": ["cs", "ro"], "weight": [0.0, 0.5]}), axes=("language", "weight"))


@pytest.fixture
def ledger(toys: Sweep, tmp_path: Path) -> Ledger:
    """The ledger of `toys`, open."""
    ledger = Ledger.of(Storage.at(str(tmp_path / "runs")), toys)
    ledger.open(toys)
    return ledger


@pytest.fixture
def lease(ledger: Ledger) -> Iterator[Lease]:
    """A lease to the study of `toys`, held."""
    lease = Lease(ledger.storage)
    with lease.hold(print):
        yield lease


@pytest.fixture(scope="session")
def _moto() -> Iterator[str]:
    """An S3 in a process of its own: Arrow waits three seconds for an answer, and imports here can take longer."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: _answers(port), "the S3 answers")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


@pytest.fixture
def s3(_moto: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of a new bucket of an S3 on this machine."""
    credentials(monkeypatch, _moto)
    bucket = f"bucket-{uuid.uuid4().hex[:8]}"
    urllib.request.urlopen(urllib.request.Request(f"{_moto}/{bucket}", method="PUT")).close()
    return f"s3://{bucket}"


@pytest.fixture
def denied(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An S3 that knows nobody, and no credentials."""

    class Denies(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(403)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_PUT = do_GET

        def log_message(self, format: str, *values: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Denies)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    credentials(monkeypatch, f"http://127.0.0.1:{server.server_port}")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    yield
    server.shutdown()
    server.server_close()
    thread.join()


def credentials(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    values = {
        "AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "swordfish",
        "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }  # fmt: skip
    for name, value in values.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(params=["folder", "s3", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """An empty storage of each kind."""
    match request.param:
        case "folder":
            yield Storage.at(str(tmp_path / "runs"))
        case "s3":
            yield Storage.at(f"{request.getfixturevalue('s3')}/runs")
        case _:
            where = f"memory://{uuid.uuid4().hex}"
            yield Storage.at(where)
            filesystem, path = fsspec.url_to_fs(where)
            if filesystem.exists(path):
                filesystem.rm(path, recursive=True)
