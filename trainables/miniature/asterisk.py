r"""The announcements of Asterisk, a telephone exchange, read by Allison Smith (English, 8 kHz; CC-BY-SA-3.0).

`asterisk-core-sounds-en-wav` has the sounds, `asterisk-core-sounds-en` the texts:

    usr/share/asterisk/sounds/en_US_f_Allison/agent-pass.wav, …/dictate/playback.wav
    usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz

in lines of `NAME: TEXT`; a semicolon begins a comment, and brackets hold what is not said:

    agent-pass: Please enter your password followed by the pound key.
    ascending-2tone: [ascending tones]
"""

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

from trainables.miniature.downloads import DownloadError
from trainables.miniature.recording import Recording

SOUNDS_PACKAGE, TEXTS_PACKAGE = "asterisk-core-sounds-en-wav", "asterisk-core-sounds-en"
SOUNDS = "usr/share/asterisk/sounds/en_US_f_Allison"
TEXTS = "usr/share/doc/asterisk-core-sounds-en"
SPEAKER = "Allison Smith"

_LINE = re.compile(r"\s*([\w/.-]+)\s*:\s*(.*\S)")


def wanted(path: str) -> bool:
    """Whether a packaged file is needed."""
    is_text = path.startswith(f"{TEXTS}/core-sounds-en") and path.endswith(".txt.gz")
    return is_text or (path.startswith(f"{SOUNDS}/") and path.endswith(".wav"))


def parse_texts(lines: str) -> dict[str, str]:
    """The text of each announcement, by its name."""
    found = (_LINE.match(line) for line in lines.splitlines() if not line.startswith(";"))
    return {match[1]: match[2] for match in found if match}


def recordings(root: Path) -> Iterator[Recording]:
    """Every announcement under `root` (where the packages were unpacked), with its text where there is one.

    Raises DownloadError when the texts are missing or damaged.
    """
    tables = sorted((root / TEXTS).glob("core-sounds-en*.txt.gz"))
    if not tables:
        raise DownloadError(f"`{TEXTS_PACKAGE}` must hold the announcements' texts, but does not.")
    try:
        texts = parse_texts(gzip.decompress(tables[0].read_bytes()).decode("utf-8", errors="replace"))
    except (OSError, EOFError):
        raise DownloadError(f"`{tables[0].name}` must be text in gzip that can be read, but is not.") from None
    sounds = root / SOUNDS
    for audio in sorted(sounds.rglob("*.wav")):
        name = audio.relative_to(sounds).with_suffix("").as_posix()
        yield Recording(audio, f"asterisk-{name.replace('/', '-')}", texts.get(name, ""), f"asterisk {SPEAKER}")
