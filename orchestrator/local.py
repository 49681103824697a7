"""The same sweep in this process, one trial after the other: no Ray, for a debugger."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.events import Listener
from orchestrator.ledger import Ledger
from orchestrator.sweep import Preparation, Trial


@dataclass(frozen=True)
class LocalRunner:
    """Runs everything here; `folder_run` makes the recipes' run of a trial's folder."""

    folder_run: Callable[[Path], Any]

    def prepare(self, chains: Sequence[Sequence[Preparation]], told: Callable[[str], None]) -> None:
        """Build every chain."""
        for chain in chains:
            for preparation in chain:
                preparation.build()
                told(f"{preparation}: {preparation.summary()}")

    def run(self, trials: Sequence[Trial], ledger: Ledger, listener: Listener) -> int:
        """Run `trials`; returns how many failed, which is none: an exception is what the debugger is for."""
        for trial in trials:
            ledger.begin(trial)
            listener.started(trial)
            begun = time.monotonic()
            metrics = trial.recipe.run(_Told(self.folder_run(ledger.trial(trial.signature)), trial, listener))
            result = {"metrics": metrics, "seconds": time.monotonic() - begun}
            ledger.finish(trial.signature, result)
            listener.finished(trial, result)
        return 0


class _Told:
    """A run whose reports the listener hears too."""

    def __init__(self, run: Any, trial: Trial, listener: Listener) -> None:
        self.run, self.trial, self.listener = run, trial, listener

    def report(self, metrics: Mapping[str, float], *, step: int, checkpoint: Path | None = None) -> None:
        self.run.report(metrics, step=step, checkpoint=checkpoint)
        self.listener.reported(self.trial, {**metrics, "step": step})

    def resume(self) -> Path | None:
        return self.run.resume()
