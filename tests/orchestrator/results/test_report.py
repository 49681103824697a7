"""A study rendered from its ledger alone."""

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from orchestrator.report import main
from orchestrator.results.report.transcripts import LONGEST, Piece, Transcripts, align, shortened
from orchestrator.study.layout import ByAxis, Curves, Layout
from orchestrator.study.storage import Storage
from orchestrator.study.stored_study import Study, Submission
from orchestrator.study.sweep import Sweep
from orchestrator.study.table import Choice, Column, Published, Row, Table
from orchestrator.study.value import Value
from tests.orchestrator.stored import store
from tests.toy.recipe import Toy


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small study, rendered once."""
    folder = tmp_path_factory.mktemp("stored") / "study"
    store(Storage.at(str(folder)), ["cs", "ar"], seeds=(1, 2), notes=["A <script>note</script>."])
    assert main([str(folder)]) == 0
    return folder


def files(folder: Path) -> dict[str, bytes]:
    rendered = [p for p in folder.rglob("*") if p.is_file() and "trials" not in p.parts and p.suffix != ".json"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in rendered}


def page(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def test_rendering_again_gives_the_same_bytes(stored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(stored), "--to", str(tmp_path / "again")]) == 0
    told = capsys.readouterr().out
    assert f"Table: {tmp_path}/again/table1.md (.tex, .csv, .html); report: {tmp_path}/again/report.html" in told
    assert files(tmp_path / "again") == files(stored)
    assert {"table1.md", "table1.tex", "table1.csv", "table1.html", "report.html"} <= files(stored).keys()
    assert {"figures/cer_by_weight.png", "figures/curves_cs.svg"} <= files(stored).keys()


def test_an_output_without_such_letters_gets_escapes(
    stored: Path, tmp_path: Path, ascii_output: Callable[[], io.BytesIO]
) -> None:
    printed = ascii_output()
    assert main([str(stored), "--to", str(tmp_path / "ag\xe9\xe9\u011b")]) == 0
    assert rb"\u03bb = 0.5" in printed.getvalue()
    assert rb"/ag\xe9\xe9\u011b/report.html" in printed.getvalue()


def test_the_report_needs_nothing_but_itself(stored: Path) -> None:
    found = re.findall(r"(?:src|href)=\"([^\"]+)\"", page(stored))
    assert all(link.startswith(("#", "data:")) for link in found)
    anchors = set(re.findall(r"id=\"([^\"]+)\"", page(stored)))
    assert {link[1:] for link in found if link.startswith("#")} <= anchors
    assert not re.search(r"url\(|@import|<script|<audio", page(stored))
    assert all(f"<h{level}" in page(stored) for level in (1, 2, 3, 4))
    assert page(stored).count("<table") == page(stored).count("<caption")


def test_the_report_names_no_speaker_and_no_place(stored: Path) -> None:
    assert "secret" not in page(stored)
    assert re.search(r"clip_\d{4} · speaker \d+", page(stored))
    assert str(stored) not in page(stored)


def test_the_report_says_what_a_reviewer_asks(stored: Path) -> None:
    text = re.sub(r"<[^>]+>", "", page(stored))
    for part in (
        "20 of 20 trials are finished",
        "Worst utterances of cs, λ = 0.5, seed 1",
        "by bootstrap over 12 speakers",
        "Holm-adjusted",
        "deviation over seeds",
        "test WER",
        "2 GPU hours; 2 trials, 2 attempts",
        "2 × too long",
        "Audio seconds per second, median",
        "Waiting for data, %, median",
        "python sweeps/commonvoice20.py --data release",
        "Czech ours: 0.24 h; paper: 1 h, 14.9 GB\n",
    ):
        assert part in text, part


def test_deleted_characters_that_show_nothing_are_named(tmp_path: Path) -> None:
    store(Storage.at(str(tmp_path)), ["cs"], utterances=4)
    deleted = {
        "C": {"\u0085": 7, "\t": 5, "\u202e": 4, "\x00": 1}, "Z": {"\u2028": 3},
        "M": {"\u0307": 2, "\ufe0f": 1}, "S": {"\u2800": 1, "<": 1},
    }  # fmt: skip
    for path in tmp_path.glob("trials/*/files/audit.json"):
        audit = json.loads(path.read_text())
        audit["test"]["deleted"] = deleted
        path.write_text(json.dumps(audit, ensure_ascii=False), encoding="utf-8")
    assert main([str(tmp_path)]) == 0
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page(tmp_path)))
    for part in (
        "controls 17 (U+0085 NEXT LINE 7, U+0009 CHARACTER TABULATION 5, U+202E RIGHT-TO-LEFT OVERRIDE 4, U+0000 1)",
        "separators 3 (U+2028 LINE SEPARATOR 3)",
        "marks 3 (◌\u0307 2, U+FE0F VARIATION SELECTOR-16 1)",
        "symbols 2 (U+2800 BRAILLE PATTERN BLANK 1, &lt; 1)",
    ):
        assert part in text, part
    assert not {c for counts in deleted.values() for c in counts if not c.isprintable()} & set(text)


def test_a_study_from_before_layouts_were_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(Storage.at(str(tmp_path)), ["cs"])
    (tmp_path / "layout.json").unlink()
    assert main([str(tmp_path)]) == 2
    assert f"The study in {tmp_path} must have a layout.json, but has none" in capsys.readouterr().err


def test_no_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert f"A study must have a study.json, but {tmp_path} has none." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("study.json", "{", r"study\.json must be as this program wrote it, but is damaged"),
        ("study.json", '{"format": 1}', "must have format 2, but has 1"),
        ("layout.json", "{}", r"layout\.json must be as this program wrote it, but is damaged: .*name"),
        ("layout.json", "[", r"layout\.json must be as this program wrote it, but is damaged"),
        ("trials/*/recipe.json", "{}", r"recipe\.json must be as this program wrote it, but is damaged"),
        ("trials/*/result.json", "[]", r"result\.json must be as this program wrote it, but is damaged"),
        ("trials/*/history.json", "{}", r"history\.json must be as this program wrote it, but is damaged"),
        ("trials/*/files/utterances.parquet", "x", r"utterances\.parquet must be transcripts that can be read"),
        ("trials/*/files/audit.json", "{", r"audit\.json must be as this program wrote it, but is damaged"),
    ],
)
def test_a_damaged_file_is_named(
    name: str, content: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(Storage.at(str(tmp_path)), ["cs"], utterances=4)
    for path in tmp_path.glob(name):
        path.write_text(content)
    assert main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(sentence, error), error


def test_unfinished_trials_are_shown_as_such(tmp_path: Path) -> None:
    store(Storage.at(str(tmp_path)), ["cs"], utterances=4)
    trials = sorted(path.parent for path in tmp_path.glob("trials/*/result.json"))
    (trials[0] / "result.json").unlink()
    result = json.loads((trials[1] / "result.json").read_text())
    (trials[1] / "result.json").write_text(json.dumps(result | {"status": "failed", "reason": "<i>no</i> luck"}))
    assert main([str(tmp_path)]) == 0
    table = (tmp_path / "table1.md").read_text()
    assert "| … |" in table
    assert "| failed |" in table
    assert "&lt;i&gt;no&lt;/i&gt; luck" in page(tmp_path)
    assert "3 of 5 trials are finished" in page(tmp_path)


def test_what_a_name_holds_ends_no_report(tmp_path: Path) -> None:
    """Neither control characters nor bytes that are not UTF-8, wherever they stand."""
    odd = "a\x00b\x1b[31m\u202e $_$ <b> | \\ caf\udce9"
    ledger = store(Storage.at(str(tmp_path)), ["cs"], utterances=4)
    submission = Study.at(str(tmp_path)).submission
    tables = [replace(table, data=odd, reasons=[odd], notes=[odd]) for table in submission.layout.tables]
    recipe = Toy(language="cs", seconds=0)
    sweep = Sweep("stored", [recipe], axes=("language",))
    made = Submission.of(
        sweep, replace(submission.layout, tables=tables), f"python sweeps/commonvoice20.py --data '{odd}'"
    )
    replace(made, trials=submission.trials).write(Storage.at(str(tmp_path)))
    for path in tmp_path.glob("trials/*/files/utterances.parquet"):
        rows = parquet.read_table(path).to_pylist()
        strange = [row | {"id": f"{i}{odd[:-1]}", "speaker": f"{i}{odd[:-1]}"} for i, row in enumerate(rows)]
        parquet.write_table(pa.Table.from_pylist(strange), path)
    failed = Study.at(str(tmp_path)).trials[0].signature
    ledger.trial(failed).write("result.json", json.dumps({"status": "failed", "reason": odd}))
    assert main([str(tmp_path)]) == 0
    assert "caf\\udce9" in page(tmp_path)
    assert "caf\\\\udce9" in (tmp_path / "table1.md").read_text(encoding="utf-8")


def test_a_trial_that_nobody_asks_for_any_more_is_left_out_until_it_has_a_result(tmp_path: Path) -> None:
    ledger = store(Storage.at(str(tmp_path)), ["cs", "ro"], utterances=4)
    submission = json.loads((tmp_path / "layout.json").read_text())
    submission["trials"] = [t for t in submission["trials"] if t["fields"]["corpus.language"] == "cs"]
    (tmp_path / "layout.json").write_text(json.dumps(submission))
    assert main([str(tmp_path)]) == 0
    assert "Romanian" in (tmp_path / "table1.md").read_text()
    for path in tmp_path.glob("trials/*/recipe.json"):
        if json.loads(path.read_text())["fields"]["corpus"]["language"] == "ro":
            ledger.trial(path.parent.name).delete("result.json")
    assert main([str(tmp_path)]) == 0
    assert "Romanian" not in (tmp_path / "table1.md").read_text()


def test_all_commands_that_made_a_study_are_kept(stored: Path, tmp_path: Path) -> None:
    storage, submission = Storage.at(str(tmp_path)), Study.at(str(stored)).submission
    commands = ["python a.py --seeds 1 2", "python a.py --languages ro", "python a.py --seeds 1 2"]
    for command in commands:
        replace(submission, command=command).write(storage)
    text = (tmp_path / "layout.json").read_text()
    assert json.loads(text)["command"].splitlines() == commands[1:], "each once, the last as it was given last"
    (tmp_path / "layout.json").write_text("{")
    submission.write(storage)
    assert json.loads((tmp_path / "layout.json").read_text())["command"] == submission.command


def test_it_is_rendered_without_torch_ray_and_mlflow(stored: Path, tmp_path: Path) -> None:
    code = f"import sys; from orchestrator.report import main; main([{str(stored)!r}, '--to', {str(tmp_path)!r}])"
    code += "; sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'trainables', 'ray', 'mlflow')))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=120).returncode == 0


def test_an_alignment_is_of_the_fewest_edits() -> None:
    assert align("kočka", "kočky") == [Piece("kept", "kočk"), Piece("gone", "a"), Piece("new", "y")]
    assert align("ab", "") == [Piece("gone", "ab")]
    assert align("a b", "ab") == [Piece("kept", "a"), Piece("gone", " "), Piece("kept", "b")]
    long = list(shortened([Piece("kept", "x" * (LONGEST - 1)), Piece("gone", "yz"), Piece("new", "w")]))
    assert long[1:] == [Piece("gone", "y…")]


def row(name: str, reference: str, hypothesis: str, errors: int, length: int | None = None) -> dict[str, object]:
    counted = {"cer_errors": errors, "cer_length": len(reference) if length is None else length}
    return {"id": name, "speaker": "", "reference": reference, "hypothesis": hypothesis, **counted}


def test_the_worst_the_changed_and_the_confused() -> None:
    mine = Transcripts([row("a", "abc", "abd", 1), row("b", "ab", "", 2), row("c", "x", "x", 0)], "cer")
    other = Transcripts([row("a", "abc", "abc", 0), row("b", "ab", "", 2), row("c", "x", "xyz", 2)], "cer")
    assert [(found.id, found.errors) for found in mine.worst()] == [("b", 2), ("a", 1)]
    assert [(found.id, found.before and found.before.errors) for found in mine.changed(other)] == [("c", 2), ("a", 0)]
    assert [tuple(found) for found in mine.confusions()] == [("a", "", 1), ("b", "", 1), ("c", "d", 1)]


def test_classes_are_confused_as_a_whole() -> None:
    rows = [row("a", "lights on", "lights off", 1, 1), row("b", "lights on", "lights on", 0, 1)]
    found = Transcripts(rows, "cer")
    assert [tuple(confusion) for confusion in found.confusions()] == [("lights on", "lights off", 1)]
    assert (found.classes, found.metrics) == (True, {"cer"})
    wrong, right = (found.recognised(each).pieces for each in rows)
    assert wrong == (Piece("gone", "lights on"), Piece("kept", " "), Piece("new", "lights off"))
    assert right == (Piece("kept", "lights on"),)


def test_a_study_of_several_tables_whose_rows_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [Row(f"w{w:g}", f"λ = {w:g}", {"weight": w, "student.encoder.kind": "pretrained"}) for w in (0.0, 0.5)]
    columns = [Column(metric, metric.upper(), value=Value(f"test/{metric}")) for metric in ("cer", "wer")]
    cer = Value("test/cer")
    methods = Table("methods", "Methods", rows, columns, cer, compared="rows", baseline="w0", data="speech")
    peers = [
        Row("others", "Others et al.", None),
        Row("best", "ours", choice=Choice(["w0", "w0.5"], cer, "Note.", "methods")),
    ]
    published = Published({"others": {"cer": 3.5}})
    second = Table("peers", "Peers", peers, columns[:1], cer, published, compared="rows")
    figures = [ByAxis("by_weight", "By λ.", "methods", "weight", "λ"), Curves("curves", "methods", Value("valid/cer"))]
    store(Storage.at(str(tmp_path)), ["cs"], utterances=8, tables=Layout([methods, second], figures))
    assert main([str(tmp_path)]) == 0
    assert f"Tables: {tmp_path}/methods.md, peers.md (.tex, .csv, .html)" in capsys.readouterr().out
    assert {"methods.csv", "peers.tex", "figures/by_weight.png", "figures/curves_cer.svg"} <= files(tmp_path).keys()
    test_the_report_needs_nothing_but_itself(tmp_path)
    text = re.sub(r"<[^>]+>", "", page(tmp_path))
    for part in (
        "CER: learning curves of its trials.",
        "λ = 0.5, WER: ",
        "95 % interval",
        "difference to the baseline",
        "ours, CER: λ = 0.",
        "Note.",
        "Others et al.",
        "Methods on speech. 2 of 2 trials are finished",
    ):
        assert part in text, part
