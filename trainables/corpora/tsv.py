"""Tables of tab-separated values, as Common Voice writes them and as spreadsheets, R and editors write them again.

Common Voice quotes nothing: its sentences begin with quotation marks, hold doubled ones and ones without a partner
(CorporaCreator#108, coqui-ai/STT#2321). A line is therefore taken as it stands, unless it cannot be a row so. Only
then is it read as CSV, in which a field in quotation marks may hold tabs and line breaks, and a mark is doubled, or
in R's `write.table` comes after a backslash.
"""

import codecs
import csv
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from itertools import islice, tee
from pathlib import Path
from typing import NamedTuple

MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16's, with which it begins
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
SEPARATORS = {",": "commas", ";": "semicolons", "|": "vertical bars", " ": "spaces"}
LONGEST = 100
"""Lines of one row at most: a quotation mark that nothing closes is not sought to the end of the file."""
ESCAPED = re.compile(r'\\"(?=[^"\t\r\n]|"(?:[\t\r\n]|$))')
"""R's escaped quotation mark. A backslash before a mark that ends a field is only a backslash."""


class Row(NamedTuple):
    """One row: its values by column, or why it has none."""

    line: int
    """The line that it begins at, counted from 1 as an editor does."""
    values: dict[str, str]
    fault: str = ""


@dataclass(frozen=True)
class Columns:
    """The header of a table, and which of its columns a row cannot do without."""

    names: Sequence[str]
    key: int
    """Index of a column whose values never begin with a quotation mark of their own."""
    least: int
    """Fields that a row has at least: after them come only columns that may be empty."""

    def fit(self, fields: Sequence[str]) -> bool:
        """Whether fields are a row. Editors and spreadsheets trim the tabs of empty fields at the end of a line."""
        return self.least <= len(fields) <= len(self.names)

    def seem_quoted(self, fields: Sequence[str]) -> bool:
        """Whether a line that was split at its tabs is CSV: it is no row, its key is quoted, or it ends in a quote."""
        if not self.fit(fields) or fields[self.key].startswith('"'):
            return True
        return fields[-1].startswith('"') and not fields[-1].endswith('"')

    def row(self, line: int, fields: Sequence[str]) -> Row:
        """The row of fields that begin at a line."""
        try:
            "".join(fields).encode()
        except UnicodeEncodeError:  # bytes that did not decode come as lone surrogates
            return Row(line, {}, "holds bytes that are not UTF-8")
        if not self.fit(fields):
            return Row(line, {}, f"{len(fields)} fields, must be {len(self.names)}")
        if fields[self.key].startswith('"'):
            return Row(line, {}, "its quotation marks do not pair: inside a field they must be doubled")
        missing = [""] * (len(self.names) - len(fields))
        return Row(line, dict(zip(self.names, [*fields, *missing], strict=True)))


def rows(path: Path, required: Sequence[str], filled: Collection[str], key: str) -> Iterator[Row]:
    """The rows of a table in the order of its file, which is read line by line.

    `required` are columns that the header must have. A row may end before the columns that are neither those nor
    `filled`, which are never empty: where one of these is missing, a stray line break has cut the row. No value of
    `key` begins with a quotation mark.
    Raises ValueError when the file cannot be read, or its header lacks a column, naming the cause where it can be told.
    """
    with _reading(path):
        encoding, newline = _form(path)
        # Either way a row with what does not decode has lone surrogates.
        errors = "surrogateescape" if encoding.startswith("utf-8") else "surrogatepass"
        with path.open(encoding=encoding, errors=errors, newline=newline) as file:
            (lines,) = tee(file, 1)  # its copies look ahead
            names = _header(path, next(lines, ""), required)
            if _has_row_names(lines, len(names)):
                names = ["", *names]
            least = 1 + max(i for i, name in enumerate(names) if name in required or name in filled)
            yield from _rows(lines, Columns(names, names.index(key), least))


def blocks(path: Path) -> Iterator[bytes]:
    """The bytes of a table, in pieces. Raises ValueError when the file cannot be read."""
    with _reading(path), path.open("rb") as file:
        while block := file.read(1 << 20):
            yield block


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ValueError(f"The table {path} must be readable, but is not: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        text = f"The table {path} must be {error.encoding} from its start to its end, but is not: {error.reason}."
        raise ValueError(text) from error


def _rows(lines: Iterator[str], columns: Columns) -> Iterator[Row]:
    number, ahead = 2, copy(lines)
    for line in lines:
        fields, read = _split(line), 1
        if columns.seem_quoted(fields):
            found, count = _as_csv(ahead)
            if columns.fit(found):
                fields, read = found, count
        yield columns.row(number, fields)
        number += read
        for _ in islice(lines, read - 1):
            pass
        ahead = copy(lines)


def _split(line: str) -> list[str]:
    return line.rstrip("\r\n").split("\t")


def _as_csv(lines: Iterator[str]) -> tuple[list[str], int]:
    """The fields of one row of CSV and the number of its lines; no fields where it is none."""
    reader = csv.reader((ESCAPED.sub('""', line) for line in islice(lines, LONGEST)), delimiter="\t", strict=True)
    try:
        return next(reader, []), reader.line_num
    except csv.Error:
        return [], 0


def _has_row_names(lines: Iterator[str], width: int) -> bool:
    """Whether each row has a number before its fields: R names rows by default, and gives the names no header."""
    ahead = copy(lines)
    first = [_as_csv(ahead)[0] for _ in range(2)]
    return all(len(fields) == width + 1 and fields[0].isdecimal() for fields in first if fields) and any(first)


def _form(path: Path) -> tuple[str, str | None]:
    """A table's encoding by its byte order mark, and its line ends for `open`.

    Where they are LF, a CR stays where it is, in a sentence or at the end of a line. Old Macs end lines with CR alone.
    """
    with path.open("rb") as file:
        start = file.read(4)
    encoding = next((name for mark, name in MARKS.items() if start.startswith(mark)), "utf-8")
    with path.open(encoding=encoding, errors="replace", newline="") as file:
        end = re.search(r"\r*\n|\r", file.read(1 << 16))
    return encoding, None if end and end[0] == "\r" else "\n"


def _header(path: Path, line: str, required: Sequence[str]) -> list[str]:
    """The names of the columns. Raises ValueError, naming the cause where it can be told, when one is missing."""
    names = _split(line)
    if line.startswith('"'):
        names = _as_csv(iter([line]))[0] or names
    missing = [name for name in required if name not in names]
    if not missing:
        return names
    must = f"The header of {path} must have {', '.join(missing)}"
    if "\0" in line:
        raise ValueError(f"{must}, but has zero bytes, as UTF-16 without a byte order mark has; save it as UTF-8.")
    for separator, spoken in SEPARATORS.items():
        if set(required) <= {part.strip(' "\ufeff') for part in "\t".join(names).split(separator)}:
            raise ValueError(f"The fields of {path} must be separated by tabs, but are by {spoken} instead.")
    if near := [name for name in names if name.strip(' "\xa0\ufeff').lower() in missing]:
        raise ValueError(f"{must} in lower case and with nothing around them, but has {str(near)[1:-1]} instead.")
    shown = str(names) if len(line) < 1000 else f"{str(names)[:1000]}…"
    raise ValueError(f"{must}, but is {shown} instead.")
