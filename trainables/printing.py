"""Output that takes whatever a file's name or a transcript holds."""

import io
import sys


def escape_output() -> None:
    """From now on print what an output's encoding lacks as escapes, such as `\\u03bb`.

    UTF-8 lacks something too: the bytes of file names that are not UTF-8.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
