"""Tables as Common Voice has them, and as spreadsheets, R and editors leave them."""

import csv
import io
import tracemalloc
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.batch import Rejected, Utterance
from trainables.corpora.common_voice import CommonVoice

HEADER = ["client_id", "path", "sentence", "up_votes", "down_votes", "age", "gender", "accent", "locale", "segment"]
SENTENCES = ["Oba muži byli zatčeni.", '"Ano," řekl.', 'Je to 5" disk', "a\u2028b", "", '"']


def fields(sentence: str, number: int = 0) -> list[str]:
    return ["00aa", f"clip{number}.mp3", sentence, "2", "0", "", "", "", "cs", ""]


def plain(sentences: list[str] = SENTENCES, end: str = "\n") -> str:
    """A table as Common Voice writes it."""
    rows = [HEADER, *(fields(sentence, i) for i, sentence in enumerate(sentences))]
    return "".join("\t".join(row) + end for row in rows)


def written(sentences: list[str], quoting: Literal[0, 1], *, quoted_header: bool = False, end: str = "\n") -> str:
    """A table as programs write it that quote."""
    file = io.StringIO()
    rows = [fields(sentence, i) for i, sentence in enumerate(sentences)]
    csv.writer(file, delimiter="\t", quoting=quoting, lineterminator=end).writerows(
        [HEADER, *rows] if quoted_header else rows
    )
    return file.getvalue() if quoted_header else "\t".join(HEADER) + end + file.getvalue()


def read(root: Path, content: bytes | str) -> list[Utterance | Rejected]:
    (root / "cs").mkdir(parents=True, exist_ok=True)
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    (root / "cs" / "train.tsv").write_bytes(data)
    return list(CommonVoice(root=str(root), language="cs").utterances("train"))


def sentences_of(found: list[Utterance | Rejected]) -> list[str]:
    assert [item for item in found if isinstance(item, Rejected)] == []
    utterances = [item for item in found if isinstance(item, Utterance)]
    assert [(item.id, item.speaker) for item in utterances] == [(f"clip{i}", "00aa") for i in range(len(found))]
    return [str(item.text) for item in utterances]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_every_line_end_with_every_byte_order_mark(tmp_path: Path, end: str, encoding: str) -> None:
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    assert sentences_of(read(tmp_path, (mark + plain(end=end)).encode(encoding))) == SENTENCES


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("quoted_header", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_quoted_fields_may_hold_quotation_marks_tabs_and_line_breaks(
    tmp_path: Path, end: str, quoted_header: bool, encoding: str
) -> None:
    sentences = [*SENTENCES, "one\ttwo", "one\ntwo\n\nthree", 'tab\tand "quotes"', "\u2029\u0085", "back\\slash\\"]
    text = written(sentences, csv.QUOTE_ALL, quoted_header=quoted_header, end=end)
    assert sentences_of(read(tmp_path, text.encode(encoding))) == sentences


def test_writers_that_quote_where_they_must(tmp_path: Path) -> None:
    sentences = ["Ahoj.", "one\ttwo", "Ahoj.", "one\ntwo", "tab\tand\nbreak", "Ahoj."]
    assert sentences_of(read(tmp_path, written(sentences, csv.QUOTE_MINIMAL))) == sentences


QUOTATIONS = ['"', '"Ano," řekl.', '"""Ano,"" řekl."', '"Ahoj."', 'Řekl "ne', '""', '"a', 'b"', '\\"', "'", "a\rb"]


@pytest.mark.parametrize("sentence", QUOTATIONS)
def test_common_voice_quotes_nothing_and_its_sentences_stay_as_they_are(tmp_path: Path, sentence: str) -> None:
    sentences = ["Ahoj.", sentence, "Ahoj.", sentence]
    assert sentences_of(read(tmp_path, plain(sentences))) == sentences


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text('a" \\,', max_size=6) | st.sampled_from(QUOTATIONS), max_size=5))
def test_no_sentence_of_an_untouched_table_changes(tmp_path_factory: pytest.TempPathFactory, found: list[str]) -> None:
    assert sentences_of(read(tmp_path_factory.mktemp("r"), plain(found))) == found


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text('a"\t\n ,', max_size=6), max_size=5), st.booleans())
def test_what_is_quoted_comes_back(
    tmp_path_factory: pytest.TempPathFactory, found: list[str], quoted_header: bool
) -> None:
    text = written(found, csv.QUOTE_ALL, quoted_header=quoted_header)
    assert sentences_of(read(tmp_path_factory.mktemp("r"), text)) == found


def test_a_sentence_in_the_last_column_may_go_on_in_the_next_line(tmp_path: Path) -> None:
    sentences = ['"one\ntwo"', '"Ne', '"Ano," řekl.']
    rows = ["client_id\tpath\tsentence\n", *(f"00aa\tclip{i}.mp3\t{text}\n" for i, text in enumerate(sentences))]
    assert sentences_of(read(tmp_path, "".join(rows))) == ["one\ntwo", '"Ne', '"Ano," řekl.']


@pytest.mark.parametrize("named", ["all", "some"])
@pytest.mark.parametrize("quote", ['"', ""])
def test_r_escapes_quotation_marks_and_names_rows_without_a_header(tmp_path: Path, quote: str, named: str) -> None:
    sentences = ["Ahoj.", 'Řekl \\"ano\\" a', 'Řekl \\"ano\\"', "Ahoj."] if quote else ["Ahoj.", "Ne.", "Ahoj."]
    lines = ["\t".join(f"{quote}{name}{quote}" for name in HEADER)]
    for i, sentence in enumerate(sentences):
        row = f"{quote}{i + 1 if named == 'all' else 17 * i + 5}{quote}"
        texts = [f"{quote}{text}{quote}" for text in fields(sentence, i)]
        texts[3:5] = "2", "0"  # numbers are not quoted, and what is missing is NA
        lines.append("\t".join([row, *texts[:-1], "NA"]))
    found = sentences_of(read(tmp_path, "\n".join([*lines, ""])))
    assert found == [sentence.replace('\\"', '"') for sentence in sentences]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_trimmed_tabs_at_the_end_of_lines(tmp_path: Path, end: str) -> None:
    sentences = ["Ahoj.", '"Ano," řekl.', '"']
    lines = [line.rstrip("\t") for line in plain(sentences).split("\n")]
    assert lines[1].endswith("\tcs")
    assert sentences_of(read(tmp_path, end.join(lines))) == sentences


def test_columns_that_may_be_empty_may_be_missing_and_no_others(tmp_path: Path) -> None:
    header = ["client_id", "path", "sentence", "age", "segment"]
    rows = [header, ["00aa", "clip0.mp3", "Ahoj."], ["00aa", "clip1.mp3", ""], ["00aa", "clip2.mp3"], ["x"] * 6]
    first, second, third, fourth = read(tmp_path, "".join("\t".join(row) + "\n" for row in rows))
    assert isinstance(first, Utterance)
    assert isinstance(second, Utterance)
    assert [first.text, second.text] == ["Ahoj.", ""]
    assert third == Rejected("line 4", "malformed row", "2 fields, must be 5")
    assert fourth == Rejected("line 5", "malformed row", "6 fields, must be 5")


def test_a_sentence_that_a_stray_line_break_cuts_is_no_sentence(tmp_path: Path) -> None:
    found = read(tmp_path, plain(["Ahoj.", "Oba muži\nbyli zatčeni.", "Ahoj."]))
    assert [item.id for item in found] == ["clip0", "line 3", "line 4", "clip2"]
    assert [item.detail for item in found if isinstance(item, Rejected)] == [
        "3 fields, must be 10", "8 fields, must be 10",
    ]  # fmt: skip


def test_rows_are_counted_as_an_editor_counts_lines(tmp_path: Path) -> None:
    text = written(["one\ntwo", "Ahoj.", "one\n\n\ntwo"], csv.QUOTE_ALL) + "broken\n"
    assert read(tmp_path, text)[-1] == Rejected("line 9", "malformed row", "1 fields, must be 10")


@pytest.mark.parametrize(
    ("bad", "detail"),
    [
        ('"00aa"\t"clip1.mp3"\t"Ahoj.\t"2"', "4 fields, must be 10"),
        ('"00aa"\t"clip1.mp3"\t"Ano," řekl."\t"2"\t"0"\t""\t""\t""\t"cs"\t""', "its quotation marks do not pair"),
        ("\t".join(fields("Ahoj\udcff.")), "holds bytes that are not UTF-8"),
        ("\t".join(f'"{text}"' for text in fields("Ahoj\udcff.")), "holds bytes that are not UTF-8"),
        ("", "1 fields, must be 10"),
        ("x" * 200_000, "1 fields, must be 10"),
        ('"' + "x" * 200_000, "1 fields, must be 10"),
    ],
)
@pytest.mark.parametrize("quoting", [csv.QUOTE_ALL, csv.QUOTE_MINIMAL])
def test_one_bad_row_takes_no_other_along(tmp_path: Path, bad: str, detail: str, quoting: Literal[0, 1]) -> None:
    lines = written(["Ahoj.", "Ahoj.", "Ahoj."], quoting).split("\n")
    lines[2] = bad
    first, second, third = read(tmp_path, "\n".join(lines))
    assert isinstance(second, Rejected)
    assert (second.id, second.reason) == ("line 3", "malformed row")
    assert second.detail.startswith(detail)
    assert [item.text for item in (first, third) if isinstance(item, Utterance)] == ["Ahoj.", "Ahoj."]


def test_half_a_character_of_utf_16_is_one_bad_row(tmp_path: Path) -> None:
    content = plain(["Ahoj.", "X", "Ahoj."]).encode("utf-16").replace("X".encode("utf-16-le"), b"\x00\xd8")
    found = read(tmp_path, content)
    assert [item.id for item in found] == ["clip0", "line 3", "clip2"]


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\r"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_a_table_of_a_header_alone_has_no_rows(tmp_path: Path, end: str, quote: str) -> None:
    assert read(tmp_path, "\t".join(f"{quote}{name}{quote}" for name in HEADER) + end) == []


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (plain().replace("\t", ","), "must be separated by tabs, but are by commas instead"),
        (plain().replace("\t", ";"), "must be separated by tabs, but are by semicolons instead"),
        (plain().replace("\t", "    "), "must be separated by tabs, but are by spaces instead"),
        ('"' + '";"'.join(HEADER) + '"\n', "must be separated by tabs, but are by semicolons instead"),
        ("\ufeff" + ",".join(HEADER), "must be separated by tabs, but are by commas instead"),
        (plain().replace("client_id", "Client_ID"), "in lower case and with nothing around them, but has 'Client_ID'"),
        (plain().replace("path", " path "), "in lower case and with nothing around them, but has ' path ' instead"),
        (plain().encode("utf-16-le"), "zero bytes, as UTF-16 without a byte order mark has; save it as UTF-8"),
        (plain().encode("utf-16")[:-1], "must be utf-16-le from its start to its end, but is not: truncated data"),
        (b"", "must have client_id, path, sentence, but is [''] instead"),
        (b"\xef\xbb\xbf", "must have client_id, path, sentence, but is [''] instead"),
        (b"PK\x03\x04\xff" * 9000, "must have client_id, path, sentence, but is ['PK\\x03\\x04\\udcffPK"),
    ],
)
def test_a_table_that_cannot_be_read_has_its_cause_named(tmp_path: Path, content: bytes | str, cause: str) -> None:
    with pytest.raises(ValueError, match=r"^The (header|fields|table) ") as error:
        read(tmp_path, content)
    sentence = str(error.value)
    assert cause in sentence
    assert str(tmp_path / "cs" / "train.tsv") in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")
    assert len(sentence) < 2000


@pytest.mark.parametrize("end", ["\n", "\r"])
@pytest.mark.parametrize("broken", ["", '"00aa"\t"x'])
def test_a_large_table_is_read_line_by_line(tmp_path: Path, end: str, broken: str) -> None:
    (tmp_path / "cs").mkdir()
    with (tmp_path / "cs" / "train.tsv").open("w", newline="") as file:
        file.write("\t".join(HEADER) + end + broken + end)
        file.writelines("\t".join(fields("Ahoj." * 20)) + end for _ in range(10_000))
    assert (tmp_path / "cs" / "train.tsv").stat().st_size > 1_000_000
    tracemalloc.start()
    try:
        assert sum(1 for _ in CommonVoice(root=str(tmp_path), language="cs").utterances("train")) == 10_001
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()


def test_a_table_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read(tmp_path, plain())

    def refuse(self: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ValueError, match=r"^The table .*train\.tsv must be readable, but is not: Permission denied\.$"):
        list(CommonVoice(root=str(tmp_path), language="cs").utterances("train"))
