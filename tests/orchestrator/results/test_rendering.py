"""Every form of a table: the same bytes each time, whatever stands in it."""

import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from orchestrator.results.evidence import Evidence
from orchestrator.results.rendering import FORMS
from orchestrator.results.rendering.latex import escaped
from orchestrator.results.sheet import Sheet
from orchestrator.results.tables import sheet
from orchestrator.study.ledger import Ledger
from orchestrator.study.storage import Storage
from orchestrator.study.stored_study import Study
from orchestrator.study.table import Column, Published
from sweeps.commonvoice20 import Options, layout
from tests.orchestrator.stored import store

NASTY = r"""a_b & 50 % <script>alert("x")</script> | `c` *d* #e $f$ ^g ~h \i {j} λ “k” 日"""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Sheet:
    """Of two languages, everything in it with a text that no form takes as it is."""
    whole = layout(Options(weights=(0.0, 0.5)), NASTY, [NASTY], [NASTY])
    plain = whole.tables[0]
    rows = {"cs": {"language": NASTY, "group": NASTY, "hours": 1, "text_gb": 14.9, "finetune_0": 7.4}}
    columns = [Column(column.name, NASTY, column.where) for column in plain.columns]
    nasty = replace(whole, tables=[replace(plain, published=Published(rows, "locale"), columns=columns)])
    return first(store(Storage.at(str(tmp_path_factory.mktemp("nasty"))), ["cs", "ro"], tables=nasty))


def first(ledger: Ledger) -> Sheet:
    """The first table of a stored study."""
    study = Study.read(ledger)
    table = study.layout.tables[0]
    evidence = Evidence.of(table, study.trials, study.results, study.ledger)
    return sheet(study, table, {table.name: evidence})


class Text(HTMLParser):
    """What a browser shows, and of which elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_markdown_takes_nothing_for_markup(table: Sheet) -> None:
    lines = FORMS["md"](table).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert not any(re.search(r"<script|(?<!\\)[`$#]\w", line) for line in lines)


@pytest.mark.parametrize("form", ["md", "tex", "html"])
def test_what_no_line_has_gets_no_column_and_no_note(table: Sheet, form: str) -> None:
    """As of Table 2, which has no groups, one line a row and no differences."""
    (row, *_), whole = table.rows, FORMS[form](table)
    line = replace(row.lines[0], whose="", entries=tuple(replace(e, beside=None) for e in row.lines[0].entries))
    bare = replace(table, rows=(replace(row, group="", lines=(replace(line, comparable="yes"),)),))
    text = FORMS[form](bare)
    assert "In parentheses" in whole
    assert "In parentheses" not in text
    assert "Speech" in whole
    assert "Speech" not in text


def test_html_takes_nothing_for_markup(table: Sheet) -> None:
    page = Text(FORMS["html"](table))
    assert "script" not in page.tags
    assert page.text.count(NASTY) >= 4
    assert page.tags.count("caption") == 1


def test_csv_has_one_line_per_row(table: Sheet) -> None:
    head, *rows = csv.reader(io.StringIO(FORMS["csv"](table)))
    assert [row[0] for row in rows] == ["cs", "ro"]
    found = dict(zip(head, rows[0], strict=True))
    assert found["language"] == found["data"] == NASTY
    assert found["comparable"] == f"no: {NASTY}"
    low, rate, high = (float(found[f"finetune_0{end}"]) for end in ("_low", "", "_high"))
    assert low < rate < high


def test_latex_is_a_document_of_its_own(table: Sheet) -> None:
    text = FORMS["tex"](table)
    opened, closed = (re.findall(rf"\\{word}\{{(\w+)\}}", text) for word in ("begin", "end"))
    assert opened == ["document", "longtable"] == closed[::-1]
    for package in ("booktabs", "longtable", "inputenc"):
        assert f"{{{package}}}" in text
    body = text.partition(r"\begin{longtable}")[2]
    specification = re.match(r"\{@\{\}([lr]+)@\{\}\}", body)
    assert specification
    rows = [line for line in body.splitlines() if re.search(r"\\\\\*?$", line) and "&" in line]
    assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(specification[1])}
    assert not re.search(r"(?<!\\)[%#]", body)
    assert len(re.findall(r"(?<!\\)\{", text)) == len(re.findall(r"(?<!\\)\}", text))


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("a_b & 50 %", r"a\_b \& 50 \%"),
        ("λ = 0.5 ± 1", r"$\lambda$ = 0.5 $\pm$ 1"),
        ("čeština, ﬁn", "čeština, [U+FB01]n"),
        ("日", "[U+65E5]"),
        ("Ħŀŧ", "[U+0126][U+0140][U+0167]"),
        ("\\{}~^", r"\textbackslash{}\{\}\textasciitilde{}\textasciicircum{}"),
    ],
)
def test_latex_escapes(text: str, source: str) -> None:
    assert escaped(text) == source


def test_an_empty_table_is_one_too() -> None:
    empty = Sheet("table1", "Nothing", ("a",), ("a",), (), (), (), "no data")
    for form in FORMS.values():
        assert form(empty) == form(empty)


def test_forms_do_not_depend_on_when_or_where(tmp_path: Path) -> None:
    def forms(folder: Path) -> dict[str, str]:
        table = first(store(Storage.at(str(folder)), ["cs", "tr"]))
        return {ending: form(table) for ending, form in FORMS.items()}

    assert forms(tmp_path / "one") == forms(tmp_path / "other")
