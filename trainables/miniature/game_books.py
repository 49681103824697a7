"""The miniature of LibriSpeech and Libri-light: English speech from games and a telephone exchange, out of Debian."""

import json
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import soundfile

from trainables.cache import building
from trainables.corpora.audio import SAMPLE_RATE, UnusableAudio, decode
from trainables.miniature import amazon_queen, asterisk, books, drascula
from trainables.miniature.downloads import Archive, Package
from trainables.miniature.game_cast import HELD_OUT, SPEAKERS, TRAIN
from trainables.miniature.recording import Recording
from trainables.miniature.spoken_games import fetch, judge

LIBRISPEECH, LIBRILIGHT = "LibriSpeech", "librispeech_finetuning"
SIXTH_SECONDS, REST_SECONDS = 60.0, 1140.0
"""Speech in each of Libri-light's folders 1h/0 to 1h/5, and in its folder 9h."""
CAVEATS = (
    "Speakers are characters of games; no text and no actor of Amazon Queen is in two of training, dev and test, but "
    "characters of Drascula may share actors.",
    "There is nothing above 4.7 kHz in Amazon Queen, above 5.5 kHz in Drascula and above 4 kHz in Asterisk.",
    "Modified: the sounds of the games were taken out of their files and written anew as FLAC at 16 kHz, their texts "
    "in upper case without punctuation.",
)
_READ_ALOUD = frozenset("&#$*@/+=")  # as words that are not written


class Source(NamedTuple):
    """Packages of one licence, and their parser."""

    name: str
    packages: tuple[Package, ...]
    wanted: Callable[[str], bool]
    recordings: Callable[[Path], Iterator[Recording]]


def _package(name: str, licence: str, sha256: str) -> Package:
    return Package(name, licence, frozenset({sha256}))


_QUEEN = _package(
    amazon_queen.PACKAGE,
    "LicenseRef-Flight-of-the-Amazon-Queen",
    "40c08fd258d6fe95c46c1eaf5e9137f84ba330657995a281bd887c94a560a0f1",
)
_DRASCULA = _package(
    drascula.PACKAGE, "LicenseRef-Drascula", "ed4af8e2d41ad446e2f3b73533daa1804e2f13f62f596c0b02b8dc39544f22b4"
)
_PROMPTS = _package(
    asterisk.SOUNDS_PACKAGE, "CC-BY-SA-3.0", "2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d"
)
_PROMPT_TEXTS = _package(
    asterisk.TEXTS_PACKAGE, "CC-BY-SA-3.0", "973e797d28e37fa6ca3c0a9d6fa717e77cf1268ae916bf09fd3503113cdffa50"
)
SOURCES = (
    Source("queen", (_QUEEN,), amazon_queen.wanted, amazon_queen.recordings),
    Source("drascula", (_DRASCULA,), drascula.wanted, drascula.recordings),
    Source("asterisk", (_PROMPTS, _PROMPT_TEXTS), asterisk.wanted, asterisk.recordings),
)


def build(folder: Path, say: Callable[[str], None]) -> None:
    """Make `folder` (LibriSpeech/, librispeech_finetuning/, LICENCES/), unless it is there already.

    Raises DownloadError when a package cannot be fetched, or is not what it should be.
    """
    with building(folder) as unfinished:
        if unfinished is None:
            return
        downloads = folder.with_name(f".{folder.name}.downloads")  # survives a killed build, not a finished one
        unpacked, flac = unfinished / "unpacked", unfinished / "flac"
        flac.mkdir()
        archives, clips, dropped = [], list[books.Clip](), dict[str, Counter[str]]()
        for source in SOURCES:
            archives += _fetch(source, downloads, unpacked, unfinished / "LICENCES", say)
            found, dropped[source.name] = _clips(source.recordings(unpacked), flac)
            say(f"{source.name}: {len(found)} clips, dropped {dict(dropped[source.name].most_common())}")
            clips += found
        bounded = within_bounds(clips)
        kept = without_shared_texts(bounded)
        dropped["all"] = Counter(
            held_out_enough=len(clips) - len(bounded), text_in_another_split=len(bounded) - len(kept)
        )
        facts = _write(unfinished, books.in_chapters(kept))
        _describe(unfinished / LIBRISPEECH, archives, facts, dropped)
        say((unfinished / LIBRISPEECH / "RELEASE.txt").read_text(encoding="utf-8").strip())
        for used in (unpacked, flac, downloads):
            shutil.rmtree(used)


def within_bounds(clips: Iterable[books.Clip]) -> list[books.Clip]:
    """The clips but those of held-out speakers that are more than their subset takes of each."""
    seconds: dict[str, float] = defaultdict(float)
    kept = []
    for clip in clips:
        speaker = clip.speaker
        if seconds[speaker.name] < HELD_OUT.get(speaker.subset, float("inf")):
            seconds[speaker.name] += clip.seconds
            kept.append(clip)
    return kept


def without_shared_texts(clips: Iterable[books.Clip]) -> list[books.Clip]:
    """The clips but those of dev with a text of test, and those of training with a text of either."""
    clips = list(clips)
    tested = {clip.text for clip in clips if _kind(clip) == "test"}
    held_out = tested | {clip.text for clip in clips if _kind(clip) == "dev"}
    elsewhere = {"test": set[str](), "dev": tested, "train": held_out}
    return [clip for clip in clips if clip.text not in elsewhere[_kind(clip)]]


def _kind(clip: books.Clip) -> str:
    return clip.speaker.subset.split("-")[0]


def _fetch(
    source: Source, downloads: Path, unpacked: Path, licences: Path, say: Callable[[str], None]
) -> list[Archive]:
    """Fetch and unpack the packages of a source, with the notices that their licences ask to keep."""
    archives = []
    licences.mkdir(exist_ok=True)
    for package in source.packages:
        notice = f"usr/share/doc/{package.name}/copyright"
        archives.append(
            fetch(package, lambda path, notice=notice: path == notice or source.wanted(path), downloads, unpacked, say)
        )
        if (unpacked / notice).is_file():
            shutil.copyfile(unpacked / notice, licences / f"{package.name}.txt")
    return archives


def _clips(recordings: Iterable[Recording], folder: Path) -> tuple[list[books.Clip], Counter[str]]:
    """The usable clips of a source, as FLAC in `folder`, and why the others were dropped."""
    dropped, worth = Counter[str](), list[Recording]()
    for recording in recordings:
        if fault := text_fault(recording):
            dropped[fault] += 1
        else:
            worth.append(recording)
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # libsndfile, soxr and numpy release the interpreter's lock
        converted = list(threads.map(lambda recording: _convert(recording, folder), worth))
    clips = []
    for recording, seconds, flags in judge(converted, "LATIN"):
        if flags:
            dropped[flags[0]] += 1
        else:
            text = books.transcript(recording.sentence)
            clips.append(books.Clip(recording.audio, text, seconds, SPEAKERS[recording.speaker]))
    return clips, dropped


def text_fault(recording: Recording) -> str:
    """The fault of a recording that is seen without listening, beside those that `judge` finds; empty if none."""
    if not recording.sentence:
        return "no_text"
    if recording.speaker not in SPEAKERS:
        return "unknown_speaker"
    if not books.transcript(recording.sentence):
        return "no_letters"
    return "symbol_in_text" if _READ_ALOUD & set(recording.sentence) else ""


def _convert(recording: Recording, folder: Path) -> Recording:
    """The recording as FLAC of 16 kHz; there is no file if it cannot be decoded."""
    file = folder / f"{recording.name}.flac"
    assert not file.exists(), file
    try:
        samples = decode(recording.audio, longest=float("inf"))
        soundfile.write(file, samples, SAMPLE_RATE, subtype="PCM_16")
    except UnusableAudio:
        pass  # which is heard when it is judged
    return recording._replace(audio=file)


def _write(folder: Path, clips: list[books.Clip]) -> dict[str, dict[str, object]]:
    """Write both corpora; what is in each subset and limited set."""
    subsets = {subset: [clip for clip in clips if clip.speaker.subset == subset] for subset in (*TRAIN, *HELD_OUT)}
    written = {subset: books.write(folder / LIBRISPEECH / subset, its) for subset, its in subsets.items()}
    books.write_speakers(folder / LIBRISPEECH, clips)
    halves = {"clean": written["train-clean-100"], "other": written["train-other-500"]}
    drawn = dict(books.limited(halves, SIXTH_SECONDS, REST_SECONDS))
    for part, its in drawn.items():
        books.write(folder / LIBRILIGHT / part, its)
    ten_minutes = [clip for part, its in drawn.items() if part.startswith(f"{books.SIXTHS[0]}/") for clip in its]
    hour = [clip for part, its in drawn.items() if part.startswith("1h/") for clip in its]
    everything = [clip for its in drawn.values() for clip in its]
    sets = {"960h": [clip for subset in TRAIN for clip in written[subset]], "100h": written["train-clean-100"]}
    sets |= {"10h": everything, "1h": hour, "10min": ten_minutes}
    return {name: _facts(its) for name, its in (written | sets).items()}


def _facts(clips: list[books.Clip]) -> dict[str, object]:
    return {
        "clips": len(clips),
        "minutes": round(sum(clip.seconds for clip in clips) / 60, 1),
        "speakers": len({clip.speaker for clip in clips}),
    }


def _describe(
    folder: Path, archives: list[Archive], facts: dict[str, dict[str, object]], dropped: dict[str, Counter[str]]
) -> None:
    """Write RELEASE.txt and SOURCES.json. Amounts are named by their true minutes, since names of folders are not."""
    minutes = {name: facts[name]["minutes"] for name in ("960h", "100h", "10h", "1h", "10min")}
    release = (
        f"miniature of English game speech from Debian (real recordings): {minutes['960h']} min for 960 h, "
        f"{minutes['100h']} min for 100 h, {minutes['10h']} min for 10 h, {minutes['1h']} min for 1 h, "
        f"{minutes['10min']} min for 10 min"
    )
    sources = {
        "release": release,
        "caveats": CAVEATS,
        "packages": [archive.provenance() for archive in archives],
        "sets": facts,
        "dropped": {source: dict(counts.most_common()) for source, counts in dropped.items()},
    }
    (folder / "SOURCES.json").write_text(json.dumps(sources, indent=2) + "\n", encoding="utf-8")
    (folder / "RELEASE.txt").write_text(release + "\n", encoding="utf-8")
