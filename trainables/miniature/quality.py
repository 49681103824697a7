"""Checks of recordings: of their sound, of their text, and whether one can be the reading of the other."""

import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

FRAME_SECONDS = 0.02
SHORTEST_SECONDS, LONGEST_SECONDS = 0.3, 20.0
LETTERS_TO_JUDGE_PACE = 8  # below that, pauses and hesitations outweigh the letters


class Sound(NamedTuple):
    """The measurements of a recording."""

    seconds: float
    active_seconds: float  # frames within 30 dB of the loud ones
    span_seconds: float  # from the first active frame to the last
    level_db: float  # of the loud frames (95th percentile)


class Pace(NamedTuple):
    """The pace at which one source speaks: letters per second, on a logarithmic scale, robustly."""

    median: float
    spread: float

    def deviation(self, letters_per_second: float) -> float:
        """The number of spreads by which a pace is faster (or, negative, slower) than usual."""
        return float((np.log(max(letters_per_second, 0.05)) - self.median) / self.spread)


def listen(path: Path) -> Sound | None:
    """Decode a file once and measure it; None if it cannot be decoded (some packaged files are empty)."""
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError:
        return None
    mono = samples.mean(axis=1)
    length = max(1, int(FRAME_SECONDS * rate))
    count = len(mono) // length
    if count == 0:
        return Sound(len(mono) / rate, 0.0, 0.0, -120.0)
    frames = mono[: count * length].reshape(count, length)
    levels = 20 * np.log10(np.sqrt(np.square(frames).mean(axis=1)) + 1e-6)
    loud = float(np.percentile(levels, 95))
    active = np.flatnonzero(levels > max(loud - 30, -55))
    span = (active[-1] - active[0] + 1) * FRAME_SECONDS if len(active) else 0.0
    return Sound(len(mono) / rate, len(active) * FRAME_SECONDS, float(span), loud)


def count_letters(sentence: str) -> int:
    """The number of letters and digits, which are what takes time to say."""
    return sum(character.isalpha() or character.isdigit() for character in sentence)


def letters_per_second(sentence: str, sound: Sound) -> float:
    """The pace over the speech alone, without the silence around it."""
    return count_letters(sentence) / max(sound.span_seconds, 0.2)


def usual_pace(read: Iterable[tuple[str, Sound]]) -> Pace:
    """The pace of a source: median and (scaled) median absolute deviation over its longer sentences."""
    paces = [
        np.log(max(letters_per_second(sentence, sound), 0.05))
        for sentence, sound in read
        if count_letters(sentence) >= LETTERS_TO_JUDGE_PACE
    ]
    if not paces:
        return Pace(float(np.log(12.0)), 0.3)  # ordinary speech; only a handful of clips would come here
    median = float(np.median(paces))
    spread = 1.4826 * float(np.median(np.abs(np.array(paces) - median)))
    return Pace(median, max(spread, 0.12))  # a floor: a metronomic speaker must not make every pause an outlier


def text_flags(sentence: str, script: str) -> list[str]:
    """Names of the faults of a text in a language written in `script` ("LATIN", "GREEK"); none for a usable one."""
    if not sentence:
        return ["no_text"]
    found = {
        "placeholder": "%" in sentence,  # filled in by the game, so not what was said
        "no_letters": not count_letters(sentence),
        "digits_in_text": any(character.isdigit() for character in sentence),
        "foreign_letters": bool(_scripts(sentence) & ({"CYRILLIC", "GREEK"} - {script})),
    }
    return [flag for flag, is_set in found.items() if is_set]


def sound_flags(sentence: str, sound: Sound | None, pace: Pace) -> list[str]:
    """Names of the faults of a recording, also as the reading of its sentence; none for a usable one."""
    if sound is None:
        return ["unreadable"]
    deviation = pace.deviation(letters_per_second(sentence, sound))
    too_slow = -4 if count_letters(sentence) >= LETTERS_TO_JUDGE_PACE else -6
    found = {
        "silent": sound.active_seconds < 0.15 or sound.level_db < -50,
        "short": sound.seconds < SHORTEST_SECONDS,
        "long": sound.seconds > LONGEST_SECONDS,
        "too_fast": deviation > 4,  # more words than were said: a wrong transcript
        "too_slow": deviation < too_slow,
    }
    return [flag for flag, is_set in found.items() if is_set]


def _scripts(sentence: str) -> set[str]:
    return {unicodedata.name(character, "").split(" ")[0] for character in sentence if character.isalpha()}
