"""Submissions that overlap, and that ask for more."""

from tests.faults.study import CELLS, Study, assert_ran_once, assert_undisturbed


def test_two_submitters_at_the_same_moment(local: Study, reference: Study) -> None:
    both = [local.submit("--seconds", "0.2") for _ in range(2)]
    codes = sorted(each.process.wait(120) for each in both)
    texts = "\n".join(each.text for each in both)
    assert codes == [0, 1], texts
    assert texts.count("must have one submitter at a time") == 1, texts
    assert_undisturbed(local, reference)
    assert len(local.events()) == 2 * len(CELLS)


def test_a_language_and_a_weight_more(study: Study, reference: Study) -> None:
    """A new language on the cluster, a new weight without; what is finished stays as it is."""
    study.submit("--local", "--seconds", "0", "--languages", "cs", "--weights", "0").ends(0)
    more = ("--seconds", "0", "--languages", "cs", "el", "--weights", "0")
    assert "2 trials, 1 finished, 1 to run\n" in study.submit(*more).ends(0)
    assert [event.cell for event in study.events()[2:]] == 2 * ["el 0"]
    assert_ran_once(study, ("cs 0", "el 0"))
    assert len(study.in_mlflow()) == 3
    assert set(study.in_mlflow().values()) == {"FINISHED"}
    assert "2 finished, 0 to run" in study.submit(*more).ends(0)
    # Asked for others, the study still has them all.
    study.submit("--local").ends(0)
    lines = (study.study / "table1.md").read_text().splitlines()
    assert set((reference.study / "table1.md").read_text().splitlines()) < set(lines)
    assert any(line.startswith("| el |") for line in lines)
