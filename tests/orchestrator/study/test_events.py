"""What a person is told of a study, a line per event."""

from dataclasses import replace

import pytest
from rich.console import Console

from orchestrator.study.events import Narrator
from orchestrator.study.layout import Layout
from orchestrator.study.ledger import Result
from orchestrator.study.sweep import Sweep
from orchestrator.study.table import Column, Table
from orchestrator.study.value import Value

LAYOUT = Layout([Table("table1", "", "language", [Column("all", "")], Value("test/similarity", unit="", digits=3))])


def lines(toys: Sweep, metric: Value | None) -> list[str]:
    console = Console(record=True, width=200)
    told, trial = Narrator(console, replace(toys, metric=metric), LAYOUT, 4, 0), toys.trials[0]
    told.reported(trial, {"step": 4, "valid/cer": 12.34})
    told.reported(trial, {"step": 8, "loss": 1.0})
    told.reported(trial, {"step": 8, "valid/cer": 11.0})
    told.reported(trial, {"step": 8, "valid/cer": 11.0, "test/cer": 10.0})  # with the result
    told.ended(trial, Result("finished", {"test/similarity": 0.98765}))
    told.ended(toys.trials[1], Result("finished", {"test/cer": 1.0}))
    return [line[6:].strip() for line in console.export_text().splitlines()]


def test_a_value_is_told_once_a_step(toys: Sweep) -> None:
    assert lines(toys, Value("valid/cer")) == [
        "cs 0: step 4 of 8, valid CER 12.3 %",
        "cs 0: step 8 of 8, valid CER 11.0 %",
        "cs 0: finished, test similarity 0.988 (1 of 4)",
        "cs 0.5: finished (2 of 4)",
    ]


@pytest.mark.parametrize("metric", [None, Value("valid/per")])
def test_what_is_not_judged_is_told_when_it_ends(metric: Value | None, toys: Sweep) -> None:
    assert [line.partition(" ")[0] for line in lines(toys, metric)] == ["cs", "cs"]
