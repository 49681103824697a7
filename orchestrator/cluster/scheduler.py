"""Early stopping: trials that give their places to better ones."""

from collections.abc import Collection, Mapping
from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from typing_extensions import override

from orchestrator.study.sweep import Trial
from orchestrator.study.value import Value


class RowsApart(TrialScheduler):
    """Asynchronous successive halving (ASHA) within each row of the study: trials of one row, and no others.


    A row has rungs at a quarter and at half of a trial's steps. The first report at or beyond a rung is compared with
    those that other trials of the row have made there so far: one that is worse than their median stops its trial.
    Nobody waits for anybody, so the first trial at a rung always passes. Of four trials one after the other, with
    errors of 40, 50, 30 and 45 % at a rung, 50 stops (the median was 40), and so does 45 (of 40, 50 and 30: 40).
    One scheduler over all rows would stop the rows that are hard, and not the trials that are bad at them.

    Trials that others start from run to their end: they are no candidates, and what they start is not to be lost.
    """

    def __init__(self, trials: Mapping[str, Trial], needed: Collection[str], row: str, judged: Value) -> None:
        """`trials` by signature, of which those are `needed` that others start from; `row` is the field that tells
        rows apart, `judged` the value that trials report."""
        super().__init__()
        self.trials, self.row, self.judged = trials, row, judged
        self.needed, self.unjudged = needed, FIFOScheduler()
        self.rows: dict[Any, ASHAScheduler] = {}

    @override
    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        return True  # it has its metric already

    @override
    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self._of(trial).on_trial_add(tune_controller, trial)

    @override
    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        self._of(trial).on_trial_error(tune_controller, trial)

    @override
    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Judges a report. A trial that is trained to its end is tested: to stop it would save next to nothing."""
        if result.get("reported/step", 0) >= self.trials[trial.config["signature"]].recipe.steps:
            return TrialScheduler.CONTINUE
        return self._of(trial).on_trial_result(tune_controller, trial, result)

    @override
    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self._of(trial).on_trial_complete(tune_controller, trial, result)

    @override
    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        self._of(trial).on_trial_remove(tune_controller, trial)

    @override
    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        return next((trial for trial in tune_controller.get_trials() if trial.status == "PENDING"), None)

    @override
    def debug_string(self) -> str:
        return "successive halving within rows"

    def _of(self, tune_trial: Any) -> TrialScheduler:
        trial = self.trials[tune_trial.config["signature"]]
        if trial.signature in self.needed:
            return self.unjudged
        row = trial.fields[self.row]
        if row not in self.rows:
            steps = trial.recipe.steps
            self.rows[row] = ASHAScheduler(
                time_attr="reported/step",
                metric=f"reported/{self.judged.name}",  # Tune flattens what trial.py reports
                mode="max" if self.judged.better == "larger" else "min",
                grace_period=max(1, steps // 4),
                reduction_factor=2,
                max_t=steps,
            )
        return self.rows[row]
