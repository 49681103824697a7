"""Text that any output, file or database takes, whatever names and reasons hold."""

import io
import re
import sys

UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
"""Control characters but for tabs and line ends, which databases refuse and terminals obey, and lone surrogates, which
stand for bytes that are not UTF-8."""


def escape_output() -> None:
    """From now on print what an output's encoding lacks as escapes, such as `\\u03bb`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def printable(text: str) -> str:
    """A text with escapes in place of what cannot be printed or stored."""
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)
