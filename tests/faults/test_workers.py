"""Lost workers, recipes that raise, and submitters that come at once."""

import time

from tests.faults.processes import kill, until
from tests.faults.study import CELLS, Study, assert_undisturbed


def test_killed_workers_and_a_second_submitter(study: Study, reference: Study) -> None:
    """One worker is killed from outside, one kills itself, one raises, each between two checkpoints."""
    first = study.submit("--trouble", "die_once raise_once")
    until(lambda: study.at("cs 0", 2), "cs 0 has its first checkpoint")
    kill([study.workers()["cs 0"].pid])
    begun = time.monotonic()
    second = study.submit("--local").ends(1)
    assert "must have one submitter at a time, but another one" in second
    assert f"pid {first.process.pid}" in second
    assert len(second.splitlines()) <= 2, second
    assert time.monotonic() - begun < 30
    output = first.ends(0)
    assert "goes on after a worker was lost" in output
    assert "tried again after ConnectionError: this recipe raises once" in output
    assert_undisturbed(study, reference)
    starts = [event.cell for event in study.events() if event.what == "start"]
    assert len(starts) == len(CELLS) + 3, starts
