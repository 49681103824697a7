"""A table as a LaTeX document that compiles as it is, with pdflatex or lualatex."""

import unicodedata
from itertools import compress

from orchestrator.results.sheet import Entry, Line, Sheet, SheetRow, letter

SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$", "|": r"$|$",
    '"': r"\textquotedbl{}",
    "λ": r"$\lambda$", "σ": r"$\sigma$", "β": r"$\beta$", "ε": r"$\varepsilon$", "±": r"$\pm$", "−": r"$-$",
    "×": r"$\times$", "·": r"$\cdot$", "≤": r"$\leq$", "≥": r"$\geq$", "≈": r"$\approx$", "→": r"$\to$",
    "†": r"\textsuperscript{\dag}", "‡": r"\textsuperscript{\ddag}", "…": r"\ldots{}", "–": "--", "—": "---",
    "‘": "`", "’": "'", "“": "``", "”": "''", "\N{NO-BREAK SPACE}": "~", "\n": " ",
}  # fmt: skip
PREAMBLE = r"""\documentclass[10pt]{article}
\usepackage{iftex}
\ifPDFTeX
  \usepackage[utf8]{inputenc}
  \usepackage[T1]{fontenc}
\else
  \usepackage{fontspec}
\fi
\usepackage{lmodern}
\usepackage{textcomp}
\usepackage{booktabs}
\usepackage{longtable}
\usepackage[a4paper,margin=15mm%ORIENTATION%]{geometry}
\setlength{\tabcolsep}{3.5pt}
\setcounter{LTchunksize}{10000} % the columns are as wide on all pages, in the first run too
\setlength{\parindent}{0pt}
\begin{document}
\footnotesize
"""
WIDE = 5
"""Results from which on the page is turned."""


def latex(table: Sheet) -> str:
    """A whole document with one long table, its best in bold, and the notes under it."""
    labels = list(compress(map(escaped, table.stub), table.labelled))
    headings = [*labels, *map(escaped, table.headings), *(["comparable?"] if table.compared else [])]
    columns = "l" * len(labels) + "r" * len(table.headings) + "l" * table.compared
    head = [r"\toprule", _row(headings), r"\midrule"]
    turned = ",landscape" if len(table.headings) > WIDE else ""
    return "\n".join(
        [
            PREAMBLE.replace("%ORIENTATION%", turned) + rf"\begin{{longtable}}{{@{{}}{columns}@{{}}}}",
            rf"\multicolumn{{{len(columns)}}}{{@{{}}l@{{}}}}{{\textbf{{{escaped(table.title)}}}}}\\[1ex]",
            *head,
            r"\endfirsthead",
            *head,
            r"\endhead",
            r"\bottomrule",
            r"\endfoot",
            *_body(table),
            r"\end{longtable}",
            *_notes(table),
            r"\end{document}",
            "",
        ]
    )


def _body(table: Sheet) -> list[str]:
    lines = []
    for i, (group, rows) in enumerate(table.groups):
        if i:
            lines.append(r"\midrule")
        for j, row in enumerate(rows):
            lines += _lines(row, group if j == 0 else "", table)
    return lines


def _lines(row: SheetRow, group: str, table: Sheet) -> list[str]:
    found = []
    for i, (label, line) in enumerate(zip(row.labels, row.lines, strict=True)):
        labels = compress([escaped(group if i == 0 else ""), escaped(label), line.whose], table.labelled)
        more = [escaped(line.comparable)] if table.compared else []
        # The lines of one row stay on one page.
        found.append(_row([*labels, *(_entry(e, line) for e in line.entries), *more], together=i + 1 < len(row.lines)))
    return found


def _row(cells: list[str], *, together: bool = False) -> str:
    return " & ".join(cells) + (r" \\*" if together else r" \\")


def _entry(entry: Entry, line: Line) -> str:
    number = rf"\textbf{{{escaped(entry.number)}}}" if entry.best else escaped(entry.number)
    parts = [number + (SPECIAL["†"] if entry.significant else "")]
    if entry.spread:
        parts.append(rf"{{\scriptsize {escaped(entry.spread)}}}")
    parts += [rf"{{\scriptsize ({escaped(text)})}}" for text in (entry.part, entry.distance) if text]
    return "~".join(parts)


def _notes(table: Sheet) -> list[str]:
    notes = [escaped(note) for note in table.notes]
    if table.subtracted:
        notes.append("In parentheses: ours minus the paper's.")
    if table.reasons and table.compared:
        reasons = " ".join(f"{letter(i)}: {escaped(reason)}" for i, reason in enumerate(table.reasons))
        notes.append(f"Not comparable with the paper's numbers: {reasons}")
    return [line for note in notes for line in (note, "")]


def escaped(text: str) -> str:
    """Text that LaTeX sets as it stands; a letter that its fonts may not have becomes its code point."""
    return "".join(_escaped(character) for character in unicodedata.normalize("NFC", text))


def _escaped(character: str) -> str:
    if character in SPECIAL:
        return SPECIAL[character]
    # Up to there, T1 has all letters that have a name in Latin scripts; inputenc stops at what it does not know.
    latin = character.isascii() or (ord(character) < 0x180 and character.isalpha() and character not in "ĉĦħĸĿŀŉŦŧſ")
    return character if latin and character.isprintable() else f"[U+{ord(character):04X}]"
