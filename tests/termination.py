"""Asked to terminate, tests end as by an interrupt: the servers and clusters that they have started end with them.

An interrupt does not reach what a shell without job control has started in the background: `make test` terminates it.
"""

import signal
from typing import Any


def pytest_configure() -> None:
    """See pytest's hooks."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: Any) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one would stop what ends them
    raise KeyboardInterrupt
