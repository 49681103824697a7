r"""n-gram models as ARPA files, plain or in gzip, as SRILM, KenLM and all others write them.

    \data\
    ngram 1=5
    ngram 2=1

    \1-grams:
    -99     <s>     -0.30103        log10 p(word), the word, log10 of the back-off weight where there is one
    …
    \2-grams:
    -0.4771213      the cat         log10 p(cat | the)

    \end\
"""

import gzip
import math
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from trainables.language.ngram import ORDERS, UNKNOWN, Ngram, Words

DIGITS = 7
"""Digits after the point; KenLM reads single precision, which has as many in all."""
Entry = tuple[Words, tuple[float, float]]


def write(model: Ngram, path: Path) -> None:
    """Write a model; what is read back has its values to `DIGITS` digits, and is written as the same bytes."""
    by_order: list[list[Words]] = [[] for _ in range(model.order)]
    for ngram in sorted(model.entries):
        by_order[len(ngram) - 1].append(ngram)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("\\data\\\n")
        file.writelines(f"ngram {order}={len(ngrams)}\n" for order, ngrams in enumerate(by_order, 1))
        for order, ngrams in enumerate(by_order, 1):
            file.write(f"\n\\{order}-grams:\n")
            for ngram in ngrams:
                value, back_off = (f"{number:.{DIGITS}f}" for number in model.entries[ngram])
                weight = f"\t{back_off}" if order < model.order and float(back_off) else ""
                file.write(f"{value}\t{' '.join(ngram)}{weight}\n")
        file.write("\n\\end\\\n")


def read(path: Path) -> Ngram:
    """The model of an ARPA file of at most 4 words.

    Raises ValueError where there is no such file, or it is damaged: its text, a number, a count, its end.
    """
    with _opened(path) as file:
        lines = _Lines(path, file)
        if len(counts := lines.header()) not in ORDERS:
            raise ValueError(
                f"An ARPA file must have n-grams of {ORDERS[0]} to {ORDERS[-1]} words to be read here, but {path} has "
                f"them of up to {len(counts)}."
            )
        entries: dict[Words, tuple[float, float]] = {}
        for order, count in enumerate(counts, 1):
            for ngram, values in lines.section(order, count, longest=order == len(counts)):
                if ngram in entries:
                    raise lines.wrong(f"must not have {' '.join(ngram)!r} twice")
                entries[ngram] = values
        lines.end()
    try:
        return Ngram(entries)
    except ValueError as error:
        raise ValueError(f"{path} must be a language model, but is damaged: {error}") from error


def counts(path: Path) -> tuple[int, ...]:
    """How many n-grams of each order an ARPA file of any order says it has, by its first lines alone.

    Raises ValueError where it does not say.
    """
    with _opened(path) as file:
        return _Lines(path, file).header()


def words(path: Path) -> list[str]:
    """The vocabulary of an ARPA file of any order, marks of sentences included, in its order; the rest is not read.

    Raises ValueError where its beginning is damaged.
    """
    with _opened(path) as file:
        lines = _Lines(path, file)
        header = lines.header()
        return [ngram[0] for ngram, _ in lines.section(1, header[0], longest=len(header) == 1)]


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    if not os.path.isfile(path):
        raise ValueError(f"A language model must be an ARPA file, but {path} is none.")
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rt", encoding="utf-8") if zipped else path.open(encoding="utf-8") as file:
            yield file
    except UnicodeDecodeError as error:
        raise ValueError(f"An ARPA file must be in UTF-8, but {path} is not: {error.reason}.") from error
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"An ARPA file must be whole, but {path} cannot be read: {error}.") from error


class _Lines:
    """The lines of an ARPA file, one part after the other, and the number of the one that was read last."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self.path, self.file, self.number, self.line = path, file, 0, ""

    def wrong(self, must: str) -> ValueError:
        """An error that says what the line `must` have been."""
        return ValueError(f"An ARPA file {must}, but line {self.number} of {self.path} is {self.line!r}.")

    def header(self) -> tuple[int, ...]:
        r"""The counts between `\data\` and the first n-grams, whose title is the current line then."""
        while self._next() != "\\data\\":  # anything may stand before
            if self.line == "" and self.ended:
                raise self.wrong("must have \\data\\ before its counts")
        found: list[int] = []
        while not (line := self._next()).startswith("\\"):
            if not line and not self.ended:
                continue
            name, _, count = line.partition("=")
            if name.split() != ["ngram", str(len(found) + 1)] or not count.strip().isdecimal():
                raise self.wrong(f"must have counts such as ngram {len(found) + 1}=1000 after \\data\\")
            found.append(int(count))
        if not found:
            raise self.wrong("must have counts such as ngram 1=1000 after \\data\\")
        return tuple(found)

    def section(self, order: int, count: int, *, longest: bool) -> Iterator[Entry]:
        """The n-grams of an order, of which there must be `count`; the current line is their title, and then the next.

        The `longest` ones have no back-off weights.
        """
        if self.line != f"\\{order}-grams:":
            raise self.wrong(f"must have \\{order}-grams: after what is shorter")
        seen = 0
        while not (line := self._next()).startswith("\\") and not self.ended:
            if line:
                seen += 1
                yield self._entry(line, order, longest)
        if seen != count:
            raise self.wrong(f"must have the {count} n-grams of {order} words that it counts, and not {seen}")

    def end(self) -> None:
        r"""See that the current line is `\end\`, and that nothing follows."""
        if self.line != "\\end\\":
            raise self.wrong("must end with \\end\\")
        while not self._next():
            if self.ended:
                return
        raise self.wrong("must end with \\end\\")

    def _next(self) -> str:
        raw = self.file.readline()
        self.ended = not raw
        self.number += 1
        self.line = raw.strip(" \t\r\n")
        return self.line

    def _entry(self, line: str, order: int, longest: bool) -> Entry:
        # Not all white space of Unicode parts words, only what the format's tools know.
        parts = [part for part in line.replace("\t", " ").split(" ") if part]
        if len(parts) not in ((order + 1,) if longest else (order + 1, order + 2)):
            weight = "" if longest else " and perhaps a back-off weight"
            raise self.wrong(f"must have a log probability, {order} words{weight} in each line of \\{order}-grams:")
        probability = self._number(parts[0])
        if probability > 0:
            raise self.wrong("must have log probabilities that are not above 0")
        ngram = tuple(UNKNOWN if word == "<UNK>" else word for word in parts[1 : order + 1])
        return ngram, (probability, self._number(parts[-1]) if len(parts) > order + 1 else 0.0)

    def _number(self, text: str) -> float:
        try:
            number = float("" if "_" in text else text)  # 1_0 is a number to Python alone
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise self.wrong(f"must have a finite number where {text!r} stands")
        return number
