"""Killed processes that steer a trial."""

from pathlib import Path

from tests.faults.processes import kill, marked, until
from tests.faults.study import Study, assert_undisturbed


def test_what_a_killed_process_held_is_free_again(mark: str, study: Study, reference: Study) -> None:
    """The Tune actor while its workers start, then while they train; Train's controller; the queue between them."""
    study.options += ["--languages", "cs", "--cpus", "2"]  # all of the node's: what is not given back is missing
    cells = ("cs 0", "cs 0.5")
    submission = study.submit()
    until(lambda: titled(mark, "ray::RayTrainWorker"), "a worker starts")
    kill(titled(mark, "ray::ImplicitFunc"))
    for killed, cell, step in (
        ("ImplicitFunc", "cs 0", 2),
        ("TrainController", "cs 0.5", 2),
        ("_QueueActor", "cs 0.5", 4),
    ):
        until(lambda cell=cell, step=step: study.at(cell, step), f"{cell} has the checkpoint of step {step}")
        kill(titled(mark, f"ray::{killed}"))
    output = submission.ends(0)
    assert output.count("goes on after a worker was lost") == 2
    assert_undisturbed(study, reference, cells)
    assert len(study.events()) == 2 * len(cells) + 3, "those that trained have begun again"


def titled(mark: str, title: str) -> list[int]:
    """Processes that Ray has given a title, such as that of an actor's class."""
    found = []
    for pid in marked(mark):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
        except OSError:  # it has just ended
            continue
        if words.startswith(title):
            found.append(pid)
    return found
