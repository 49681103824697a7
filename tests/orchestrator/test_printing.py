import io
import sys
from collections.abc import Callable

import pytest

from orchestrator import printing
from trainables.printing import escape_output


@pytest.mark.parametrize("escape", [printing.escape_output, escape_output], ids=["orchestrator", "trainables"])
def test_what_an_encoding_lacks_is_printed_as_an_escape(
    escape: Callable[[], None], ascii_output: Callable[[], io.BytesIO]
) -> None:
    printed = ascii_output()
    with pytest.raises(UnicodeEncodeError):
        print("\u03bb")
    escape()
    print("\u03bb = \xbd, caf\udce9")
    assert printed.getvalue() == b"\\u03bb = \\xbd, caf\\udce9\n"


def test_an_output_of_another_kind_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of a notebook, or none at all."""
    for output in (io.StringIO(), None):
        monkeypatch.setattr(sys, "stdout", output)
        printing.escape_output()


def test_a_printable_text_has_lines_and_all_letters_but_no_control_characters() -> None:
    text = "\u010de\u0161tina\t\u65e5\u672c\u8a9e\n\U0001f600 a\\x00"
    assert printing.printable(text) == text
    assert printing.printable("a\x00b\x1b[0m\r\x7f \ud800 caf\udce9") == "a\\x00b\\x1b[0m\\r\\x7f \\ud800 caf\\udce9"
