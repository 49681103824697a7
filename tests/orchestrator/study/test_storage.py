import json
import pickle
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.arrow import ArrowFSWrapper
from pyarrow import fs

from orchestrator.study.storage import Storage


def test_what_is_written_is_read_on_every_kind(storage: Storage, tmp_path: Path) -> None:
    assert storage.read("a/b.txt") is None
    assert storage.names() == (storage / "nowhere").names() == []
    storage.write("a/b.txt", "žluťoučký\n")
    storage.write("a/b.txt", "kůň\n")
    storage.write("c.txt", "")
    assert storage.read("a/b.txt") == (storage / "a").read("b.txt") == "kůň\n"
    assert storage.names() == ["a", "c.txt"]
    assert storage.read_all(["a/b.txt", "nowhere", "c.txt"]) == ["kůň\n", None, ""]

    (tmp_path / "weights").write_bytes(bytes(range(256)) * 1000)
    storage.upload(tmp_path / "weights", "d/e/weights")
    again = storage.download("d/e/weights", tmp_path / "again")
    assert again.read_bytes() == (tmp_path / "weights").read_bytes()
    with pytest.raises(FileNotFoundError):
        storage.download("d/e/nothing", tmp_path / "nothing")

    for name in ("a", "c.txt", "d", "nowhere"):
        storage.delete(name)
        storage.delete(name)
    assert storage.names() == []


def test_a_text_with_bytes_that_are_not_utf_8_is_written_with_escapes(storage: Storage) -> None:
    storage.write("error.txt", "OSError: caf\udce9")
    assert storage.read("error.txt") == "OSError: caf\\udce9"


@pytest.mark.parametrize(
    "where", ["{}/a%20b", "file://{}/a%2520b", "file://{}/a%20b", "file://{}/a b", "file:{}/a?b#c"]
)
def test_a_file_lies_in_the_folder_that_was_named(where: str, tmp_path: Path) -> None:
    storage = Storage.at(where.format(tmp_path))
    storage.write("a.txt", "1")
    (folder,) = tmp_path.iterdir()
    names = {"{}/a%20b": "a%20b", "file://{}/a%2520b": "a%20b", "file:{}/a?b#c": "a?b#c"}
    assert folder.name == names.get(where, "a b")
    assert storage.local == folder
    assert (folder / "a.txt").read_text() == Storage.at(str(folder)).read("a.txt") == "1"


def test_a_storage_travels_to_workers(storage: Storage) -> None:
    if storage.filesystem.type_name != "py::fsspec+memory":  # whose files are this process's
        storage.write("a.txt", "1")
        assert pickle.loads(pickle.dumps(storage)).read("a.txt") == "1"  # noqa: S301


def test_looking_changes_nothing(storage: Storage, tmp_path: Path) -> None:
    storage.check()
    storage.read("a")
    storage.names()
    storage.delete("a")
    assert not (tmp_path / "runs").exists()
    assert storage.names() == []


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage.at(str(tmp_path))
    storage.write("result.json", "first")

    def broken(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(OSError, match="No space"):
        storage.write("result.json", "second")
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    assert storage.read("result.json") == "first"


def test_a_file_of_an_object_store_appears_whole_or_not_at_all(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage.at(f"{s3}/runs")
    storage.write("result.json", "first")

    class Broken(fs.FSSpecHandler):
        def move(self, src: str, dest: str) -> None:
            raise OSError("the connection was lost")

    broken = Storage(fs.PyFileSystem(Broken(ArrowFSWrapper(storage.filesystem))), storage.path)
    with pytest.raises(OSError, match="connection was lost"):
        broken.write("result.json", "second")
    found = storage.filesystem.get_file_info(fs.FileSelector(storage.path, recursive=True))
    assert [info.base_name for info in found] == ["result.json"]
    assert storage.read("result.json") == "first"


def test_a_file_that_grows_is_read_whole(storage: Storage) -> None:
    """An object store that is asked for the size of one version sends so many bytes of the next."""
    storage.write("history.json", json.dumps([0]))
    done = threading.Event()

    def write() -> None:
        count = 1
        while not done.is_set():
            count += 1
            storage.write("history.json", json.dumps([0] * count))
            time.sleep(0.01)  # a file that never rests cannot be read

    writer = threading.Thread(target=write)
    writer.start()
    lengths = [1]
    try:
        while lengths[-1] < 40:
            lengths.append(len(json.loads(storage.read("history.json") or "")))
    finally:
        done.set()
        writer.join()
    assert lengths == sorted(lengths)


def test_what_an_object_store_breaks_off_is_read_again(storage: Storage) -> None:
    class BreaksOff(fs.FSSpecHandler):
        left = 2

        def open_input_stream(self, path: str) -> Any:
            if self.left:
                self.left -= 1
                raise OSError("AWS Error INTERNAL_FAILURE")
            return super().open_input_stream(path)

    storage.write("history.json", "[0]")
    handler = BreaksOff(ArrowFSWrapper(storage.filesystem))
    assert Storage(fs.PyFileSystem(handler), storage.path).read("history.json") == "[0]"
    handler.left = 100
    with pytest.raises(OSError, match="INTERNAL_FAILURE"):
        Storage(fs.PyFileSystem(handler), storage.path).read("history.json")


def test_a_folder_may_come_into_being_while_it_is_listed(tmp_path: Path) -> None:
    folders = [tmp_path / str(i) for i in range(1000)]
    started = threading.Event()

    def make() -> None:
        started.set()
        for folder in folders:
            folder.mkdir()

    maker = threading.Thread(target=make)
    maker.start()
    started.wait()
    for folder in folders:
        while not folder.exists():
            assert Storage.at(str(folder)).names() == []
    maker.join()


def test_what_a_dead_writer_left_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / ".result.json.0123abcd").write_text("hal")
    assert Storage.at(str(tmp_path)).names() == []


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("s3://bucket/runs", "s3://bucket/runs"),
        ("s3://somebody:swordfish@bucket/runs/", "s3://bucket/runs"),
        ("memory://runs", "memory://runs"),
        ("/data/runs", "/data/runs"),
        ("file:///data/runs", "/data/runs"),
        ("file:///data/my runs", "/data/my runs"),
        ("file:///data/my%20runs/", "/data/my runs"),
        ("file:///data/per%2541cent", "/data/per%41cent"),
        ("file:///data/100%", "/data/100%"),
        ("file:///data/a?b#c;d&e=f", "/data/a?b#c;d&e=f"),
        ("file:///data/a%3Fb%23c", "/data/a?b#c"),
        ("file:///data/kůň", "/data/kůň"),
        ("file:/data/runs", "/data/runs"),
        ("file://localhost/data/runs", "/data/runs"),
        ("FILE:///data/u:p@b", "/data/u:p@b"),
        ("local:///data/a?b", "/data/a?b"),
        ("/data/per%41cent", "/data/per%41cent"),
        ("/data/a?b#c", "/data/a?b#c"),
        ("/data/a:/b", "/data/a:/b"),
        ("s3://bucket/my runs", "s3://bucket/my runs"),
    ],
)
@pytest.mark.usefixtures("s3")
def test_a_storage_says_where_it_is(where: str, said: str) -> None:
    assert str(Storage.at(where)) == said
    assert str(Storage.at(where) / "a") == f"{said}/a"


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        ("{s3}-not/runs", r"must be in a bucket that exists, but 'bucket-\w+-not' does not"),
        ("s3://", "must be in a bucket that exists"),
        ("memory://", "must be in a bucket that exists"),
        ("nosuch://x", "must be a folder or a URL, but nosuch://x is not: Protocol not known: nosuch"),
        ("file://elsewhere/runs", "must have an absolute path on this machine, .* but file://elsewhere/runs has none"),
        ("file:runs", "must have an absolute path on this machine, .* but file:runs has none"),
        ("file:///runs/%FF", r"must have a name in UTF-8, but '/runs/\\udcff' is not"),
        ("~nobody-of-that-name/runs", "must be a folder or a URL, but ~nobody-of-that-name/runs is not"),
        ("s3://somebody:sword/fish swordfish@bucket/%", "must be usable, but s3://bucket/% is not: Cannot parse URI"),
        (
            "s3://bucket/x?secret_key=swordfish",
            "must be usable, but s3://bucket/x is not: Unexpected query parameter .*secret_key",
        ),
    ],
)
def test_a_url_that_cannot_be_used_is_one_sentence(where: str, sentence: str, s3: str) -> None:
    with pytest.raises(ValueError, match=sentence) as error:
        Storage.at(where.format(s3=s3)).check()
    assert "\n" not in str(error.value)
    assert "swordfish" not in str(error.value)


@pytest.mark.usefixtures("denied")
@pytest.mark.parametrize("where", ["s3://bucket/runs", "s3://somebody:swordfish@bucket/runs"])
def test_without_credentials_that_is_said(where: str) -> None:
    with pytest.raises(ValueError, match=r"must be readable, but s3://bucket/runs is not: .*ACCESS_DENIED") as error:
        Storage.at(where).check()
    assert "\n" not in str(error.value)
    assert "swordfish" not in str(error.value)


def test_a_folder_must_be_one_that_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for where in (tmp_path / "file", tmp_path / "file" / "runs", Path("/proc/runs")):
        with pytest.raises(ValueError, match=f"must be a folder that can be written, but {where} is not"):
            Storage.at(str(where)).check()
    Storage.at(str(tmp_path / "a" / "b")).check()
    assert not (tmp_path / "a").exists()


def test_what_is_free_is_known_of_a_folder(tmp_path: Path, s3: str) -> None:
    assert (Storage.at(str(tmp_path / "runs")).free() or 0) > 0
    assert Storage.at(s3).free() is None


def test_many_small_files_are_read_side_by_side(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, pools = Storage.at(s3), []

    class Pool:
        def __init__(self, workers: int) -> None:
            pools.append(workers)

        def __enter__(self) -> "Pool":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        map = staticmethod(map)

    def pool(workers: int) -> Any:
        return Pool(workers)

    monkeypatch.setattr("orchestrator.study.storage.ThreadPoolExecutor", pool)
    assert storage.read_all(["a", "b"]) == [None, None]
    assert pools == [32]
