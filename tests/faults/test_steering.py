"""Killed processes that steer a trial."""

from pathlib import Path

from tests.faults.processes import kill, marked, until
from tests.faults.study import Study, assert_undisturbed


def test_what_a_killed_process_held_is_free_again(mark: str, study: Study, reference: Study) -> None:
    """The Tune actor while its workers start, then while they train; Train's controller; the queue between them."""
    # All CPUs of the node: what is not given back is missing.
    study.options += ["--languages", "cs", "--weights", "0", "--cpus", "2"]
    submission = study.submit()
    until(lambda: titled(mark, "ray::RayTrainWorker"), "a worker starts")
    kill(titled(mark, "ray::ImplicitFunc"))
    for killed, step in (("ImplicitFunc", 2), ("TrainController", 4), ("_QueueActor", 6)):
        until(lambda step=step: study.at("cs 0", step), f"it has the checkpoint of step {step}")
        kill(titled(mark, f"ray::{killed}"))
    output = submission.ends(0)
    assert output.count("goes on after a worker was lost") == 2
    assert_undisturbed(study, reference, ("cs 0",))
    assert len(study.events()) == 2 + 3, "what trained has begun again"


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
