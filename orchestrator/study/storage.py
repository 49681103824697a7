"""The place of a study: a folder that all nodes share, or an object store's URL; files appear whole or not at all.

What is one step to every other process, and what is not:

    write     on a folder: a dotted file beside it, flushed to the disk, then renamed over the old one, in one step;
              on an object store: one object, which is there when its last byte is; a store cannot rename, but copies
              and deletes; on fsspec's other file systems as on a folder, and as good as their `move`
    upload    not one step: on a folder the file grows under its own name, and a copy may break off
    delete    of a file one step; of a folder as many as it has files, in any order
    names     every file that was written before the listing began, and is still there, is in it

So what belongs together is written file by file, and last a small file that vouches for the others (checkpoints.py).
"""

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

import fsspec
from pyarrow import fs

from orchestrator.redaction import first_line, public

AT_ONCE = 32
"""Requests under way at once, where many small files are read."""
READINGS = 8
"""How often, at most, a file is read that others write all the while."""
URL = re.compile(r"[A-Za-z][\w+.:-]*://")
"""The beginning of a URL; one of fsspec's may have several schemes, such as `simplecache::s3://`."""
URL_CHARACTERS = "%:/?#[]@!$&'()*+,;=-._~"
"""The characters besides letters and digits that a URL may have."""


@dataclass(frozen=True)
class Storage:
    """A folder on any of Arrow's file systems, or of fsspec's. It need not exist: writing makes it."""

    filesystem: fs.FileSystem
    path: str

    @classmethod
    def at(cls, where: str) -> "Storage":
        """The storage at a path or URL.

        Raises ValueError when no file system knows such a URL, or its own does not answer.
        """
        if re.match("(file|local):", where, re.IGNORECASE):
            return cls(fs.LocalFileSystem(), _folder(_file_path(where)))
        if not URL.match(where):
            return cls(fs.LocalFileSystem(), _folder(where))
        try:
            # Arrow wants what no URL may have, such as spaces, in escapes; escapes that are there stay.
            return cls(*fs.FileSystem.from_uri(quote(where, safe=URL_CHARACTERS)))
        except (ValueError, OSError, ImportError) as error:
            arrows = error
        try:  # fsspec knows many more
            filesystem, path = fsspec.url_to_fs(where)
        except ImportError:  # of a kind that Arrow has as well: what it says is what is wrong
            raise ValueError(
                f"The storage must be usable, but {public(where)} is not: {first_line(arrows, where)}"
            ) from arrows
        except (ValueError, OSError) as error:
            why = first_line(error, where)
            raise ValueError(f"The storage must be a folder or a URL, but {public(where)} is not: {why}") from error
        return cls(fs.PyFileSystem(fs.FSSpecHandler(filesystem)), path)

    @property
    def local(self) -> Path | None:
        """The folder's path, where the storage is a folder, or else None."""
        return Path(self.path) if isinstance(self.filesystem, fs.LocalFileSystem) else None

    @property
    def _of_objects(self) -> bool:
        """Whether this is an object store, which has no folders but in its objects' names."""
        return self.filesystem.type_name in ("s3", "gcs")

    def __truediv__(self, name: str) -> "Storage":
        return Storage(self.filesystem, f"{self.path}/{name}")

    def __str__(self) -> str:
        kind = self.filesystem.type_name.rpartition("+")[2]  # fsspec's is `py::fsspec+memory`
        # To some of fsspec's file systems the path is the whole URL, with its credentials.
        return self.path if self.local else public(f"{kind}://{self.path.lstrip('/')}")

    def read(self, name: str) -> str | None:
        """A file's text, or None where there is no such file. Damaged bytes are for the reader to notice."""
        path, data = f"{self.path}/{name}", b""
        try:
            for reading in range(1, READINGS + 1):
                try:
                    with self.filesystem.open_input_stream(path) as stream:
                        data = stream.read()
                except FileNotFoundError:
                    raise
                except OSError:  # an object store may break off what it sends, above all of what is written meanwhile
                    if self.local or reading == READINGS:
                        raise
                    continue
                # An object store is asked for the size, then for so many bytes: of a newer object, if there is one now.
                if self.local or self.filesystem.get_file_info(path).size in (len(data), None):
                    break
        except FileNotFoundError:
            return None
        return data.decode(errors="replace")

    def read_all(self, names: Sequence[str]) -> list[str | None]:
        """The texts of many small files, as `read` gives them; read side by side where each is a request."""
        if self.local:
            return [self.read(name) for name in names]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(self.read, names))

    def write(self, name: str, content: str | bytes) -> None:
        """Write so that a reader finds the old content or the new, never half of it, even after a power cut."""
        path = f"{self.path}/{name}"
        data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
        if self._of_objects:  # which appear when they are whole
            with self.filesystem.open_output_stream(path) as stream:
                stream.write(data)
            return
        parent, _, base = path.rpartition("/")
        # Dotted, so that nobody lists it; of its own name, so that two writers do not share it.
        partial = f"{parent}/.{base}.{uuid.uuid4().hex[:8]}"
        self.filesystem.create_dir(parent)
        try:
            if self.local:
                with Path(partial).open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            else:
                with self.filesystem.open_output_stream(partial) as stream:
                    stream.write(data)
            self.filesystem.move(partial, path)
        except BaseException:
            self._forget(partial)
            raise

    def names(self) -> list[str]:
        """Names of all that lies directly in this folder, sorted, without dotted ones; none where it is not there."""
        selector = fs.FileSelector(self.path, allow_not_found=True)
        try:
            found = self.filesystem.get_file_info(selector)
        except FileNotFoundError:  # another process made the folder just after Arrow had not found it
            found = self.filesystem.get_file_info(selector)
        return sorted(info.base_name for info in found if not info.base_name.startswith("."))

    def delete(self, name: str) -> None:
        """Delete a file or a folder, if it is there."""
        path = f"{self.path}/{name}"
        kind = self.filesystem.get_file_info(path).type
        try:
            if kind == fs.FileType.Directory:
                self.filesystem.delete_dir(path)
            elif kind == fs.FileType.File:
                self.filesystem.delete_file(path)
        except FileNotFoundError:
            pass  # somebody else was faster

    def upload(self, source: Path, name: str) -> None:
        """Copy a file here. It may be there before it is whole: something that is written later must vouch for it."""
        if not self._of_objects:
            self.filesystem.create_dir(f"{self.path}/{name}".rpartition("/")[0])
        with source.open("rb") as file, self.filesystem.open_output_stream(f"{self.path}/{name}") as stream:
            shutil.copyfileobj(file, stream, 1 << 22)

    def download(self, name: str, target: Path) -> Path:
        """Copy a file from here.

        Raises FileNotFoundError when it is not there.
        """
        with self.filesystem.open_input_stream(f"{self.path}/{name}") as stream, target.open("wb") as file:
            shutil.copyfileobj(stream, file, 1 << 22)
        return target

    def download_all(self, folder: Path) -> None:
        """Copy the files that lie directly here into a folder on this machine."""
        for name in self.names():
            self.download(name, folder / name)

    def free(self) -> int | None:
        """Bytes that are left, or None where that is not known."""
        folder = self.local
        while folder is not None and not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free if folder else None

    def check(self) -> None:
        """Look, without changing anything, whether the storage can be used.

        Raises ValueError when it cannot be read or, as far as can be seen, written.
        """
        folder = self.local
        if folder is None:
            self._check_remote()
            return
        if not writable(folder):
            raise ValueError(f"The storage must be a folder that can be written, but {self.path} is not.")

    def _check_remote(self) -> None:
        bucket = self.path.partition("/")[0]
        try:
            missing = bool(bucket) and self.filesystem.get_file_info(bucket).type == fs.FileType.NotFound
            self.names()
        except (OSError, ValueError) as error:
            raise ValueError(f"The storage must be readable, but {self} is not: {first_line(error)}") from error
        if missing or not self.path:
            raise ValueError(f"The storage must be in a bucket that exists, but {bucket or str(self)!r} does not.")

    def _forget(self, path: str) -> None:
        with contextlib.suppress(OSError):  # it was never made, or the storage is what has failed
            self.filesystem.delete_file(path)


def writable(folder: Path) -> bool:
    """Whether a folder can be written or, where it does not exist, be made, as far as can be seen without trying."""
    while not folder.exists():
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK) and Path("/proc") not in (folder, *folder.parents)


def _folder(path: str) -> str:
    """The absolute path of a folder whose name Arrow can take.

    Raises ValueError when it is in an unknown person's home, or when its name is not UTF-8.
    """
    try:
        folder = str(Path(path).expanduser().absolute())
        folder.encode()
    except RuntimeError as error:
        raise ValueError(f"The storage must be a folder or a URL, but {path} is not: {first_line(error)}") from error
    except UnicodeEncodeError as error:
        raise ValueError(f"The storage must have a name in UTF-8, but {path!a} is not.") from error
    return folder


def _file_path(url: str) -> str:
    """The path in a `file:` URL. It has no query and no fragment: `?` and `#` are characters of names.

    Raises ValueError when the URL has no absolute path, or names another machine.
    """
    found = re.fullmatch(r"\w+:(?://(?:localhost)?(/.*)|(/(?!/).*))", url, re.IGNORECASE | re.DOTALL)
    if found is None:
        raise ValueError(
            "A file URL must have an absolute path on this machine, such as file:///data/runs, "
            f"but {public(url)} has none."
        )
    return os.fsdecode(unquote_to_bytes(found[1] or found[2]))
