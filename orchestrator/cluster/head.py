"""The head of a Ray cluster that runs already: where it is, and whether it answers. Ray itself tries for minutes."""

import os
import re
from pathlib import Path

import grpc

from orchestrator.redaction import public

VARIABLE = "RAY_ADDRESS"
ADDRESS = r"(?:\[[\da-fA-F:.]+\]|[^\s:/@\[\]]+):\d{1,5}"
PATIENCE = 4
"""Seconds that a head has to answer."""
HEALTH = "/grpc.health.v1.Health/Check"
"""gRPC's own protocol for asking after a server's health: Ray's head speaks it, and wants no token for it."""
TLS = ("RAY_TLS_CA_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_SERVER_CERT")
"""The files of a cluster with RAY_USE_TLS, in the order in which gRPC takes them."""


def find(address: str | None) -> str | None:
    """The address for Ray to join, from an option's value or else from RAY_ADDRESS; None for a new cluster here.

    Raises ValueError, naming the option or the variable, when it is no address of a head, or when none answers there.
    """
    given, where, named = "`address`", address, ""
    if address in (None, "auto") and (variable := os.environ.get(VARIABLE)):  # as Ray itself has it
        given, where, named = VARIABLE, variable, f"; {VARIABLE} names it"
    if where in (None, "local"):
        return None
    head = _latest() if where == "auto" else where
    if head is None:  # Ray looks among this machine's processes, and says at once if there is none
        return where
    # Not Ray's client either: Tune and what it asks would run on the head, away from what they tell here.
    if not re.fullmatch(ADDRESS, head):
        shown = public(head).rpartition("@")[2] or "''"
        raise ValueError(
            f"{given} must be HOST:PORT of a cluster's head, such as HOST:6379, but is {shown} instead: "
            "give it on a node of that cluster, or submit a job with `ray job submit`."
        )
    if reason := _silence(head):
        raise ValueError(f"A Ray cluster must run at {head}, but none does: {reason}{named}")
    return where


def _latest() -> str | None:
    """The head that was started last on this machine, as `auto` has it, even if it has ended since."""
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    file = Path(folder) / "ray" / "ray_current_cluster"
    return file.read_text().strip() if file.is_file() else None


def _silence(head: str) -> str:
    """The reason for which no head answers at an address; empty where one does."""
    # Like Ray's own connections, not through a proxy.
    options = [("grpc.enable_http_proxy", 0)]
    if os.environ.get("RAY_USE_TLS", "").lower() in ("1", "true"):
        files = [Path(os.environ[name]).read_bytes() for name in TLS]
        channel = grpc.secure_channel(head, grpc.ssl_channel_credentials(*files), options)
    else:
        channel = grpc.insecure_channel(head, options)
    with channel:
        call = channel.unary_unary(HEALTH).future(b"", timeout=PATIENCE)
        code, details = call.code(), str(call.details())
    if code == grpc.StatusCode.OK:
        return ""
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"no answer within {PATIENCE} s"
    if code == grpc.StatusCode.UNAVAILABLE:
        return details.rpartition(": ")[2].rstrip("]")
    return "what answers there is no head of Ray's"
