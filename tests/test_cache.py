import threading
import time
from pathlib import Path

import pytest

from trainables.cache import building, cache_folder, sha256_of, write_atomically
from trainables.miniature.__main__ import main


def test_cache_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("L2S_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    monkeypatch.delenv("L2S_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "distill-l2s"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "distill-l2s"


@pytest.mark.parametrize("name", ["file", "~nobody-of-that-name/cache"])
def test_a_cache_that_can_be_no_folder_is_said(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("L2S_CACHE", name)
    with pytest.raises(ValueError, match=f"^L2S_CACHE must be a folder.*{name}"):
        cache_folder()
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("L2S_CACHE must be a folder")


def test_a_folder_appears_only_when_it_is_complete_and_is_built_once(tmp_path):
    folder = tmp_path / "deep" / "thing"
    with building(folder) as unfinished:
        assert unfinished is not None
        (unfinished / "file").write_text("content")
        assert not folder.exists()
    assert (folder / "file").read_text() == "content"
    with building(folder) as again:
        assert again is None


def build_and_fail(folder, reason):
    with building(folder) as unfinished:
        assert unfinished is not None
        (unfinished / "file").touch()
        raise reason


@pytest.mark.parametrize("reason", [RuntimeError, KeyboardInterrupt])
def test_a_failed_build_leaves_nothing(tmp_path, reason):
    with pytest.raises(reason):
        build_and_fail(tmp_path / "thing", reason)
    assert [path.name for path in tmp_path.iterdir()] == [".thing.lock"]


def test_what_a_killed_build_left_is_swept_away(tmp_path):
    leftover = tmp_path / ".thing.unfinished-0123"
    leftover.mkdir()
    (leftover / "half").touch()
    with building(tmp_path / "thing"):
        assert not leftover.exists()


def test_two_threads_build_once(tmp_path):
    builds = []

    def build():
        with building(tmp_path / "thing") as unfinished:
            if unfinished is not None:
                time.sleep(0.05)
                builds.append(unfinished)

    threads = [threading.Thread(target=build) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(builds) == 1
    assert (tmp_path / "thing").is_dir()


def test_sha256_of(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256_of(tmp_path / "file").startswith("ba7816bf8f01cfea414140de5dae2223")


def test_write_atomically_replaces_or_leaves_alone(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, "one\n")
    write_atomically(path, "two\n")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\ud800")
    assert path.read_text() == "two\n"
    assert list(tmp_path.iterdir()) == [path]
