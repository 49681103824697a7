"""Which trial Tune is given next, told without a cluster."""

from typing import Any

import pytest
from ray.tune.search import Searcher

from orchestrator.cluster import queue as queues
from orchestrator.cluster.queue import Queue
from orchestrator.study.events import Listener
from orchestrator.study.ledger import Ledger, Result
from orchestrator.study.sweep import Sweep, Trial
from tests.toy.recipe import Toy

NEED = Toy(language="fi", length=2)
STARTED = [Toy(language="cs", weight=weight, start=NEED) for weight in (0.0, 0.5)]
ALONE = Toy(language="ro")


class Prepared:
    """Preparations that are done but for those of some languages, or that have failed."""

    def __init__(self) -> None:
        self.waiting: set[str] = set()
        self.errors: dict[str, str] = {}

    def poll(self) -> list[str]:
        return []

    def ready(self, trial: Trial) -> bool:
        language = trial.fields["language"]
        return language not in self.waiting and language not in self.errors

    def error(self, trial: Trial) -> str | None:
        return self.errors.get(trial.fields["language"])


class Heard(Listener):
    """The ends that the listener hears of."""

    def __init__(self) -> None:
        self.ends: dict[str, str] = {}

    def ended(self, trial: Trial, result: Result) -> None:
        self.ends[trial.label] = f"{result.status}: {result.reason}"

    def paused(self, trial: Trial, reason: str) -> None:
        self.ends[trial.label] = f"paused: {reason}"


class Driven:
    """A queue as Tune drives it."""

    def __init__(self, ledger: Ledger, recipes: list[Toy], slots: int = 8) -> None:
        sweep = Sweep("toys", recipes, axes=("language", "weight", "start", "length"))
        self.ledger, self.heard, self.preparing = ledger, Heard(), Prepared()
        missing = sweep.missing(ledger.results([trial.signature for trial in sweep.everything]))
        arguments: Any = (missing, self.preparing, ledger, self.heard)
        self.queue = Queue(*arguments, slots=lambda: slots)
        self.labels = {trial.signature: trial.label for trial in sweep.everything}
        self.names: dict[str, str] = {}

    def started(self) -> list[str]:
        """The labels of the trials that Tune starts until there is none for now."""
        found = []
        while isinstance(config := self.queue.suggest(f"tune-{len(self.names)}"), dict):
            label = self.labels[config["signature"]]
            self.names[label] = f"tune-{len(self.names)}"
            found.append(label)
        self.finished = config == Searcher.FINISHED
        return found

    def end(self, label: str, result: Result | None = Result("finished")) -> None:  # noqa: B008
        if result:
            (signature,) = [s for s, known in self.labels.items() if known == label]
            self.ledger.finish(signature, result)
        self.queue.on_trial_complete(self.names[label])


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "REFRESH_EVERY", 0.0)


def test_trials_begin_in_their_order_as_long_as_there_are_slots(ledger: Ledger) -> None:
    driven = Driven(ledger, [ALONE, NEED], slots=1)
    assert driven.started() == ["ro 0"]
    assert driven.started() == []
    assert not driven.finished
    driven.end("ro 0")
    assert driven.started() == ["fi 0"]
    assert driven.finished


def test_a_trial_begins_when_its_need_is_finished(ledger: Ledger) -> None:
    driven = Driven(ledger, [*STARTED, ALONE])
    assert driven.started() == ["fi 0", "ro 0"]
    driven.end("ro 0")
    assert driven.started() == []
    assert not driven.finished
    driven.end("fi 0")
    assert driven.started() == ["cs 0 from fi 0", "cs 0.5 from fi 0"]
    assert driven.finished


def test_a_need_that_an_earlier_submission_finished_is_there(ledger: Ledger) -> None:
    ledger.finish(NEED.signature(), Result("finished"))
    driven = Driven(ledger, STARTED)
    assert driven.started() == ["cs 0 from fi 0", "cs 0.5 from fi 0"]


def test_it_waits_for_its_preparations_as_well(ledger: Ledger) -> None:
    driven = Driven(ledger, STARTED[:1])
    driven.preparing.waiting = {"cs"}
    assert driven.started() == ["fi 0"]
    driven.end("fi 0")
    assert driven.started() == []
    driven.preparing.waiting = set()
    assert driven.started() == ["cs 0 from fi 0"]


def test_a_need_that_fails_fails_all_that_start_from_it(ledger: Ledger) -> None:
    last = Toy(language="ro", start=STARTED[0])
    driven = Driven(ledger, [last, STARTED[1]])
    assert driven.started() == ["fi 0"]
    driven.end("fi 0", Result("failed", reason="OutOfMemoryError: too large"))
    assert driven.started() == []
    assert driven.finished
    told = "It starts from fi 0, which has failed: OutOfMemoryError: too large"
    assert driven.heard.ends == {
        "cs 0 from fi 0": f"failed: {told}",
        "cs 0.5 from fi 0": f"failed: {told}",
        "ro 0 from cs 0 from fi 0": f"failed: It starts from cs 0 from fi 0, which has failed: {told}",
    }
    kept = ledger.result(last.signature())
    assert kept is not None
    assert (kept.status, kept.attempts) == ("failed", 0)


def test_so_does_one_whose_preparation_fails(ledger: Ledger) -> None:
    driven = Driven(ledger, [*STARTED, ALONE])
    driven.preparing.errors = {"fi": "fi data could not be prepared: no clips"}
    assert driven.started() == ["ro 0"]
    assert driven.heard.ends["cs 0 from fi 0"].startswith(
        "failed: It starts from fi 0, which has failed: fi data could"
    )


def test_a_need_that_is_lost_leaves_what_starts_from_it_for_the_next_submission(ledger: Ledger) -> None:
    driven = Driven(ledger, [Toy(language="ro", start=STARTED[0]), ALONE])
    assert driven.started() == ["fi 0", "ro 0"]
    driven.end("fi 0", None)
    assert driven.started() == []
    assert driven.finished, "nothing waits for ever"
    assert driven.heard.ends == {
        "cs 0 from fi 0": "paused: it starts from fi 0, which has no result yet",
        "ro 0 from cs 0 from fi 0": "paused: it starts from cs 0 from fi 0, which has no result yet",
    }
    assert ledger.results([recipe.signature() for recipe in STARTED]) == {}
