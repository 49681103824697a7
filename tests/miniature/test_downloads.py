import hashlib
import io
import subprocess
import tarfile
import zipfile

import pytest

from trainables.miniature import downloads
from trainables.miniature.downloads import (
    Archive,
    DownloadError,
    Package,
    debian_package,
    unpack_wheel,
    wheel,
)

CONTENT = b"some bytes"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def commands(monkeypatch):
    """Stands in for apt and pip: records what is run, answers, and writes the file they would write."""
    run = []
    answers = {"apt-cache": ""}

    def quietly(command, folder):
        run.append(list(command))
        if "download" in command:
            (folder / "thing_1.0%3a2_all.deb").write_bytes(CONTENT)
        return subprocess.CompletedProcess(command, 0, answers.get(command[0], ""), "")

    monkeypatch.setattr(downloads, "_quietly", quietly)
    monkeypatch.setattr(downloads.shutil, "which", lambda name: f"/bin/{name}")
    return run, answers


def test_a_recorded_debian_package(tmp_path, commands):
    archive = debian_package(Package("thing", "MIT", frozenset({DIGEST})), tmp_path)
    assert archive.as_recorded
    assert archive.provenance() == {
        "package": "thing",
        "version": "1.0:2",
        "sha256": DIGEST,
        "licence": "MIT",
        "as_recorded": True,
    }


def test_a_download_that_a_killed_run_left_is_used_again(tmp_path, commands):
    run, _ = commands
    package = Package("thing", "MIT", frozenset({DIGEST}))
    debian_package(package, tmp_path)
    debian_package(package, tmp_path)
    assert sum("download" in command for command in run) == 1


def test_another_build_of_a_debian_package_needs_apts_word(tmp_path, commands):
    _, answers = commands
    answers["apt-cache"] = f"Package: thing\nSHA256: {DIGEST}\n"
    archive = debian_package(Package("thing", "MIT", frozenset({"0" * 64})), tmp_path)
    assert not archive.as_recorded


def test_unknown_bytes_are_refused_and_deleted(tmp_path, commands):
    package = Package("thing", "MIT", frozenset({"0" * 64}), version="1.0")
    for fetch in (debian_package, wheel):
        with pytest.raises(DownloadError, match=f"must be {'0' * 64}, but is {DIGEST} instead"):
            fetch(package, tmp_path)
        assert not list(tmp_path.rglob("*.deb"))


def test_a_failed_download_says_what_to_do(tmp_path, commands, monkeypatch):
    failure = subprocess.CompletedProcess([], 100, "", "W: noise\nE: Unable to locate package thing\n")
    monkeypatch.setattr(downloads, "_quietly", lambda command, folder: failure)
    with pytest.raises(DownloadError, match=r"apt-get update.*E: Unable to locate package thing$"):
        debian_package(Package("thing", "MIT"), tmp_path)


def test_without_apt_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads.shutil, "which", lambda name: None)
    with pytest.raises(DownloadError, match="--synthetic"):
        debian_package(Package("thing", "MIT"), tmp_path)


def test_only_wanted_files_of_a_debian_package_are_written(tmp_path, monkeypatch):
    tar_bytes = io.BytesIO()
    with tarfile.open(fileobj=tar_bytes, mode="w") as tar:
        for name in ("./usr/share/a.ogg", "./usr/share/b.txt"):
            info = tarfile.TarInfo(name)
            info.size = len(CONTENT)
            tar.addfile(info, io.BytesIO(CONTENT))
    tool = tmp_path / "dpkg-deb"
    tool.write_text('#!/bin/sh\nexec cat "$2"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (tmp_path / "thing.deb").write_bytes(tar_bytes.getvalue())
    archive = Archive(tmp_path / "thing.deb", "thing", "1.0", DIGEST, "MIT", True)
    downloads.unpack_debian(archive, lambda name: name.endswith(".ogg"), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").rglob("*.*")] == ["a.ogg"]
    assert (tmp_path / "out/usr/share/a.ogg").read_bytes() == CONTENT


def test_only_wanted_members_of_a_wheel_are_written(tmp_path):
    with zipfile.ZipFile(tmp_path / "thing.whl", "w") as file:
        for name in ("data/a", "data/b", "other/c", "single"):
            file.writestr(name, CONTENT)
    archive = Archive(tmp_path / "thing.whl", "thing", "1.0", DIGEST, "MIT", True)
    unpack_wheel(archive, ("data", "single"), tmp_path / "out")
    files = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert files == ["data/a", "data/b", "single"]
