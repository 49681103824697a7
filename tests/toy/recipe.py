"""A recipe that a second is enough for: its weights depend on every step, so that a lost or doubled one shows."""

import os
import signal
import tempfile
import time
import zlib
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np

from trainables.cache import building, cache_folder
from trainables.config import Location, Preparation, Since, Where
from trainables.recipes.recipe import Recipe
from trainables.run import Run


class ToyPreparation(Preparation):
    """A folder that takes a while to make."""

    accelerated: ClassVar[bool] = False
    language: str
    seconds: Annotated[float, Where()] = 0.0

    def __str__(self) -> str:
        return f"{self.language} data"

    def build(self) -> Path:
        folder = cache_folder() / "toy" / self.language
        with building(folder) as new:
            if new is not None:
                time.sleep(self.seconds)
                if self.language == "broken":
                    raise ValueError("The broken language must have clips, but has none.")
                with (folder.parent / "built.log").open("a") as file:
                    file.write(f"{self.language}\n")
        return folder

    def summary(self) -> str:
        return "made"


class Toy(Recipe):
    """One cell of a toy study."""

    language: str
    weight: float = 0.0
    length: int = 8
    """Steps; every second one has a checkpoint."""
    seconds: Annotated[float, Where()] = 0.05
    """Of a step."""
    preparing: Annotated[float, Where()] = 0.0
    """Seconds of the language's preparation."""
    log: Location = ""
    """File that gets a line for each start and each end, with the process, its node's raylet and the time."""
    ballast: Annotated[int, Where()] = 0
    """Bytes that a checkpoint has for nothing."""
    trouble: Annotated[str, Where()] = ""
    """`raise`: always; any of `raise_once` and `die_once`: at step 5 of the first trial that comes there."""

    start: Annotated["Toy | None", Since()] = None
    """Another toy whose weights it starts from."""

    def __str__(self) -> str:
        return f"{self.language} {self.weight:g}" + (f" from {self.start}" if self.start else "")

    @property
    def steps(self) -> int:
        return self.length

    def preparations(self) -> tuple[Preparation, ...]:
        return (ToyPreparation(language=self.language, seconds=self.preparing),)

    def needs(self) -> tuple[Recipe, ...]:
        return (self.start,) if self.start else ()

    def reports(self) -> tuple[str, ...]:
        return "valid/cer", "test/cer"

    def probe(self) -> dict[str, float]:
        return {"seconds": self.seconds, "parameters": 16.0}

    def run(self, run: Run) -> dict[str, float]:
        self._note("start")
        found = run.resume()
        step, weights = 0, np.load(run.needed(self.start) / "weights.npy") if self.start else np.zeros(16)
        if found:
            state = np.load(found / "state.npz")
            step, weights = int(state["step"]), state["weights"]
        while step < self.length:
            time.sleep(self.seconds)
            noise = np.random.default_rng((zlib.crc32(self.language.encode()), int(100 * self.weight), step)).normal(
                size=16
            )
            weights, step = 0.9 * weights + noise, step + 1
            self._misbehave(step)
            if step % 2 == 0:
                with tempfile.TemporaryDirectory() as folder:
                    np.savez(Path(folder) / "state.npz", step=step, weights=weights)
                    if self.ballast:
                        (Path(folder) / "ballast").write_bytes(bytes(self.ballast))
                    metrics = {"valid/cer": 50 + self.weight + float(np.tanh(weights[0])), "loss": 1 / step}
                    run.report(metrics, step=step, checkpoint=Path(folder))
        with tempfile.TemporaryDirectory() as folder:
            np.save(Path(folder) / "weights.npy", weights)
            run.keep(Path(folder) / "weights.npy")
        result = {"step": float(step), "test/cer": 50 + float(np.tanh(weights).mean())}
        run.report(result, step=step)
        self._note("end")
        return result

    def _misbehave(self, step: int) -> None:
        if self.trouble == "raise":
            raise ZeroDivisionError("this recipe always raises")
        for trouble in self.trouble.split() if step == 5 else ():
            try:
                Path(f"{self.log}.{trouble}").touch(exist_ok=False)
            except FileExistsError:
                continue  # it has been
            if trouble == "die_once":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ConnectionError("this recipe raises once")

    def _note(self, what: str) -> None:
        if self.log:
            with Path(self.log).open("a") as file:
                file.write(f"{what} {self} {os.getpid()} {os.environ.get('RAY_RAYLET_PID', 0)} {time.time():.3f}\n")
