"""Successive halving: the worse trials of a row stop early."""

from collections.abc import Mapping
from typing import Any

from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from typing_extensions import override

from orchestrator.study.sweep import Trial
from orchestrator.study.value import Value


class RowsApart(TrialScheduler):
    """Asynchronous successive halving within each row of the study: only the trials of one row are compared."""

    def __init__(self, trials: Mapping[str, Trial], row: str, judged: Value) -> None:
        """`trials` by signature; `row` is the field that tells rows apart, `judged` the value that trials report."""
        super().__init__()
        self.trials, self.row, self.judged = trials, row, judged
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
        # One that is trained to its end is tested: to stop it would save next to nothing.
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

    def _of(self, tune_trial: Any) -> ASHAScheduler:
        trial = self.trials[tune_trial.config["signature"]]
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
