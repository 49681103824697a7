"""Trials that a scheduler stops early."""

from tests.faults.processes import runs, until
from tests.faults.study import Study, assert_undisturbed, signature


def test_stopped_trials_go_on_without_the_scheduler(study: Study, reference: Study) -> None:
    # One trial at a time: of a row, the first to reach a step is never stopped there, and it must not be the worse one.
    study.options += ["--languages", "ro"]
    cells = ("ro 0", "ro 0.5")
    asha = ("--scheduler", "asha", "--cpus", "2")
    first = study.submit(*asha)
    output = first.ends(0)
    stopped = [cell for cell in cells if study.result(cell)["status"] == "stopped"]
    assert stopped == ["ro 0.5"], output
    until(lambda: not any(runs(event.pid) for event in study.events()), "no worker is left", 15)
    for cell in stopped:
        assert f"{cell}: stopped: worse than others of its row at step" in output
        assert study.result(cell)["metrics"]["step"] < 8
        assert [event.what for event in study.events() if event.cell == cell] == ["start"]
        assert study.in_mlflow()[signature(cell)] == "KILLED"
    assert (study.study / "table1.md").read_text().count("stopped") == len(stopped)
    assert "1 finished, 1 stopped, 0 to run" in study.submit(*asha).ends(0)
    output = study.submit().ends(0)
    assert "1 to run, 1 of them from a checkpoint" in output
    assert_undisturbed(study, reference, cells)
