from pathlib import Path

import numpy as np
import pytest

from orchestrator.study.checkpoints import Checkpoints
from orchestrator.study.storage import Storage


def state(folder: Path, step: int) -> Path:
    """A checkpoint as a recipe makes it: two files."""
    folder.mkdir(exist_ok=True)
    (folder / "state.bin").write_bytes(np.random.default_rng(step).bytes(5000))
    (folder / "step.txt").write_text(str(step))
    return folder


def step(found: Path | None) -> int | None:
    """Of a checkpoint, after a look at all of it."""
    if found is None:
        return None
    number = int((found / "step.txt").read_text())
    assert (found / "state.bin").read_bytes() == np.random.default_rng(number).bytes(5000)
    return number


@pytest.fixture
def checkpoints(storage: Storage, tmp_path: Path) -> Checkpoints:
    """Steps 2 and 4 of six, on every kind of storage."""
    checkpoints = Checkpoints(storage / "checkpoints")
    for number in (2, 4):
        checkpoints.commit(number, state(tmp_path / "state", number))
    return checkpoints


def latest(checkpoints: Checkpoints, tmp_path: Path) -> int | None:
    return step(checkpoints.latest(tmp_path / "scratch"))


def damage(checkpoints: Checkpoints, name: str, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "damaged").write_bytes(content)
    checkpoints.storage.upload(tmp_path / "damaged", name)


def test_the_last_one_comes_back_and_two_are_kept(checkpoints: Checkpoints, tmp_path: Path) -> None:
    assert latest(checkpoints, tmp_path) == 4
    checkpoints.commit(6, state(tmp_path / "state", 6))
    assert checkpoints.steps() == checkpoints.storage.names() == ["step-00000004", "step-00000006"]
    assert latest(checkpoints, tmp_path) == 6


def test_where_there_is_none(storage: Storage, tmp_path: Path) -> None:
    assert Checkpoints(storage / "checkpoints").latest(tmp_path / "scratch") is None
    assert storage.names() == []


DAMAGE = [
    ("state.bin", np.random.default_rng(4).bytes(5000)[:1000]),  # cut off
    ("state.bin", np.random.default_rng(5).bytes(5000)),  # as long, but another
    ("manifest.json", b'{"state.bin": {"by'),
    ("manifest.json", b""),
    ("manifest.json", b"[]"),
    ("manifest.json", b'{"state.bin": {}}'),
    ("manifest.json", b"\xff\xfe"),
    ("manifest.json", b'{"lost.bin": {"bytes": 1, "sha256": "00"}}'),
]


def test_a_damaged_one_is_passed_over(checkpoints: Checkpoints, tmp_path: Path) -> None:
    for name, content in DAMAGE:
        damage(checkpoints, f"step-00000004/{name}", tmp_path, content)
        assert latest(checkpoints, tmp_path) == 2, (name, content[:50])
        # And made again when the trial comes there again.
        checkpoints.commit(4, state(tmp_path / "state", 4))
        assert latest(checkpoints, tmp_path) == 4


def test_a_lost_file_is_noticed(checkpoints: Checkpoints, tmp_path: Path) -> None:
    checkpoints.storage.delete("step-00000004/state.bin")
    assert latest(checkpoints, tmp_path) == 2


def test_none_is_left_when_all_are_damaged(checkpoints: Checkpoints, tmp_path: Path) -> None:
    for name in checkpoints.steps():
        damage(checkpoints, f"{name}/state.bin", tmp_path, b"")
    assert latest(checkpoints, tmp_path) is None


def test_one_that_was_not_written_to_the_end_is_none(checkpoints: Checkpoints, tmp_path: Path) -> None:
    checkpoints.storage.upload(state(tmp_path / "state", 6) / "state.bin", "step-00000006/state.bin")
    assert len(checkpoints.steps()) == 2
    assert latest(checkpoints, tmp_path) == 4


def test_a_failing_upload_leaves_those_before_it(
    checkpoints: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = Storage.upload

    def full(self: Storage, source: Path, name: str) -> None:
        upload(self, source, name)
        if source.name == "step.txt":
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Storage, "upload", full)
        with pytest.raises(OSError, match="No space"):
            checkpoints.commit(6, state(tmp_path / "state", 6))
    assert checkpoints.storage.names() == ["step-00000002", "step-00000004"]
    assert latest(checkpoints, tmp_path) == 4
    checkpoints.commit(6, state(tmp_path / "state", 6))
    assert latest(checkpoints, tmp_path) == 6


def test_a_checkpoint_on_this_machine_is_not_copied(tmp_path: Path) -> None:
    checkpoints = Checkpoints(Storage.at(str(tmp_path / "checkpoints")))
    checkpoints.commit(2, state(tmp_path / "state", 2))
    assert checkpoints.latest(tmp_path / "scratch") == tmp_path / "checkpoints" / "step-00000002"
    assert not (tmp_path / "scratch").exists()
