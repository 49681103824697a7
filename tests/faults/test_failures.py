"""What cannot work fails with its reason, and nothing else does."""

import json
import sys
from pathlib import Path

from tests.faults.cluster import RAY, Cluster
from tests.faults.processes import until
from tests.faults.study import Study, assert_ran_once, assert_undisturbed, signature


def test_a_job_that_fails_and_is_tried_again(cluster: Cluster, study: Study, reference: Study) -> None:
    """As a job of the cluster, whose exit code is the study's."""
    study.options += ["--languages", "cs", "--weights", "0"]
    until(cluster.serves_jobs, "the cluster takes jobs")
    study.address = None
    options = [option for option in study.command()[2:] if option != "--local"]
    # The study passes this variable on too, which Ray takes for a conflict unless it is told otherwise.
    named = json.dumps({"env_vars": {"L2S_CACHE": study.environment["L2S_CACHE"]}})
    job = [
        str(RAY),
        "job",
        "submit",
        "--address",
        cluster.jobs,
        "--runtime-env-json",
        named,
        "--",
        sys.executable,
        study.command()[1],
        *options,
    ]
    reason = "ZeroDivisionError: this recipe always raises"

    output = study.launch([*job, "--trouble", "raise", "--retries", "1"]).ends(1)
    assert output.count(f"tried again after {reason}") == 1
    assert output.count(f"failed: {reason}") == 1
    assert "1 of 1 trials have failed; --retry-failed tries them again." in output
    assert "| cs | ours | failed |" in (study.study / "table1.md").read_text()
    assert study.in_mlflow() == {"toy": "FAILED", signature("cs 0"): "FAILED"}
    assert study.result("cs 0")["reason"] == reason
    assert study.result("cs 0")["attempts"] == 2
    assert reason in (study.trial("cs 0") / "error.txt").read_text()

    events = study.events()
    assert len(events) == 2
    assert "0 finished, 1 failed, 0 to run" in study.submit().ends(1)
    assert study.events() == events

    study.launch([*job, "--retry-failed"]).ends(0)
    assert_undisturbed(study, reference, ("cs 0",))


def test_a_preparation_that_fails_and_one_that_is_slow(study: Study, reference: Study) -> None:
    cells = ("cs 0", "ro 0")
    slow = ("--languages", "cs", "ro", "broken", "--weights", "0", "--slow", "ro", "--preparing", "12")
    output = study.submit(*slow).ends(1)
    reason = "The broken language must have clips, but has none."
    assert "broken 0: failed: broken data could not be prepared: " in output
    assert reason in output
    assert output.index("cs 0: started") < output.index("ro data: made") < output.index("ro 0: started")
    assert "1 of 3 trials have failed" in output
    assert study.in_mlflow() == {
        "toy": "FAILED",
        signature("broken 0"): "FAILED",
        **{signature(cell): "FINISHED" for cell in cells},
    }
    assert reason in study.result("broken 0")["reason"]
    assert_ran_once(study, cells)
    for cell in cells:
        assert study.result(cell)["metrics"] == reference.result(cell)["metrics"]
    built = Path(study.environment["L2S_CACHE"]) / "toy" / "built.log"
    assert sorted(built.read_text().split()) == ["cs", "ro"]
