"""A recipe that imports what training imports, sleeps, and notes when: the work of `benchmarks.orchestration`."""

import sys
import time
from pathlib import Path
from typing import Annotated

import torch  # noqa: F401
from transformers import Wav2Vec2Model, WhisperModel  # noqa: F401
from typing_extensions import override

from trainables.config import Location, Preparation, Where
from trainables.recipes.recipe import Recipe
from trainables.run import LocalRun, Run


class Sleeping(Recipe):
    """A trial of known length."""

    number: int
    duration: Annotated[float, Where()]
    """Seconds of sleep."""
    log: Location
    """File with a line `number begun ended` for each trial."""

    def __str__(self) -> str:
        return f"sleep {self.number}"

    @property
    @override
    def steps(self) -> int:
        return 1

    @override
    def preparations(self) -> tuple[Preparation, ...]:
        return ()

    @override
    def probe(self) -> dict[str, float]:
        return {"seconds": self.duration, "parameters": 0.0}

    @override
    def run(self, run: Run) -> dict[str, float]:
        begun = time.time()
        time.sleep(self.duration)
        run.report({"valid/cer": 0.0}, step=1)
        with Path(self.log).open("a") as file:
            file.write(f"{self.number} {begun} {time.time()}\n")
        return {"step": 1.0, "test/cer": 0.0}


def alone(number: int, duration: float, folder: Path) -> None:
    """Run one trial without any orchestrator."""
    Sleeping(number=number, duration=duration, log=str(folder / "log")).run(LocalRun(folder / str(number)))


if __name__ == "__main__":
    alone(int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]))
