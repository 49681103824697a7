"""A trial's checkpoints on the study's storage: whole and unharmed, or not there at all.

<trial>/checkpoints/step-00000160/<files>        as the recipe made them
                                 /manifest.json  their sizes and SHA-256, written last

The order of a commit, in which each moment may be the last of its process:

    1  delete the folder of this step     what an attempt left that was killed here, or one that was damaged since
    2  upload its files                   one after the other; without a manifest nobody takes them for a checkpoint
    3  write the manifest                 in one step: now the checkpoint is there
    4  delete all but the last two        a third that is left over here is deleted by the next commit

Whoever resumes takes the newest whose files have the sizes and digests of their manifest. One that does not, because
a disk or a copy harmed it, or because it was half deleted, is passed over for the one before: so there are two.
The report of a step is in the history before its checkpoint is committed (stored_run.py): the other way round, a
process killed in between would resume beyond a report that nobody has.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from orchestrator.study.storage import Storage

KEPT = 2
"""Checkpoints that are kept: the last, and another for when that is damaged."""


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints in one folder."""

    storage: Storage

    def steps(self) -> list[str]:
        """Names of the checkpoints that were written to the end, the oldest first."""
        names = self.storage.names()
        manifests = self.storage.read_all([f"{name}/manifest.json" for name in names])
        return [name for name, manifest in zip(names, manifests, strict=True) if manifest]

    def commit(self, step: int, folder: Path) -> None:
        """Copy the files of `folder` here as the checkpoint of `step`, and forget all but the last two.

        Whatever stops it, the checkpoints before it stay. Raises OSError when the storage cannot be written.
        """
        name = f"step-{step:08d}"
        self.storage.delete(name)  # of an attempt that was stopped here, or one that was damaged since
        files = {}
        try:
            for source in sorted(folder.iterdir()):
                self.storage.upload(source, f"{name}/{source.name}")
                files[source.name] = {"bytes": source.stat().st_size, "sha256": _sha256(source)}
            self.storage.write(f"{name}/manifest.json", json.dumps(files, indent=1))
        except BaseException:
            self.storage.delete(name)  # room for the next try, where the storage is full
            raise
        for old in self.steps()[:-KEPT]:
            self.storage.delete(old)

    def latest(self, scratch: Path) -> Path | None:
        """The folder of the newest unharmed checkpoint, fetched to `scratch` where it is remote; None without one."""
        for name in reversed(self.steps()):
            folder = self.storage.local / name if self.storage.local else self._fetch(name, scratch / name)
            if folder is not None and self._unharmed(name, folder):
                return folder
        return None

    def _fetch(self, name: str, folder: Path) -> Path | None:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            for file in self._manifest(name):
                (self.storage / name).download(file, folder / file)
        except (FileNotFoundError, ValueError):
            return None
        return folder

    def _unharmed(self, name: str, folder: Path) -> bool:
        try:
            files = self._manifest(name)
        except ValueError:
            return False
        return all(
            (folder / file).is_file() and (folder / file).stat().st_size == size and _sha256(folder / file) == digest
            for file, (size, digest) in files.items()
        )

    def _manifest(self, name: str) -> dict[str, tuple[int, str]]:
        """Size and digest by file. Raises ValueError when it is damaged."""
        try:
            files = json.loads(self.storage.read(f"{name}/manifest.json") or "")
            return {file: (found["bytes"], found["sha256"]) for file, found in files.items()}
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"The manifest of {self.storage}/{name} is damaged.") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
