"""What MLflow's errors mean, from servers and files that really raise them."""

import contextlib
import http.server
import shutil
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from orchestrator.tracking import answers
from orchestrator.tracking.answers import passing, reaching, taking
from orchestrator.tracking.tracker import default_uri


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    answers.configure()


@contextlib.contextmanager
def server(status: int, body: str) -> Iterator[str]:
    """The address of a server that gives one answer to everything."""

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_GET

        def log_message(self, format: str, *values: object) -> None:
            pass

    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=found.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{found.server_port}"
    finally:
        found.shutdown()
        found.server_close()
        thread.join()


def said(uri: str) -> str:
    """What is said of MLflow at an address."""
    with pytest.raises(ValueError, match=r"^MLflow .*\S$") as error, reaching(uri, "the study"):
        MlflowClient(uri).search_experiments(max_results=1)
    assert "\n" not in str(error.value)
    return str(error.value)


NO = "MLflow at {} must take the study, but does not: "
AWAY = "MLflow must answer at {}, but does not: "


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (401, "You are not authenticated.", NO + "HTTP 401 Unauthorized"),
        (403, "<html>\n<h1>Forbidden</h1>", NO + "HTTP 403 Forbidden"),
        (403, '{"error_code": "PERMISSION_DENIED", "message": "not yours"}', NO + "PERMISSION_DENIED: not yours"),
        (404, '{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "gone"}', NO + "RESOURCE_DOES_NOT_EXIST: gone"),
        (404, "no such page", NO + "HTTP 404 Not Found"),
        (499, "closed", NO + "HTTP 499"),
        (503, "starting", AWAY + "too many 503 error responses"),
        (500, '{"error_code": "INTERNAL_ERROR", "message": "ouch"}', AWAY + "too many 500 error responses"),
        (200, "<html>", AWAY + "API request to endpoint was successful but the response body was not"),
    ],
)
def test_a_server_that_refuses_is_no_server_that_is_away(status: int, body: str, sentence: str) -> None:
    with server(status, body) as uri:
        assert said(uri).startswith(sentence.format(uri))


def test_a_server_that_never_answers_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "LOOK", 1)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "7")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "120")
    begun = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = "http://me:sword/fish@{}:{}".format(*silent.getsockname()).replace("sword/", "sword%2F")
        told = said(uri)
    assert time.monotonic() - begun < 10
    assert told.startswith("MLflow must answer at http://127.0.0.1:")
    assert "fish" not in told


@pytest.mark.parametrize(
    "uri", ["http://me:sword/fish@127.0.0.1:9", "http://me:12/fish@127.0.0.1:9", "http://me:fish@"]
)
def test_what_is_told_of_an_address_has_no_piece_of_its_password(uri: str) -> None:
    told = said(uri)
    assert "fish" not in told
    assert "sword" not in told


@pytest.mark.parametrize("uri", ["postgresql://me:sw/ord@127.0.0.1:9/db", "http://127.0.0.1:9", "nonsense://x"])
def test_who_named_the_address_is_said(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not said(uri).endswith("names it")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert said(uri).endswith("; MLFLOW_TRACKING_URI names it")
    assert "sw/ord" not in said(uri)


@pytest.fixture
def uri(empty_database: Path, tmp_path: Path) -> str:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return default_uri(tmp_path)


@pytest.mark.parametrize("version", ["ffffffffffff", "0584bdc529eb"], ids=["newer", "older"])
def test_a_database_of_another_version_refuses(version: str, uri: str, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = ?", [version])
        database.commit()
    assert said(uri).startswith(f"{NO.format(uri)}Detected out-of-date database schema (found version {version}")


def test_a_file_of_other_things_refuses(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"SQLite format 3\0, as it begins" + bytes(1000))
    assert said(default_uri(tmp_path)) == f"{NO.format(default_uri(tmp_path))}file is not a database"


def test_what_sqlite_refuses_for_good_is_not_called_away(uri: str) -> None:
    """To MLflow it is temporarily unavailable, as is a database that is locked."""
    to_read = uri.replace("sqlite:///", "sqlite+pysqlite:///file:") + "?mode=ro&uri=true"
    with pytest.raises(MlflowException) as readonly:
        MlflowClient(to_read).create_experiment("another")
    assert not passing(readonly.value)
    sentence = "must take the model, but does not: attempt to write a readonly database"
    with pytest.raises(ValueError, match=sentence), taking(uri, "the model"):
        raise readonly.value


def test_a_locked_database_is_away(uri: str) -> None:
    path = uri.removeprefix("sqlite:///")
    engine = create_engine(uri, connect_args={"timeout": 0})
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(OperationalError) as locked, engine.connect() as connection:
            connection.execute(text("SELECT * FROM runs"))
    error = MlflowException("locked", TEMPORARILY_UNAVAILABLE)
    error.__cause__ = locked.value
    assert passing(locked.value)
    assert passing(error)
    sentence = r"must answer at sqlite:.*, but does not: database is locked"
    with pytest.raises(ValueError, match=sentence), taking(uri, "the model"):
        raise locked.value
