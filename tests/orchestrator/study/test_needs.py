"""Which trials begin, fail or are left, by what came of those that they need."""

import pytest

from orchestrator.study.ledger import Ledger, Result
from orchestrator.study.needs import Needs
from orchestrator.study.sweep import Trial
from tests.toy.recipe import Toy

FIRST = Toy(language="fi", length=2)
SECOND = Toy(language="fi", length=4, start=FIRST)
LAST = Trial(Toy(language="cs", start=SECOND))
CHAIN = [Trial(FIRST), Trial(SECOND), LAST]


def test_a_trial_begins_when_its_needs_are_finished(ledger: Ledger) -> None:
    needs = Needs(CHAIN, ledger)
    assert [needs.ready(trial) for trial in CHAIN] == [True, False, False]
    needs.over[CHAIN[0].signature] = Result("finished")
    assert [needs.ready(trial) for trial in CHAIN] == [True, True, False]
    assert not any(needs.failure(trial) or needs.hindrance(trial) for trial in CHAIN)


def test_what_was_finished_before_is_in_the_ledger(ledger: Ledger) -> None:
    ledger.finish(CHAIN[1].signature, Result("finished"))
    assert Needs([LAST], ledger).ready(LAST)


@pytest.mark.parametrize(("status", "told"), [("failed", "failed"), ("stopped", "been stopped")])
def test_a_need_that_did_not_finish_fails_what_starts_from_it(ledger: Ledger, status: str, told: str) -> None:
    result = Result(status, reason="out of luck")  # pyright: ignore[reportArgumentType]
    ledger.finish(CHAIN[1].signature, result)
    needs = Needs([LAST], ledger)
    assert not needs.ready(LAST)
    assert needs.failure(LAST) == f"It starts from fi 0 from fi 0, which has {told}: out of luck"


def test_a_need_without_a_result_leaves_what_starts_from_it(ledger: Ledger) -> None:
    needs = Needs([LAST], ledger)
    assert not needs.ready(LAST)
    assert needs.failure(LAST) is None
    assert needs.hindrance(LAST) == "it starts from fi 0 from fi 0, which has no result yet"
