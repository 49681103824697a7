"""Nodes that are lost, the driver and the head among them."""

from tests.faults.cluster import Cluster
from tests.faults.processes import runs, until
from tests.faults.study import CELLS, Study, assert_undisturbed


def test_a_lost_node_and_a_lost_driver(cluster: Cluster, study: Study, reference: Study) -> None:
    cluster.add("second")
    study.options += ["--cpus", "2"]  # one trial on each node
    first = study.submit("--languages", "cs", "--seconds", "8")  # much longer than a node takes to start
    until(lambda: on(study, cluster.raylets["second"], 2), "a trial on the second node has a checkpoint")
    (victim,) = on(study, cluster.raylets["second"], 2)
    cluster.kill("second")
    first.says(f"{victim}: goes on after a worker was lost")
    cluster.add("second")
    until(lambda: on(study, cluster.raylets["second"], 2), "a trial has a checkpoint on the node that came later")
    old = study.workers()
    first.kill()
    output = study.submit("--languages", "cs").ends(0)
    assert f"(pid {first.process.pid}) is dead; this one goes on in its place" in output
    assert "from a checkpoint" in output
    assert_undisturbed(study, reference, ("cs 0", "cs 0.5"))
    assert not any(runs(event.pid) for event in old.values())


def test_a_lost_head_and_a_truncated_checkpoint(cluster: Cluster, study: Study, reference: Study) -> None:
    """Nothing but the storage goes into the new cluster, and that is damaged."""
    one = ("--languages", "cs", "--weights", "0")
    first = study.submit(*one, "--seconds", "2")  # so that it does not end while the head is killed
    until(lambda: study.at("cs 0", 6), "a trial has its third checkpoint")
    cluster.kill("head")
    output = first.ends(1)
    assert "GCS may have been killed" in output  # Ray's words, as it ends the process
    assert "Traceback" not in output
    cluster.kill()
    cell, before, last = next(filter(None, map(study.truncate, CELLS)))
    cluster.start()
    output = study.submit(*one).ends(0)
    assert "from a checkpoint" in output
    again = output.partition(f"{cell}: started")[2].partition(f"{cell}: finished")[0]
    assert f"{cell}: step {before} of 8" not in again
    assert f"{cell}: step {last} of 8" in again, "it went on from the checkpoint before the truncated one"
    study.submit("--local").ends(0)
    assert_undisturbed(study, reference)


def on(study: Study, raylet: int, step: int) -> list[str]:
    """Trials that run under this raylet and have the checkpoint of a step, and hence one of this start or before."""
    return [cell for cell, event in study.workers().items() if event.raylet == raylet and study.at(cell, step)]
