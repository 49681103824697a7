"""The table of inference times, with students so small that it takes a second."""

from typing import Any

import torch

from benchmarks import front_ends
from benchmarks.front_ends import Row, Stages, clips, encoders, measure, rows, table
from trainables.students.distilled import DeepThin, FilterBanks

THIN: dict[str, Any] = {"width": 16, "feed_forward": 16, "layers": 1, "heads": 2, "position_kernel": 8}
TINY = {"D&T": (DeepThin(**THIN), DeepThin(**THIN, front_end=FilterBanks()))}


def test_a_pass_is_timed_in_its_two_stages() -> None:
    for timed in encoders(TINY["D&T"]).values():
        stages = timed(clips(2, 0.5))
        assert stages.front_end > 0
        assert stages.transformer > 0
        assert stages.total < 5


def test_claims_are_measured_side_by_side_on_one_thread() -> None:
    threads = torch.get_num_threads()
    banks, int8 = measure(2, TINY, 0.5)
    assert (banks.claim, int8.claim) == (front_ends.BANKS["D&T"], front_ends.INT8)
    assert len(banks.repeats) == len(int8.repeats) == 2
    assert banks.median is not None
    assert banks.median > 1, "seven convolutions over samples cannot be as quick as a Fourier transform"
    assert torch.get_num_threads() == threads


def test_every_setting_has_a_row() -> None:
    found = list(rows(1, (1,), (1, 2), TINY, 0.5))
    assert {(row.front_end, row.batch) for row in found} == {
        (front, batch) for front in front_ends.FRONT_ENDS for batch in (1, 2)
    }


def test_the_table_compares_with_waveforms_on_as_many_threads() -> None:
    def row(front_end: str, threads: int, seconds: float) -> Row:
        return Row("D&T", front_end, threads, 1, Stages(seconds / 4, 3 * seconds / 4))

    made = table([row("waveform", 1, 0.2), row("Fbank", 1, 0.05), row("waveform", 2, 0.12)], "D&T", 1)
    of_four = table([row("waveform", 4, 0.2), row("Fbank", 4, 0.1), row("Fbank int8", 4, 0.1)], "D&T", 1)
    columns = [list(column.cells) for column in made.columns]
    assert columns[0] == ["1", "1", "2"]
    assert columns[2:] == [
        ["50.0", "12.5", "30.0"], ["150.0", "37.5", "90.0"], ["200.0", "50.0", "120.0"], ["1.00 ×", "4.00 ×", "1.00 ×"],
        ["1.00 ×", "2.00 ×", ""],
    ]  # fmt: skip
    assert list(of_four.columns[-1].cells) == ["1.00 ×", "1.91 ×", ""]
