"""Requests of a person or of a cluster to end, which no library may swallow.

A signal raises KeyboardInterrupt in the main thread, wherever that is: also in a callback from C or in a finaliser,
where Python prints an exception and goes on, and in a library that catches it. So the signal is noted besides, and
what runs again and again, such as Tune's loop through its callback and its queue, asks with `check`.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

INTERRUPTED = 130
"""Exit code of an interrupted process, as shells have it."""

_asked = threading.Event()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Take a request to terminate, such as `ray job stop`'s, as an interrupt: what is open is closed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _asked.clear()
    before = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check() -> None:
    """Raises KeyboardInterrupt if this process was asked to end since `interruptible` began."""
    if _asked.is_set():
        raise KeyboardInterrupt


def _interrupt(number: int, frame: Any) -> None:
    _asked.set()
    raise KeyboardInterrupt
