"""Which trials may begin, by what has come of the trials that they need."""

from collections.abc import Sequence

from orchestrator.study.ledger import Ledger, Result
from orchestrator.study.sweep import Trial


class Needs:
    """The needs of the trials that are to be run.

    A trial may begin when all its needs are finished. A need that was given up fails the trials that start from it, and
    these fail theirs, with its reason: so the ledger says why, and a submission that tries failed trials again tries
    all of them. A need that could not go on, for a full storage or a lost submitter, leaves no result, and nor do the
    trials that start from it: the next submission goes on with all of them.
    """

    def __init__(self, trials: Sequence[Trial], ledger: Ledger) -> None:
        """`trials` are those to run; the ledger has the results of those needs that are not among them."""
        before = {need.signature for trial in trials for need in trial.needs} - {trial.signature for trial in trials}
        self.over: dict[str, Result | None] = {**dict.fromkeys(before), **ledger.results(sorted(before))}
        """Results of trials that are over by signature; None for one that is over without a result."""

    def ready(self, trial: Trial) -> bool:
        """Whether all that the trial needs is finished."""
        found = [self.over.get(need.signature) for need in trial.needs]
        return all(result is not None and result.status == "finished" for result in found)

    def failure(self, trial: Trial) -> str | None:
        """Why the trial has failed before it could begin, if it has."""
        for need in trial.needs:
            result = self.over.get(need.signature)
            if result is not None and result.status != "finished":
                return f"It starts from {need.label}, which has {_spoken(result)}"
        return None

    def hindrance(self, trial: Trial) -> str | None:
        """Why the trial cannot begin in this submission, if it cannot."""
        for need in trial.needs:
            if need.signature in self.over and self.over[need.signature] is None:
                return f"it starts from {need.label}, which has no result yet"
        return None


def _spoken(result: Result) -> str:
    return f"{'been stopped' if result.status == 'stopped' else result.status}: {result.reason}"
