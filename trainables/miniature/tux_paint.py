"""Tux Paint's rubber stamps, a children's drawing program: each stamp's description read aloud (GPL-2).

`tuxpaint-stamps-default` holds, for a stamp `rooster`, one recording per language and one text for all:

    usr/share/tuxpaint/stamps/animals/birds/rooster_desc_ro.ogg
    usr/share/tuxpaint/stamps/animals/birds/rooster.txt

whose first line is English and whose other lines are `LANG.utf8=text`:

    A colorful rooster.
    ro.utf8=Un cocoș colorat.
    ca@valencia.utf8=Un gall de colors.

Each language is read by one volunteer. Some read the short name only: the quality flags catch these.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from trainables.miniature.recording import Recording

ROOT = "usr/share/tuxpaint/stamps"
PACKAGE = "tuxpaint-stamps-default"

_TRANSLATION = re.compile(r"^([A-Za-z_@]+)\.utf8=(.*)$")


def wanted(path: str, locale: str) -> bool:
    """Whether a packaged file is needed for this language."""
    return path.startswith(ROOT) and path.endswith((f"_desc_{locale}.ogg", ".txt"))


def parse_descriptions(text: str) -> dict[str, str]:
    """A stamp's description by language code, lower case; the first line is English."""
    english, *others = text.splitlines() or [""]
    descriptions = {"en": english.strip()}
    for match in filter(None, map(_TRANSLATION.match, others)):
        descriptions[match[1].lower()] = match[2].strip()
    return descriptions


def recordings(root: Path, locale: str) -> Iterator[Recording]:
    """Every description read in this language under `root` (where the package was unpacked)."""
    stamps = root / ROOT
    for audio in sorted(stamps.rglob(f"*_desc_{locale}.ogg")):
        stamp = audio.with_name(audio.name.removesuffix(f"_desc_{locale}.ogg"))
        texts = stamp.with_name(f"{stamp.name}.txt")
        sentence = ""
        if texts.is_file():
            sentence = parse_descriptions(texts.read_text(encoding="utf-8", errors="replace")).get(locale, "")
        name = "-".join(("tuxpaint", *stamp.relative_to(stamps).parts))
        yield Recording(audio, name, sentence, f"tuxpaint {locale}")
