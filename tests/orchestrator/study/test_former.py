"""A study that was stored before layouts had a format is rendered to what it had."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from orchestrator.report import main
from orchestrator.study.storage import Storage
from orchestrator.study.stored_study import Study, Submission
from orchestrator.study.table import Published
from sweeps.commonvoice20 import PUBLISHED, SYSTEMS, Options, layout
from tests.orchestrator.stored import store

NAMES = {"test/cer": "test_cer", "test/wer": "test_wer", "valid/cer": "valid_cer", "train/loss": "train_loss"}


def former(folder: Path) -> dict[str, Any]:
    """What `layout.json` held of this study."""
    now = json.loads((folder / "layout.json").read_text())
    first, second = now["layout"]["tables"]
    columns = [
        {"name": c["name"], "heading": c["heading"].replace("\n", " "), "where": c["where"]} for c in first["columns"]
    ]
    survey = {
        "title": second["title"],
        "systems": SYSTEMS,
        "borrowed": ["lid", "lan", "a2"],
        "source": "Winata et al. 2021, Adapt-and-Adjust",
        "published": {"rows": second["published"]["rows"]},
        "best_of": [c["name"] for c in columns if c["name"].startswith("distill_")],
    }
    same = ("title", "rows", "data", "baseline", "contrasts", "repetition", "reasons")
    kept = {name: first[name] for name in same}
    published = {"rows": first["published"]["rows"]}
    laid_out = {**kept, "columns": columns, "published": published, "metric": "cer", "survey": survey}
    others = {name: now[name] for name in ("name", "command", "trials", "replaced")}
    return {**others, "layout": laid_out, "notes": first["notes"]}


def as_before(folder: Path) -> None:
    """Make of a stored study what the former program would have left of it."""
    (folder / "layout.json").write_text(json.dumps(former(folder)))
    for path in folder.glob("trials/*/*.json"):
        text = path.read_text()
        for now, before in NAMES.items():
            text = text.replace(now, before)
        path.write_text(text)
    for path in folder.glob("trials/*/files/utterances.parquet"):
        table = parquet.read_table(path)
        names = [n for n in table.column_names if n != "test_set" and not n.endswith(("_errors", "_length"))]
        parquet.write_table(table.select(names), path)


def rendered(folder: Path) -> Mapping[str, bytes]:
    assert main([str(folder)]) == 0
    found = [p for p in folder.rglob("*") if p.is_file() and "trials" not in p.parts and p.suffix != ".json"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_it_shows_what_the_sweep_would_show_today(tmp_path: Path) -> None:
    for name in ("now", "before"):
        store(Storage.at(str(tmp_path / name)), ["cs", "tr"], seeds=(1, 2), utterances=12)
    as_before(tmp_path / "before")
    now, before = (rendered(tmp_path / name) for name in ("now", "before"))
    assert {"table1.csv", "table2.tex", "report.html", "figures/density.png", "figures/cer_by_weight.svg"} <= now.keys()
    assert {name for name in now.keys() | before.keys() if now.get(name) != before.get(name)} == set()


def test_its_commands_are_kept_when_it_is_submitted_again(tmp_path: Path) -> None:
    ledger = store(Storage.at(str(tmp_path)), ["cs"], utterances=4)
    submission = Study.read(ledger).submission
    as_before(tmp_path)
    Submission(submission.name, submission.layout, "python again.py", submission.trials).write(ledger.storage)
    text = (tmp_path / "layout.json").read_text()
    assert json.loads(text)["command"].splitlines() == [
        "python sweeps/commonvoice20.py --data release",
        "python again.py",
    ]
    assert Submission.load(text).layout.tables[0].data == "made-up speech"


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda found: found.pop("notes"), "it has no 'notes'"),
        (lambda found: found["layout"].update(columns=[3]), "is not a mapping"),
        (lambda found: found["layout"].update(baseline="gone"), "`baseline` must be a column"),
        (lambda found: found.update(format=3), r"Input should be 2 \(format\)"),
    ],
)
def test_a_damaged_one_is_told(damage: Any, sentence: str, tmp_path: Path) -> None:
    store(Storage.at(str(tmp_path)), ["cs"], utterances=4)
    found = former(tmp_path)
    damage(found)
    if "format" in found:
        found = {**json.loads((tmp_path / "layout.json").read_text()), "format": 3}
    with pytest.raises(ValueError, match=sentence):
        Submission.load(json.dumps(found))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    plain = layout(Options(), "speech", ["A reason."], ["A note."])
    text = json.dumps(asdict(Submission("some", plain, "python a.py", ())))
    table = Submission.load(text).layout.tables[0]
    assert table.published == Published.read(PUBLISHED / "distill_l2s_table1.csv")
    assert (table.published.key, table.head.label, table.notes) == ("locale", "language", ["A note."])
    again = Submission.load(json.dumps(asdict(Submission.load(text))))
    assert again == Submission.load(text)
