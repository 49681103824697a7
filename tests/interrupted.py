"""A run that is cut off."""

from collections.abc import Mapping
from pathlib import Path

from trainables.run import LocalRun


class Interrupted(Exception):
    """Ends a run where a killed process would."""


class InterruptedRun(LocalRun):
    """Dies right after the checkpoint of a step."""

    def __init__(self, folder: Path, at: int) -> None:
        super().__init__(folder)
        self.at = at

    def report(self, metrics: Mapping[str, float], *, step: int, checkpoint: Path | None = None) -> None:
        super().report(metrics, step=step, checkpoint=checkpoint)
        if step == self.at:
            raise Interrupted
