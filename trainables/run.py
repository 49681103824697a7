"""One trial's link to whoever runs it."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from typing_extensions import override

from trainables.cache import write_atomically
from trainables.config import Config


@runtime_checkable
class Run(Protocol):
    """The services that a recipe may ask of its runner. Every rank calls it; only rank 0 brings a checkpoint."""

    def report(self, metrics: Mapping[str, float], *, step: int, checkpoint: Path | None = None) -> None:
        """Record `metrics` at `step`; commit a copy of the folder `checkpoint`, if there is one."""
        ...

    def resume(self) -> Path | None:
        """Folder of the last committed checkpoint, or None at the first start."""
        ...

    def keep(self, file: Path) -> None:
        """Keep a copy of `file` with the trial's result, under its name. Only rank 0's is kept."""
        ...

    def needed(self, recipe: Config) -> Path:
        """Folder of the files that `recipe` kept, which is one of the `needs` of the recipe that asks; only to be read.

        Raises ValueError for any other recipe.
        """
        ...


class LocalRun(Run):
    """A run in a folder: `metrics.jsonl`, one line per report, the last two of `checkpoints/step-N`, the files that
    the recipe keeps, `recipe.digest`, which names the recipe that claimed the folder, and `result.json` at the end.

    The trials that its recipe needs have such folders too, `needs/<signature>` beside this one: runs side by side share
    them, and needs of needs lie beside each other.
    """

    def __init__(self, folder: Path, needs: Path | None = None) -> None:
        """`needs` is the folder of the needed trials, where it is not the one beside `folder`."""
        self.folder, self.needs = folder, folder.absolute().parent / "needs" if needs is None else needs
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

    @override
    def report(self, metrics: Mapping[str, float], *, step: int, checkpoint: Path | None = None) -> None:
        if not self.leads:
            return
        if checkpoint is not None:
            # Copied under another name, and renamed when it is whole.
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

    @override
    def resume(self) -> Path | None:
        committed = self._committed()
        return committed[-1] if committed else None

    @override
    def keep(self, file: Path) -> None:
        if not self.leads:
            return
        partial = self.folder / f"{file.name}.partial"
        shutil.copyfile(file, partial)
        partial.replace(self.folder / file.name)

    @override
    def needed(self, recipe: Config) -> Path:
        folder = self.needs / recipe.signature()
        if not (folder / "result.json").exists():
            raise ValueError(
                f"A recipe must name in its `needs` what it starts from, but {recipe} was not trained in {folder}."
            )
        return folder

    def finish(self, result: Mapping[str, float]) -> None:
        """Write the result, which is what finishes the trial."""
        if self.leads:
            write_atomically(self.folder / "result.json", json.dumps(result))

    @property
    def finished(self) -> bool:
        """Whether the trial has its result, and has kept all that it keeps."""
        return (self.folder / "result.json").exists()

    def metrics(self) -> list[dict[str, float]]:
        """Everything reported so far, in order."""
        path = self.folder / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def _committed(self) -> list[Path]:
        return sorted(p for p in (self.folder / "checkpoints").glob("step-*") if p.suffix != ".partial")
