"""The experiment in small: real speech and pretrained weights from package registries, no hub needed.

`python -m trainables.miniature` builds it once; `build` does the same from Python. With `--english` and `build_books`
it is English speech in the layouts of LibriSpeech and Libri-light, where speakers are held out.
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


class GameBooks(NamedTuple):
    """The folders of the English miniature's parts."""

    librispeech: Path  # train-clean-100/, train-clean-360/, train-other-500/, dev-clean/, …
    librilight: Path  # 1h/0/clean/, …: limited sets of the same clips
    teacher: Path  # Whisper tiny.en, for `from_pretrained`
    word_pieces: Path  # all-MiniLM-L6-v2, a BERT for `from_pretrained`


def locate(cache: Path | None = None, *, synthetic: bool = False) -> Miniature:
    """The folders of the miniature under `cache`, built or not."""
    root = (cache or cache_folder()) / "miniature"
    corpus = "synthetic_common_voice" if synthetic else "common_voice"
    return Miniature(root / corpus, root / "whisper-tiny-en", root / "multilingual-e5-small")


def locate_books(cache: Path | None = None) -> GameBooks:
    """The folders of the English miniature under `cache`, built or not."""
    root = (cache or cache_folder()) / "miniature"
    books = root / "game_books"
    return GameBooks(
        books / "LibriSpeech", books / "librispeech_finetuning", root / "whisper-tiny-en", root / "all-minilm-l6-v2"
    )


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


def build_books(cache: Path | None = None, *, say: Callable[[str], None] = lambda _: None) -> GameBooks:
    """Build what is missing of the English miniature under `cache` (or `cache_folder()`), telling `say` each step.

    Raises:
        DownloadError: something cannot be fetched, or is not what it should be.
    """
    from trainables.miniature import game_books, weights  # decoders: not for `locate_books`

    books = locate_books(cache)
    game_books.build(books.librispeech.parent, say)
    weights.build_student(books.teacher, say)
    weights.build_word_pieces(books.word_pieces, say)
    return books
