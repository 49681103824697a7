r"""Fish Fillets NG, a puzzle game whose two fishes talk: Czech and Dutch voices (GPL-2).

The voices of a language are in `fillets-ng-data-LANG`, one file per line of dialogue:

    usr/share/games/fillets-ng/sound/LEVEL/LANG/sp-v-kdoby.ogg       (LEVEL may be two folders deep)

The texts of all languages are in `fillets-ng-data`, `script/LEVEL/dialogs_LANG.lua`:

    dialogId("sp-v-kdoby", "font_big", "Who could have guessed?!")
    dialogStr("Kdo by to řekl?!")

The font is the speaker: `font_small` and `font_big` are the fishes, the others side characters.
A line said in several levels has its text in one of them only.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from trainables.miniature.recording import Recording

ROOT = "usr/share/games/fillets-ng"
TEXTS = "fillets-ng-data"

_STRING = r'"((?:[^"\\]|\\.)*)"'
_LINE = re.compile(
    rf"dialogId\(\s*{_STRING}\s*,\s*{_STRING}\s*(?:,\s*{_STRING}\s*)?\)\s*dialogStr\(\s*{_STRING}\s*\)",
    re.DOTALL,
)
_ESCAPES = {"n": " ", "t": " ", "\n": " "}


class Line(NamedTuple):
    """A line of dialogue."""

    text: str
    speaker: str


def voices(locale: str) -> str:
    """Name of the package that holds a language's recordings."""
    return f"{TEXTS}-{locale}"


def wanted(path: str, locale: str) -> bool:
    """Whether a packaged file is needed for this language."""
    file = PurePosixPath(path)
    is_voice = file.suffix == ".ogg" and file.parent.name == locale
    return path.startswith(ROOT) and (is_voice or file.name == f"dialogs_{locale}.lua")


def parse_dialogs(lua: str) -> dict[str, Line]:
    """The lines of one `dialogs_LANG.lua`, by identifier."""
    return {
        _unescape(identifier): Line(_unescape(text), font.removeprefix("font_") or "unknown")
        for identifier, font, _, text in _LINE.findall(lua)
    }


def recordings(root: Path, locale: str) -> Iterator[Recording]:
    """Every recording under `root` (where the packages were unpacked), with its text where there is one."""
    scripts, sounds = root / ROOT / "script", root / ROOT / "sound"
    lines: dict[tuple[Path, str], Line] = {}
    anywhere: dict[str, set[Line]] = defaultdict(set)
    for script in sorted(scripts.rglob(f"dialogs_{locale}.lua")):
        for identifier, line in parse_dialogs(script.read_text(encoding="utf-8")).items():
            lines[script.parent.relative_to(scripts), identifier] = line
            anywhere[identifier].add(line)
    for audio in sorted(sounds.rglob(f"{locale}/*.ogg")):
        level = audio.parent.parent.relative_to(sounds)
        line = lines.get((level, audio.stem))
        if line is None:  # said in another level; only safe if all levels agree on the words
            elsewhere = anywhere.get(audio.stem, set())
            line = next(iter(elsewhere)) if len(elsewhere) == 1 else Line("", "unknown")
        name = "-".join(("fillets", *level.parts, audio.stem))
        yield Recording(audio, name, line.text, f"fillets-ng {locale} {line.speaker}")


def _unescape(string: str) -> str:
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), string, flags=re.DOTALL)
