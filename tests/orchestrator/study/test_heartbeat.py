"""Lines of a log while nothing ends."""

import io
import time

import pytest
from rich.console import Console

from orchestrator.study import heartbeat
from orchestrator.study.heartbeat import SteadyNarrator
from orchestrator.study.layout import Layout
from orchestrator.study.ledger import Result
from orchestrator.study.sweep import Sweep
from orchestrator.study.table import Column, Table
from orchestrator.study.value import Value


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    monkeypatch.setattr(heartbeat, "QUIET", 0.2)
    return io.StringIO()


def narrator(output: io.StringIO, toys: Sweep) -> SteadyNarrator:
    layout = Layout([Table("table1", "Toys", "language", [Column("w0", "λ = 0")], Value("test/cer"))])
    return SteadyNarrator(Console(file=output), toys, layout, len(toys.trials), 0)


def test_a_line_says_what_trains_while_nothing_else_is_said(output: io.StringIO, toys: Sweep) -> None:
    first, second, *_ = toys.trials
    with narrator(output, toys) as told:
        told.preparing(second)
        told.started(first)
        told.reported(first, {"step": 4.0})
        time.sleep(0.5)
        lines = output.getvalue().splitlines()
        assert len(lines) >= 2, "the start, and at least one of what goes on"
        went_on = (
            f"{first.label} trains, past step 4 of {first.recipe.steps}, for 0 s; {second.label} prepares its data"
        )
        assert went_on in lines[-1]
        told.ended(first, Result("failed", reason="no"))
        told.paused(second, "no")
        ended = output.getvalue()
        time.sleep(0.5)
        assert output.getvalue() == ended, "nothing is busy any more"


def test_a_line_names_a_few_and_counts_the_others(output: io.StringIO, toys: Sweep) -> None:
    with narrator(output, toys) as told:
        for trial in toys.trials:
            told.preparing(trial)
        told.reported(toys.trials[-1], {"step": 4.0})
        time.sleep(0.3)
    (line, *_) = output.getvalue().splitlines()
    assert f"  {toys.trials[-1].label} trains, past step 4 of" in line
    assert line.endswith(f"; and {len(toys.trials) - 3} more"), line
