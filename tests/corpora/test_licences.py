"""How a release is called, and what it may be used for."""

from pathlib import Path

import pytest

from tests.corpora.strays import dangle, fill, loop, pipe, sentence_of
from trainables.corpora.common_voice import CommonVoice


@pytest.mark.parametrize("content", [b"Tiny \xff", "Tiny 1\n".encode("utf-16")])
def test_a_label_that_is_no_text_is_named(copy, content):
    root, data = copy
    (root / "RELEASE.txt").write_bytes(content)
    assert "RELEASE.txt must be UTF-8 text that can be read, but is not: invalid start byte" in sentence_of(
        data.release
    )


@pytest.mark.parametrize("left", [dangle, loop, fill, pipe, Path.touch])
def test_a_label_that_says_nothing_leaves_the_name_of_the_folder(copy, left):
    root, data = copy
    left(root / "RELEASE.txt")
    assert data.release() == "copy"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"packages": [{}]}', b'{"packages": 1}', b'{"packages": [{"licence": 1}]}']
)
def test_sources_that_give_no_licence_are_named(copy, content):
    root, data = copy
    (root / "SOURCES.json").write_bytes(content)
    assert f"{root / 'SOURCES.json'} must be JSON that gives each of its `packages` a `licence`" in sentence_of(
        data.licence
    )


def test_sources_that_are_no_text_are_named(copy):
    root, data = copy
    (root / "SOURCES.json").write_bytes(b"\xff")
    assert "SOURCES.json must be UTF-8 text that can be read" in sentence_of(data.licence)
    (root / "SOURCES.json").write_text('\ufeff{"packages": [{"licence": "MIT"}]}')
    assert data.licence() == "MIT"


def test_a_release_is_called_what_it_says_or_as_its_folder(release, tmp_path):
    root = tmp_path / "cv-corpus-22.0-2025-06-20"
    root.mkdir()
    data = CommonVoice(root=str(root), language="cs")
    assert data.release() == "cv-corpus-22.0-2025-06-20"
    (root / "RELEASE.txt").write_text("Tiny 1\n")
    assert data.release() == "Tiny 1"
    (root / "RELEASE.txt").write_text("\ufeffTiny 2\r\n")
    assert data.release() == "Tiny 2"
