"""What is finished, as files on the study's storage: one folder per trial, named by its signature.

<storage>/<study>/trials/<signature>/recipe.json    what was asked
<storage>/<study>/trials/<signature>/result.json    what came of it; there exactly if the trial is finished
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.sweep import Trial


@dataclass(frozen=True)
class Ledger:
    """The finished trials of one study."""

    folder: Path

    @classmethod
    def open(cls, storage: Path, study: str) -> "Ledger":
        """The study's ledger, made if it is not there.

        Raises ValueError when the storage cannot be written.
        """
        folder = storage.absolute() / study
        try:
            (folder / "trials").mkdir(parents=True, exist_ok=True)
            write_atomically(folder / ".writable", "")
            (folder / ".writable").unlink()
        except OSError as error:
            raise ValueError(
                f"The storage must be a folder that can be written, but {folder} is not: {error}"
            ) from error
        return cls(folder)

    @property
    def trials(self) -> Path:
        """Folder of the trials' folders."""
        return self.folder / "trials"

    def trial(self, signature: str) -> Path:
        """Folder of one trial."""
        return self.trials / signature

    def begin(self, trial: Trial) -> None:
        """Write down what will be run."""
        self.trial(trial.signature).mkdir(exist_ok=True)
        write_atomically(
            self.trial(trial.signature) / "recipe.json",
            json.dumps(trial.describe(), indent=1, ensure_ascii=False),
        )

    def finish(self, signature: str, result: dict[str, Any]) -> None:
        """Write down a result: from here on the trial is finished."""
        write_atomically(self.trial(signature) / "result.json", json.dumps(result, indent=1))

    def begun(self, signature: str) -> bool:
        """Whether a trial has a checkpoint to go on from."""
        return any(self.trial(signature).glob("checkpoint*/*"))

    def result(self, signature: str) -> dict[str, Any] | None:
        """The result of a finished trial."""
        path = self.trial(signature) / "result.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def write_atomically(path: Path, text: str) -> None:
    """Write so that a reader finds the old text or the new one, never half of one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
