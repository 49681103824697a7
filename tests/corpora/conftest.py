"""A release to be damaged."""

import shutil

import pytest

from trainables.corpora.common_voice import CommonVoice


@pytest.fixture
def copy(release, tmp_path):
    """A release of one's own, to be damaged: its root, and its Czech."""
    root = shutil.copytree(release, tmp_path / "copy")
    return root, CommonVoice(root=str(root), language="cs")
