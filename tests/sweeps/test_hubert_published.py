"""Tables 1 to 5 of arXiv 2210.15631 as they are stored: the paper's own claims about them hold, or do not, as said."""

import csv
from pathlib import Path

import pytest

from orchestrator.study.table import Published
from sweeps.hubert import counts
from sweeps.hubert.tables import PUBLISHED

AMOUNTS = ("1h", "10h", "100h")
ONE, TWO, THREE, FOUR, FIVE = (Published.read(PUBLISHED / f"hubert_distillation_table{n}.csv") for n in range(1, 6))


def number(table: Published, row: str, column: str) -> float:
    found = table.number(row, column)
    assert found is not None
    return found


def test_what_the_paper_derives_from_its_tables() -> None:
    # §4.2: 35.2 % relatively, D&T against S&W with L_reg at 100 h; L_disc costs 7.50 -> 7.88 there.
    wide, thin = (number(TWO, row, "100h") for row in ("sw_10", "dt_10"))
    assert round(100 * (wide - thin) / wide, 1) == 35.2
    assert (thin, number(TWO, "dt_11", "100h")) == (7.50, 7.88)
    # §4.2: filter banks have 17 % fewer parameters.
    waveform, banks = (number(ONE, row, "parameters") for row in ("dt_waveform", "dt_fbank"))
    assert round(100 * (waveform - banks) / waveform) == 17
    # Table 4: sums, 2.00 and 1.91 times.
    for column in ("waveform_1", "fbank_1", "waveform_4", "fbank_4"):
        assert number(FOUR, "front_end", column) + number(FOUR, "transformer", column) == number(FOUR, "total", column)
    for threads, ratio in ((1, 2.00), (4, 1.91)):
        seconds = [number(FOUR, "total", f"{front_end}_{threads}") for front_end in ("waveform", "fbank")]
        assert round(seconds[0] / seconds[1], 2) == number(FOUR, "speed_up", f"fbank_{threads}") == ratio
    # With L_frontend is Table 3's last row; §4.2: L_disc always helps on filter banks, and §4.3: L_frontend does.
    assert [number(THREE, "fbank_11", c) for c in AMOUNTS] == [number(FIVE, "with_frontend", c) for c in AMOUNTS]
    for column in AMOUNTS:
        assert number(THREE, "fbank_11", column) < number(THREE, "fbank_10", column)
        assert number(FIVE, "with_frontend", column) < number(FIVE, "without_frontend", column)
        assert number(THREE, "waveform_10", column) == number(TWO, "dt_10", column)


def test_where_the_paper_contradicts_itself() -> None:
    # The same student at 100 h, in Table 2 and in Table 3.
    assert (number(TWO, "dt_11", "100h"), number(THREE, "waveform_11", "100h")) == (7.88, 7.91)
    assert [number(TWO, "dt_11", c) for c in AMOUNTS[:2]] == [number(THREE, "waveform_11", c) for c in AMOUNTS[:2]]
    # "D&T consistently outperforms S&W" does not hold of one cell: what is not distilled, at 10 h.
    pairs = {(w, c): (number(TWO, f"dt_{w}", c), number(TWO, f"sw_{w}", c))
             for w in ("00", "10", "01", "11") for c in AMOUNTS}  # fmt: skip
    assert [cell for cell, (thin, wide) in pairs.items() if thin > wide] == [("00", "10h")]
    assert pairs["00", "10h"] == (64.49, 32.91)


def test_table_1_is_the_papers_but_for_one_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {name: counts.counted(student) for name, student in counts.STUDENTS.items()}
    differing = [name for name, row in found.items() if round(row["parameters"], 2) != number(ONE, name, "parameters")]
    assert differing == [counts.NOT_GIVEN]
    assert round(found[counts.NOT_GIVEN]["parameters"], 2) == 20.26
    assert [round(row["deployed"], 2) for row in found.values()] == [23.52, 20.13, 22.95, 19.12]
    for name, row in found.items():
        for column in ("attention", "feed_forward", "layers"):
            assert row[column] == number(ONE, name, column)
    # 19.81 is S&W on waveforms, less what filter banks save D&T.
    saved = number(ONE, "dt_waveform", "parameters") - number(ONE, "dt_fbank", "parameters")
    assert number(ONE, "sw_waveform", "parameters") - saved == pytest.approx(19.81)

    assert counts.main(["--to", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "19.81 M is not what the released front-end" in " ".join(told.split())
    with (tmp_path / "table1.csv").open() as file:
        rows = {row["row"]: row for row in csv.DictReader(file)}
    assert {name: row["comparable"][:3] for name, row in rows.items()} == {
        "sw_waveform": "yes", "sw_fbank": "no:", "dt_waveform": "yes", "dt_fbank": "yes",
    }  # fmt: skip
    assert (rows["dt_fbank"]["parameters"], rows["dt_fbank"]["paper_parameters"]) == ("19.25", "19.25")
    (tmp_path / "file").touch()
    assert counts.main(["--to", str(tmp_path / "file")]) == 2
    assert "Traceback" not in capsys.readouterr().err
