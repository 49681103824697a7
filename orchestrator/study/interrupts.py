"""A person's or a cluster's request to end, which no library may swallow."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

INTERRUPTED = 130
"""Exit code of what was interrupted, as a shell's."""

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
    """Raises KeyboardInterrupt when one was asked for: the first may have been raised where exceptions are ignored."""
    if _asked.is_set():
        raise KeyboardInterrupt


def _interrupt(number: int, frame: Any) -> None:
    _asked.set()
    raise KeyboardInterrupt
