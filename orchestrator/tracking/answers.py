"""MLflow's answers: whether it is there, whether it takes what it is given, and whether to ask again may help."""

import contextlib
import http
import logging
import os
import re
from collections.abc import Iterator

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, REQUEST_LIMIT_EXCEEDED, TEMPORARILY_UNAVAILABLE, ErrorCode
from mlflow.tracking.registry import UnsupportedModelRegistryStoreURIException
from requests import HTTPError
from sqlalchemy.exc import DatabaseError, OperationalError

from orchestrator.redaction import first_line, public
from orchestrator.tracking.databases import as_mlflow_takes_it, check_file, knock

VARIABLE = "MLFLOW_TRACKING_URI"
RETRIES, TIMEOUT = "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"
SETTINGS = {
    # By default a server that is not there takes MLflow minutes to notice.
    RETRIES: "2",
    TIMEOUT: "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
LOOK = 5
"""Seconds that a server has to answer when a study begins; later it has longer, since nobody waits for it then."""
PASSING = {ErrorCode.Name(code) for code in (INTERNAL_ERROR, REQUEST_LIMIT_EXCEEDED, TEMPORARILY_UNAVAILABLE)}
"""MLflow's error codes for what may be over soon; a lost connection and a locked database are among them."""
PASSING_STATUSES = {408, 429, *range(500, 600)}
"""HTTP's status codes for it, where files travel: a request timed out, too many of them, a server in trouble."""
PASSING_OF_SQLITE = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN")
"""SQLite's names for it begin like these. MLflow calls all that SQLite refuses temporarily unavailable."""
LONGEST = 300
"""Characters that are repeated of another program's message."""


def configure() -> None:
    """Let MLflow's client in this process notice a dead server soon, and say nothing of its own."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    # It tells of every migration of a new database, and of every error, which is told here without credentials.
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # and of every retry


@contextlib.contextmanager
def reaching(uri: str, what: str) -> Iterator[None]:
    """Around a block that needs MLflow for the first time: it has `LOOK` seconds for each answer.

    Raises ValueError like `taking`, and where a file can be no database.
    """
    check_file(uri)
    with taking(uri, what), _hurried():
        knock(uri, LOOK)
        yield


@contextlib.contextmanager
def taking(uri: str, what: str) -> Iterator[None]:
    """Raise ValueError when MLflow does not answer in the block, or refuses `what`; the sentence says which."""
    try:
        yield
    except Exception as error:  # those of MLflow, of the client's library and of the database's
        named = f"; {VARIABLE} names it" if uri == as_mlflow_takes_it(os.environ.get(VARIABLE, "")) else ""
        sentence = f"MLflow must answer at {public(uri)}, but does not"
        if refused(error):
            sentence = f"MLflow at {public(uri)} must take {what}, but does not"
        raise ValueError(f"{sentence}: {why(error, uri)}{named}") from error


@contextlib.contextmanager
def _hurried() -> Iterator[None]:
    """Let MLflow's client wait for `LOOK` seconds in the block, once, whatever the environment says."""
    before = {name: os.environ.get(name) for name in (RETRIES, TIMEOUT)}
    os.environ.update({RETRIES: "0", TIMEOUT: str(LOOK)})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def refused(error: Exception) -> bool:
    """Whether MLflow or its database is there and has said no."""
    if isinstance(error, UnsupportedModelRegistryStoreURIException):  # it has not been asked: nobody knows such URIs
        return False
    return isinstance(error, MlflowException | HTTPError | DatabaseError) and not passing(error)


def passing(error: Exception) -> bool:
    """Whether the same call may succeed later."""
    if name := _of_sqlite(error):
        return name.startswith(PASSING_OF_SQLITE)
    if isinstance(error, MlflowException):
        # What MLflow says of a database of another version it calls an internal error.
        return error.error_code in PASSING and "database schema" not in str(error)
    if isinstance(error, HTTPError) and error.response is not None:  # an OSError as well
        return error.response.status_code in PASSING_STATUSES
    return isinstance(error, OSError | TimeoutError | OperationalError) and not isinstance(error, FileNotFoundError)


def why(error: Exception, uri: str) -> str:
    """The reason that an error of MLflow's at `uri` gives, in one line, without the names of other libraries' parts."""
    text = first_line(error, uri)
    if found := re.search(r"Caused by \w+\([\"']?(?:.*?\): )?(.+?)[\"')]*$", text):
        return found[1]
    if found := re.search(r"failed with error code (\d{3}) ", text):
        status = int(found[1])
        known = status in http.HTTPStatus.__members__.values()
        return f"HTTP {status} {http.HTTPStatus(status).phrase}" if known else f"HTTP {status}"
    return re.sub(r"^\([\w.]+\) ", "", text)[:LONGEST]  # SQLAlchemy's name for the driver's error


def _of_sqlite(error: BaseException) -> str:
    """SQLite's name for what is wrong, such as SQLITE_BUSY; empty for what is none of its errors."""
    for found in (error, error.__cause__):
        if name := getattr(getattr(found, "orig", None), "sqlite_errorname", ""):
            return name
    return ""
