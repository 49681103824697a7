"""The miniature of Common Voice: real speech with real transcripts, from games that Debian distributes."""

import json
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from trainables.cache import building
from trainables.miniature import LOCALES, fish_fillets, quality, release, tux_paint
from trainables.miniature.downloads import Archive, Package, debian_package, unpack_debian
from trainables.miniature.recording import Recording

LABEL = "miniature of Debian game speech (real recordings)"
CAVEAT = "No sentence is in two splits, but speakers are, unlike in Common Voice."


class Language(NamedTuple):
    """The source of a language's recordings: a game's packages and its parser."""

    packages: tuple[Package, ...]
    wanted: Callable[[str, str], bool]
    recordings: Callable[[Path, str], Iterator[Recording]]
    script: str = "LATIN"


def _gpl(name: str, *sha256: str) -> Package:
    return Package(name, "GPL-2", frozenset(sha256))


# Digests of Debian 12's builds. fillets-ng-data-nl has none recorded: apt's signed index vouches for it.
_FILLETS = _gpl(fish_fillets.TEXTS, "25de89afd8b1adf7bcace8290248a6a22c89cd42300317e69000e162c032cf84")
_FILLETS_CS = _gpl(fish_fillets.voices("cs"), "3ecef99b9456f1c80c9625c6f2418642b52d58e7167a46bad7a412db17991b14")
_FILLETS_NL = _gpl(fish_fillets.voices("nl"))
_STAMPS = _gpl(tux_paint.PACKAGE, "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34")

LANGUAGES = {
    "cs": Language((_FILLETS, _FILLETS_CS), fish_fillets.wanted, fish_fillets.recordings),
    "nl": Language((_FILLETS, _FILLETS_NL), fish_fillets.wanted, fish_fillets.recordings),
    "ro": Language((_STAMPS,), tux_paint.wanted, tux_paint.recordings),
    "el": Language((_STAMPS,), tux_paint.wanted, tux_paint.recordings, script="GREEK"),
}


class Judged(NamedTuple):
    """A recording and its faults: usable if there are none."""

    recording: Recording
    seconds: float
    flags: list[str]


def build(folder: Path, say: Callable[[str], None], locales: Iterable[str] = LOCALES) -> None:
    """Make `folder` (cs/, ro/, RELEASE.txt, SOURCES.json), unless it is there already."""
    with building(folder) as unfinished:
        if unfinished is None:
            return
        locales = tuple(locales)
        downloads = folder.with_name(f".{folder.name}.downloads")  # survives a killed build, not a finished one
        unpacked = unfinished / "unpacked"
        archives = _fetch(locales, downloads, unpacked, say)
        languages = {}
        for locale in locales:
            languages[locale] = _build_language(unpacked, unfinished / locale, locale)
            say(f"{locale}: {_summary(languages[locale])}")
        facts = {
            "release": LABEL,
            "caveat": CAVEAT,
            "packages": [archive.provenance() for archive in archives],
            "languages": languages,
        }
        (unfinished / "SOURCES.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        (unfinished / "RELEASE.txt").write_text(LABEL + "\n", encoding="utf-8")
        shutil.rmtree(unpacked)
        shutil.rmtree(downloads)


def judge(recordings: Iterable[Recording], script: str) -> list[Judged]:
    """Flag every recording of one source, each against the pace of the whole source."""
    tidied = [recording._replace(sentence=release.tidy(recording.sentence)) for recording in recordings]
    flags = [quality.text_flags(recording.sentence, script) for recording in tidied]
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # libsndfile and numpy release the interpreter's lock
        sounds = list(threads.map(lambda recording: quality.listen(recording.audio), tidied))
    pace = quality.usual_pace(
        (recording.sentence, sound)
        for recording, sound, problems in zip(tidied, sounds, flags, strict=True)
        if sound is not None and not {"no_text", "placeholder"} & set(problems)
    )
    return [
        Judged(
            recording,
            sound.seconds if sound else 0.0,
            problems or quality.sound_flags(recording.sentence, sound, pace),
        )
        for recording, sound, problems in zip(tidied, sounds, flags, strict=True)
    ]


def fetch(
    package: Package, wanted: Callable[[str], bool], downloads: Path, into: Path, say: Callable[[str], None]
) -> Archive:
    """Fetch a package to `downloads`, unless it is there, and unpack its wanted files `into` a folder."""
    say(f"fetching {package.name} from Debian")
    archive = debian_package(package, downloads)
    if not archive.as_recorded:
        say(f"{package.name} {archive.version} is not the recorded build: figures may differ a little")
    unpack_debian(archive, wanted, into)
    return archive


def _fetch(locales: Iterable[str], downloads: Path, into: Path, say: Callable[[str], None]) -> list[Archive]:
    users: dict[Package, list[str]] = defaultdict(list)
    for locale in locales:
        for package in LANGUAGES[locale].packages:
            users[package].append(locale)
    return [fetch(package, _wanted_by(its_locales), downloads, into, say) for package, its_locales in users.items()]


def _wanted_by(locales: Iterable[str]) -> Callable[[str], bool]:
    return lambda path: any(LANGUAGES[locale].wanted(path, locale) for locale in locales)


def _build_language(unpacked: Path, folder: Path, locale: str) -> dict[str, object]:
    language = LANGUAGES[locale]
    clips = folder / "clips"
    clips.mkdir(parents=True)
    splits: dict[release.Split, list[release.Clip]] = {split: [] for split in release.SPLITS}
    seconds, dropped = defaultdict[str, float](float), Counter[str]()
    for recording, duration, flags in judge(language.recordings(unpacked, locale), language.script):
        if flags:
            dropped[flags[0]] += 1
            continue
        file = clips / f"{recording.name}{recording.audio.suffix}"
        assert not file.exists(), file
        recording.audio.rename(file)
        split = release.split_of(recording.sentence, locale)
        splits[split].append(release.clip(file.name, recording.sentence, recording.speaker, locale))
        seconds[split] += duration
    release.write_tables(folder, splits)
    return {
        "clips": {split: len(rows) for split, rows in splits.items()},
        "hours": {split: round(seconds[split] / 3600, 3) for split in splits},
        "speakers": len({row.client_id for rows in splits.values() for row in rows}),
        "dropped": dict(dropped.most_common()),
    }


def _summary(facts: dict[str, object]) -> str:
    return f"clips {facts['clips']}, hours {facts['hours']}, dropped {facts['dropped']}"
