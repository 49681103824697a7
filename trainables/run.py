"""One trial's link to whoever runs it."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from trainables.cache import write_atomically


@runtime_checkable
class Run(Protocol):
    """What a recipe may ask of its runner. Every rank calls it; only rank 0 brings a checkpoint."""

    def report(self, metrics: Mapping[str, float], *, step: int, checkpoint: Path | None = None) -> None:
        """Record `metrics` at `step`; commit a copy of the folder `checkpoint`, if there is one."""
        ...

    def resume(self) -> Path | None:
        """Folder of the last committed checkpoint, or None at the first start."""
        ...

    def keep(self, file: Path) -> None:
        """Keep a copy of `file` with the trial's result, under its name. Only rank 0's is kept."""
        ...


class LocalRun:
    """A run in a folder: `metrics.jsonl`, a line a report, the last two of `checkpoints/step-N`, and what is kept.

    `recipe.digest` says whose, where that was claimed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.leads = int(os.environ.get("RANK", "0")) == 0
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)

    def claim(self, recipe: str) -> None:
        """Make the folder that of the recipe with this digest, or see that it is. To be called before all else.

        Raises ValueError when it is another's, or has checkpoints and does not say whose: what they would be
        resumed to looks like a result. Every rank asks, so that none waits for one that was refused.
        """
        file = self.folder / "recipe.digest"
        if file.exists():
            found = file.read_text(encoding="utf-8")
        else:
            found = "one that it does not name" if self._committed() else None
        if found not in (None, recipe):
            raise ValueError(f"{self.folder} must be new or of this recipe, {recipe}, but is of {found} instead.")
        if self.leads and found is None:
            write_atomically(file, recipe)

    def report(self, metrics: Mapping[str, float], *, step: int, checkpoint: Path | None = None) -> None:
        """See `Run.report`. The checkpoint is copied under another name and renamed when it is whole."""
        if not self.leads:
            return
        if checkpoint is not None:
            final = self.folder / "checkpoints" / f"step-{step:08d}"
            partial = final.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(checkpoint, partial)
            shutil.rmtree(final, ignore_errors=True)
            partial.rename(final)
            for old in self._committed()[:-2]:
                shutil.rmtree(old)
        with (self.folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")

    def resume(self) -> Path | None:
        """See `Run.resume`."""
        committed = self._committed()
        return committed[-1] if committed else None

    def keep(self, file: Path) -> None:
        """See `Run.keep`. As a checkpoint, the copy gets its name when it is whole."""
        if not self.leads:
            return
        partial = self.folder / f"{file.name}.partial"
        shutil.copyfile(file, partial)
        partial.replace(self.folder / file.name)

    def metrics(self) -> list[dict[str, float]]:
        """Everything reported so far, in order."""
        path = self.folder / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def _committed(self) -> list[Path]:
        return sorted(p for p in (self.folder / "checkpoints").glob("step-*") if p.suffix != ".partial")
