"""The errors of a study that cannot begin, or cannot go on."""

import contextlib
from collections.abc import Iterator


class StudyFailed(RuntimeError):
    """A study cannot go on, or could not be recorded; the message is for the person who started it."""


class Refused(Exception):
    """A request that cannot be carried out; the cause is a ValueError for the person who asked."""


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """Raise Refused for a ValueError: around what looks at input and at files, never around a recipe.

    A recipe's own ValueError, such as PyTorch raises for shapes, needs its traceback.
    """
    try:
        yield
    except ValueError as error:
        raise Refused(str(error)) from error
