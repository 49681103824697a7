"""A study that is interrupted, or asked to terminate, is left in order."""

import signal

from tests.faults.processes import runs, until
from tests.faults.study import Study, assert_undisturbed


def test_interrupts(study: Study, reference: Study) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        submission = study.submit("--languages", "cs", "--weights", "0", "--seconds", "1")
        until(lambda: study.at("cs 0", 2), "a trial has a checkpoint")
        submission.send(number)
        output = submission.ends(130, 60)
        assert "Interrupted. Finished trials and the last checkpoints are kept" in output
        assert "Traceback" not in output
        assert not list(study.study.glob("submitter-*"))
        until(lambda: not any(runs(event.pid) for event in study.events()), "no worker is left", 30)
        assert study.in_mlflow()["toy"] != "FINISHED"
    study.submit("--local").ends(0)  # where it goes on does not matter, and takes a tenth of the time here
    assert_undisturbed(study, reference)
