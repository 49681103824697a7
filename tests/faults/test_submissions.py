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
    """The new cells on the cluster; what was finished without it stays as it is."""
    study.submit("--local", "--seconds", "0", "--languages", "cs", "--weights", "0").ends(0)
    more = ("--seconds", "0", "--languages", "cs", "el")
    assert "4 trials, 1 finished, 3 to run\n" in study.submit(*more).ends(0)
    new = ["cs 0.5", "el 0", "el 0.5"]
    assert sorted(e.cell for e in study.events()[2:]) == sorted(2 * new)
    assert_ran_once(study, ("cs 0", *new))
    assert len(study.in_mlflow()) == 5
    assert set(study.in_mlflow().values()) == {"FINISHED"}
    assert "4 finished, 0 to run" in study.submit(*more).ends(0)
    # Asked for others, the study still has them all.
    study.submit("--local").ends(0)
    lines = (study.study / "table1.md").read_text().splitlines()
    assert set((reference.study / "table1.md").read_text().splitlines()) < set(lines)
    assert any(line.startswith("| el |") for line in lines)
