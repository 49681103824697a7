"""A storage that is full."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.study import Study, assert_undisturbed


@pytest.fixture
def small(study: Study) -> Iterator[Path]:
    """A file system of four megabytes as the study's storage."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system that is full soon")
    study.storage.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "l2s-small", str(study.storage)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield study.storage
    subprocess.run(["umount", "--lazy", str(study.storage)], check=True)


def test_a_full_storage_pauses_the_study(small: Path, study: Study, reference: Study) -> None:
    """One checkpoint fits, a second beside it does not; later not even what says that the study pauses."""
    output = study.submit("--languages", "cs", "--weights", "0", "--ballast", "2500000").ends(1)
    assert "paused: the storage is full ([Errno 28]" in output
    assert "Traceback" not in output
    assert "the same command goes on with them" in output

    subprocess.run(["mount", "-o", "remount,size=16m", str(small)], check=True)
    submission = study.submit("--languages", "cs", "--weights", "0")
    submission.says("step 6 of 8")
    filler = small / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    output = submission.ends(1)
    assert "from a checkpoint" in output
    assert "the storage is full" in output
    assert "Traceback" not in output

    filler.unlink()
    study.submit("--local").ends(0)
    assert_undisturbed(study, reference)
