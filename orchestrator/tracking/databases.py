"""The URIs of MLflow's databases, and the files behind those of SQLite."""

import os
import socket
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from orchestrator.study.storage import writable

SQLITE = "sqlite:///"
NAMING_THE_DRIVER = "sqlite+pysqlite:///"
"""The same to SQLAlchemy as `SQLITE`; of a plain `sqlite:///` URI MLflow makes the folder without undoing escapes."""
HEADER = b"SQLite format 3\0"
"""The first bytes of a file of SQLite's."""
PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
"""Ports of the servers that MLflow can keep its data in, where a URI names none."""


def database_uri(file: Path) -> str:
    """The URI of an SQLite database, for SQLAlchemy: to it `?` begins a query, and `%` an escape."""
    return as_mlflow_takes_it(SQLITE + str(file).replace("%", "%25").replace("?", "%3F"))


def as_mlflow_takes_it(uri: str) -> str:
    """A tracking URI under which MLflow makes no folder that is named after the URI's escapes."""
    return NAMING_THE_DRIVER + uri.removeprefix(SQLITE) if uri.startswith(SQLITE) and "%" in uri else uri


def database_file(uri: str) -> Path | None:
    """The file of an SQLite database; None for any other tracking URI."""
    url = _parsed(uri)
    if url is None or url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return None
    name = str(url.database)
    # One of SQLite's own URIs, such as file:/data/mlflow.db, may stand where a path does.
    return Path(unquote(urlsplit(name).path) if "uri" in url.query else name).absolute()


def check_file(uri: str) -> None:
    """Raises ValueError when a tracking URI is a file that cannot be a database, which MLflow takes minutes to say."""
    file = database_file(uri)
    if file is None:
        return
    if not file.exists():
        if not writable(file.parent):
            raise ValueError(f"MLflow's database must be in a folder that can be written, but {file} is not.")
        return
    if not file.is_file() or not os.access(file, os.R_OK | os.W_OK) or not writable(file.parent):
        raise ValueError(f"MLflow's database must be a file that can be written, but {file} is none.")
    with file.open("rb") as stream:
        begin = stream.read(len(HEADER))
    if begin not in (HEADER, b""):
        raise ValueError(f"MLflow's database must be a file of SQLite's, but {file} is none.")


def knock(uri: str, wait: float) -> None:
    """Raises OSError when nobody listens within `wait` seconds where a tracking URI has a database server."""
    url = _parsed(uri)
    if url is not None and url.host and url.get_backend_name() in PORTS:
        url.get_dialect()  # raises for one that SQLAlchemy does not know
        socket.create_connection((url.host, url.port or PORTS[url.get_backend_name()]), timeout=wait).close()


def _parsed(uri: str) -> URL | None:
    try:
        return make_url(uri)
    except (ArgumentError, ValueError):  # a path, or a port that is no number
        return None
