"""Tiny audio books in the layouts of LibriSpeech and Libri-light, spoken in tones."""

from collections.abc import Sequence
from pathlib import Path

import soundfile

from trainables import testing
from trainables.corpora.audio import SAMPLE_RATE

TEXTS = ("ABBA CAFE", "DEED", "FIG HIDE", "JIG")


def chapter(subset: Path, speaker: int | str, number: int, texts: Sequence[str] = TEXTS) -> Path:
    """A chapter of a subset, with a clip for each text."""
    folder = subset / str(speaker) / str(number)
    folder.mkdir(parents=True)
    names = [f"{speaker}-{number}-{i:04d}" for i in range(len(texts))]
    for name, text in zip(names, texts, strict=True):
        soundfile.write(folder / f"{name}.flac", testing.tone(text.lower()), SAMPLE_RATE)
    lines = [f"{name} {text}\n" for name, text in zip(names, texts, strict=True)]
    (folder / f"{speaker}-{number}.trans.txt").write_text("".join(lines))
    return folder


def librispeech(root: Path) -> Path:
    """A release with two speakers to train on, and one for each other subset."""
    for speaker, subset in (
        (19, "train-clean-100"),
        (103, "train-clean-100"),
        (7, "dev-other"),
        (8, "test-clean"),
        (9, "test-other"),
    ):
        chapter(root / "LibriSpeech" / subset, speaker, 1240)
    return root


def librilight(root: Path) -> Path:
    """The limited sets: of each speaker, a chapter of four clips or of one."""
    for speaker, part in enumerate(("1h/0", "1h/1", "1h/2", "1h/3", "1h/4", "1h/5", "9h"), 19):
        chapter(root / "librispeech_finetuning" / part / "clean", speaker, 495)
        chapter(root / "librispeech_finetuning" / part / "other", 10 * speaker, 7, TEXTS[1:2])
    return root
