"""Whether a Ray cluster's head answers at an address, without Ray."""

import contextlib
import http.server
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from orchestrator.cluster import head
from orchestrator.cluster.head import find


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):  # through which Ray does not go
        monkeypatch.setenv(name, "http://127.0.0.1:9")


@contextlib.contextmanager
def serving(method: str) -> Iterator[str]:
    """The address of a server that speaks gRPC and has one method."""
    answer = grpc.unary_unary_rpc_method_handler(lambda request, context: b"\x08\x01")
    service, _, name = method.strip("/").partition("/")
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: answer}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize("how", ["given", "RAY_ADDRESS", "auto", "RAY_ADDRESS before auto", "RAY_ADDRESS is auto"])
def test_a_head_that_answers_is_joined(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving("/grpc.health.v1.Health/Check") as address:
        if "auto" in how and how != "RAY_ADDRESS before auto":
            (tmp_path / "ray").mkdir()
            (tmp_path / "ray" / "ray_current_cluster").write_text(f"{address}\n")
        if how.startswith("RAY_ADDRESS"):
            monkeypatch.setenv("RAY_ADDRESS", "auto" if how.endswith("is auto") else address)
        given = {"given": address, "auto": "auto", "RAY_ADDRESS before auto": "auto"}.get(how)
        assert find(given) == ("auto" if how in ("auto", "RAY_ADDRESS is auto") else address)


@pytest.mark.parametrize(("address", "variable"), [(None, None), (None, ""), (None, "local"), ("local", "127.0.0.1:9")])
def test_a_new_cluster_is_started_where_none_is_named(
    address: str | None, variable: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable is not None:
        monkeypatch.setenv("RAY_ADDRESS", variable)
    assert find(address) is None


def test_ray_looks_for_a_cluster_of_this_machine_itself() -> None:
    assert find("auto") == "auto"


@contextlib.contextmanager
def trouble(kind: str) -> Iterator[str]:
    """An address at which no head is."""
    if kind == "nobody":
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = "{}:{}".format(*server.getsockname())
        yield address
    elif kind == "silent":
        with socket.create_server(("127.0.0.1", 0)) as server:
            yield "{}:{}".format(*server.getsockname())
    elif kind == "web":
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
        server.RequestHandlerClass.log_message = lambda *_: None  # pyright: ignore
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        server.server_close()
        thread.join()
    else:
        with serving("/some.other/Method") as address:
            yield address


@pytest.mark.parametrize("how", ["given", "RAY_ADDRESS", "auto"])
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("nobody", "Connection refused"),
        ("silent", "no answer within 1 s"),
        ("web", r"Failed parsing HTTP/2 .*"),
        ("other", "what answers there is no head of Ray's"),
    ],
)
def test_where_no_head_answers_that_is_said_soon(
    kind: str, reason: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "PATIENCE", 1)
    begun = time.monotonic()
    with trouble(kind) as address:
        if how == "RAY_ADDRESS":
            monkeypatch.setenv(how, address)
        if how == "auto":  # of a cluster that has been killed
            (tmp_path / "ray").mkdir()
            (tmp_path / "ray" / "ray_current_cluster").write_text(address)
        named = "; RAY_ADDRESS names it" if how == "RAY_ADDRESS" else ""
        sentence = rf"^A Ray cluster must run at {address}, but none does: {reason}{named}$"
        with pytest.raises(ValueError, match=sentence):
            find({"given": address, "auto": "auto"}.get(how))
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("how", ["given", "RAY_ADDRESS"])
@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("ray://127.0.0.1:10001", "ray://127.0.0.1:10001"),
        ("http://me:sword/fish@127.0.0.1:8265", "127.0.0.1:8265"),
        ("me:swordfish@127.0.0.1:6379", "127.0.0.1:6379"),
        ("swordfish@127.0.0.1:6379", "127.0.0.1:6379"),
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1:", "127.0.0.1:"),
        ("127.0.0.1:port", "127.0.0.1:port"),
        ("a b:6379", "a b:6379"),
        ("::1:6379", "::1:6379"),
        (" ", " "),
    ],
)
def test_what_is_no_address_of_a_head_is_said(
    address: str, shown: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "RAY_ADDRESS":
        monkeypatch.setenv(how, address)
    with pytest.raises(ValueError, match=r"must be HOST:PORT of a cluster's head, such as HOST:6379, but is") as error:
        find(address if how == "given" else None)
    assert f"but is {shown} instead" in str(error.value).replace("http://", "")
    assert str(error.value).startswith("`address`" if how == "given" else "RAY_ADDRESS")
    assert "fish" not in str(error.value)


def test_an_empty_option_is_no_address() -> None:
    with pytest.raises(ValueError, match=r"^`address` must be HOST:PORT of a cluster's head, .* but is '' instead"):
        find("")
