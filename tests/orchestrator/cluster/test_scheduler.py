"""Which trials of a row stop early, told by their curves alone."""

from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.cluster.scheduler import RowsApart
from orchestrator.study.sweep import Sweep
from orchestrator.study.value import Value

STEPS = 8
"""Of a toy: it is compared with its row after 2 and after 4 of them."""


@pytest.fixture
def rows(toys: Sweep) -> RowsApart:
    return RowsApart({trial.signature: trial for trial in toys.trials}, (), "language", Value("valid/cer"))


def tunes(rows: RowsApart, label: str) -> Any:
    """Tune's side of the trial with this label."""
    (signature,) = [name for name, trial in rows.trials.items() if trial.label == label]
    trial = SimpleNamespace(trial_id=label, config={"signature": signature}, status="RUNNING")
    rows.on_trial_add(None, trial)
    return trial


def report(rows: RowsApart, trial: Any, step: int, cer: float) -> str:
    return rows.on_trial_result(None, trial, {"reported/step": step, "reported/valid/cer": cer})


def test_the_worse_of_a_row_stops_and_another_row_goes_on(rows: RowsApart) -> None:
    better, worse, other = (tunes(rows, label) for label in ("cs 0", "cs 0.5", "ro 0"))
    assert report(rows, better, 2, 20.0) == "CONTINUE"
    assert report(rows, worse, 2, 30.0) == "STOP"
    assert report(rows, other, 2, 90.0) == "CONTINUE"


def test_one_that_was_ahead_until_its_last_report_is_tested(rows: RowsApart) -> None:
    """All of its training is done: nothing would be saved."""
    first, second = tunes(rows, "cs 0"), tunes(rows, "cs 0.5")
    curves = {first.trial_id: (30.0, 20.0, 10.0, 7.40), second.trial_id: (29.0, 19.0, 9.0, 7.43)}
    for trial in (first, second):
        decisions = [report(rows, trial, 2 * (i + 1), cer) for i, cer in enumerate(curves[trial.trial_id])]
        assert decisions == ["CONTINUE"] * 4, trial.trial_id


def test_a_trial_that_others_start_from_never_stops(toys: Sweep) -> None:
    """Nor does another of its row stop for it: it is no candidate."""
    trials = {trial.signature: trial for trial in toys.trials}
    rows = RowsApart(trials, {toys.trials[0].signature}, "language", Value("valid/cer"))
    needed, better, worse = tunes(rows, "cs 0"), tunes(rows, "cs 0.5"), tunes(rows, "ro 0")
    assert report(rows, needed, 2, 1.0) == "CONTINUE"
    assert report(rows, better, 2, 20.0) == "CONTINUE"
    assert [report(rows, needed, step, 99.0) for step in (4, 6)] == ["CONTINUE"] * 2
    rows.on_trial_complete(None, needed, {"reported/step": 8, "reported/valid_cer": 99.0})
    assert report(rows, worse, 2, 90.0) == "CONTINUE"
