"""Command lines, parsed by tyro; what cannot be parsed is shown without the credentials in it."""

import contextlib
import io
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import tyro

from orchestrator.redaction import public_arguments

T = TypeVar("T")


def parse(what: Callable[..., T], arguments: Sequence[str] | None, **settings: Any) -> T:
    """Call `what` with the typed `arguments`, by default those of this process, and return what it returns.

    `settings` are those of `tyro.cli`. Ends the process, as tyro does, with a text on what cannot be used.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    shown = public_arguments(given)
    if shown == given:
        return tyro.cli(what, args=given, **settings)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            return tyro.cli(what, args=given, **settings)
    except SystemExit:
        # Its text repeats what it cannot use, in a box whose lines may break within a password.
        tyro.cli(what, args=shown, **settings)
        raise
