import time
from collections.abc import Mapping

import pytest
from rich.console import Console

from orchestrator.results.live import LiveTable
from orchestrator.study.layout import Layout
from orchestrator.study.ledger import Result
from orchestrator.study.sweep import Sweep, grid
from orchestrator.study.table import Column, Table
from orchestrator.study.value import Value
from sweeps.commonvoice20 import LANGUAGES
from tests.toy.recipe import Toy

COLUMNS = {
    "scratch\nλ = 0": 0.0, "tuned\nλ = 0": 0.1, "λ = 0.25": 0.25, "λ = 0.5": 0.5, "λ = 1": 1.0,
}  # fmt: skip


def table(
    axes: Mapping[str, object], results: Mapping[int, Result] | None = None, *, height: int = 24, width: int = 80
) -> LiveTable:
    """Of toys; `results` by the trial's place."""
    recipes = grid(Toy(language="cs", length=20_000), axes)  # pyright: ignore[reportArgumentType]
    sweep = Sweep("toys", recipes, axes=("language", "weight", "length"), metric=Value("valid/cer"))
    columns = [Column(f"w{weight}", heading, {"weight": weight}) for heading, weight in COLUMNS.items()]
    layout = Layout([Table("table1", "Toys", "language", columns, Value("test/cer"))])
    found = {sweep.trials[place].signature: result for place, result in (results or {}).items()}
    return LiveTable(Console(width=width, height=height, record=True), layout, sweep, found, sweep.missing(found))


def lines(live: LiveTable) -> list[str]:
    live.console.export_text()  # what was there before
    live.console.print(live.render())
    return [line.rstrip() for line in live.console.export_text().splitlines()]


def test_every_state_has_its_word() -> None:
    earlier = {0: Result("finished", {"test/cer": 7.134}), 1: Result("failed", reason="why"), 2: Result("stopped")}
    live = table({"language": ["cs", "ro"], "weight": list(COLUMNS.values())}, earlier)
    trials = list(live.trial_of.values())
    live.preparing(trials[3])
    live.started(trials[4])
    live.reported(trials[5], {"step": 150, "valid/cer": 53.2})
    live.reported(trials[6], {"step": 1500, "valid/cer": 5.25})
    live.reported(trials[6], {"step": 12_345, "loss": 1.0})
    live.reported(trials[7], {"step": 19_000, "valid/cer": 99.9})
    live.ended(trials[7], Result("finished", {"test/cer": 99.994}))
    live.paused(trials[8], "the storage is full")
    shown = lines(live)
    assert [line.split() for line in shown[3:5]] == [
        ["cs", "7.13", "failed", "stopped", "preparing", "starting"],
        ["ro", "150/20k", "53", "12k/20k", "5.2", "99.99", "paused", "queued"],
    ]
    counts = "1 queued, 1 preparing, 1 starting, 2 running, 2 finished, 1 stopped, 1 failed,"
    assert shown[5].startswith(counts)
    assert (len(shown), shown[5][-1]) == (6, "…")  # all eight states at once are longer than the terminal is wide


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30)])
def test_the_paper_fits_on_a_terminal(width: int, height: int) -> None:
    live = table({"language": LANGUAGES, "weight": list(COLUMNS.values())}, height=height, width=width)
    for number, trial in enumerate(live.trial_of.values()):
        if number % 2:
            live.reported(trial, {"step": 12_345, "valid/cer": 53.2})
        elif number % 3:
            live.started(trial)
    shown = lines(live)
    assert len(shown) <= 24
    assert max(map(len, shown)) <= 80
    assert [line.split()[0] for line in shown[3:-1]] == list(LANGUAGES)
    assert "12k/20k 53" in shown[5]


def test_what_is_higher_than_the_terminal_shows_where_something_happens() -> None:
    live = table({"language": [f"l{i:02d}" for i in range(50)], "weight": [0.5]})
    live.started(list(live.trial_of.values())[45])
    shown = lines(live)
    assert len(shown) == 23
    assert shown[-3].split() == ["l45", "starting"]
    assert shown[-2:] == ["and 31 more", "49 queued, 1 starting"]


def test_what_is_wider_than_the_terminal_is_a_list() -> None:
    live = table({"language": ["cs"], "weight": list(COLUMNS.values())}, width=60)
    live.reported(list(live.trial_of.values())[2], {"step": 500, "valid/cer": 9.87})
    assert lines(live) == ["cs 0.25: 500/20k 9.9", "4 queued, 1 running"]


def test_seeds_are_counted() -> None:
    live = table({"language": ["cs"], "weight": [0.5], "length": [10, 20, 30]}, {0: Result("finished")})
    assert lines(live)[-2].split() == ["cs", "1", "of", "3"]
    live.started(list(live.trial_of.values())[1])
    assert lines(live)[-1] == "1 queued, 1 starting, 1 finished"


def test_a_trial_of_no_column_has_a_place() -> None:
    live = table({"language": ["cs"], "weight": [0.5, 7.0]})
    assert lines(live)[0].split() == ["λ", "=", "0.5", "other"]


def test_the_time_left_is_that_of_the_trials_on_their_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    live = table({"language": ["cs"], "weight": list(COLUMNS.values())})
    first, second, *_ = live.trial_of.values()
    assert lines(live)[-1] == "5 queued"  # nothing is known
    live.started(first)
    live.started(second)
    now[0] += 100  # for starting processes
    live.reported(first, {"step": 5000})  # where its checkpoint was
    live.reported(second, {"step": 0})
    now[0] += 500
    live.reported(first, {"step": 10_000})
    live.reported(second, {"step": 5000})
    # 0.1 s a step: their slots are free in 1000 s and 1500 s, and three more take 2000 s each.
    assert lines(live)[-1] == "3 queued, 2 running; about 83 min left"
    now[0] += 200
    assert lines(live)[-1] == "3 queued, 2 running; about 80 min left"


def test_the_time_left_is_known_from_earlier_submissions() -> None:
    live = table({"language": ["cs"], "weight": [0.0, 0.1, 0.25]}, {0: Result("finished", seconds=7200)})
    assert lines(live)[-1] == "2 queued, 1 finished"  # but on how many slots, is not
    live.started(list(live.trial_of.values())[1])
    assert lines(live)[-1] == "1 queued, 1 starting, 1 finished; about 4 h left"


def test_the_table_is_on_the_screen_while_it_is_open() -> None:
    live = table({"language": ["cs"], "weight": [0.5]})
    live.console = console = Console(width=80, height=24, record=True, force_terminal=True)
    live.live.console = console
    with live:
        live.started(next(iter(live.trial_of.values())))
        live.live.refresh()
        live.ended(next(iter(live.trial_of.values())), Result("finished", {"test/cer": 7.0}))
    text = console.export_text()
    assert "finished, test CER 7.0 % (1 of 1)" in text


def test_what_cells_start_from_is_shown_below_the_table_while_it_runs() -> None:
    start = Toy(language="fi", length=10_000, weight=9)
    recipes = [Toy(language="cs", length=20_000, weight=weight, start=start) for weight in (0.0, 0.5)]
    sweep = Sweep("toys", recipes, axes=("language", "weight", "start"))
    columns = [Column(f"w{weight}", heading, {"weight": weight}) for heading, weight in COLUMNS.items()]
    layout = Layout([Table("table1", "Toys", "language", columns, Value("test/cer"))])
    console = Console(width=80, height=24, record=True)
    live = LiveTable(console, layout, sweep, {}, sweep.missing({}))
    need, *_ = sweep.everything
    assert [line.split() for line in lines(live)[-2:]] == [["cs", "queued", "queued"], ["3", "queued"]]
    live.started(need)
    live.reported(need, {"step": 500})
    assert lines(live)[-2:] == ["fi 9: 500/10k", "2 queued, 1 running"]
    live.ended(need, Result("finished", {"step": 10_000.0}))
    assert lines(live)[-1] == "2 queued, 1 finished"


def test_an_end_is_told_without_an_error_where_nothing_was_tested() -> None:
    live = table({"language": ["cs"], "weight": [0.5]})
    live.ended(next(iter(live.trial_of.values())), Result("finished", {"step": 1.0}))
    assert "cs 0.5: finished (1 of 1)" in live.console.export_text()
