r"""Flight of the Amazon Queen, an adventure of 1995 whose forty characters all speak (English; a licence of its own).

All is in `usr/share/scummvm/flight-of-the-amazon-queen/queen.1c` (see `queen_file`): sounds as MP3 at 11 kHz, named
after what they are the reading of, and these texts:

    BOB1.DOG      dialogue with Trader Bob: lines of his, P, and of Joe's, J        080023P2.SB
    C41B.CUT      scene: a line, and who says it, for each thing that happens       C41B_062.SB
    QUEEN2.JAS    what Joe says of things, and where he cannot do something         JOE01231.SB
    QUEEN.JAS     the game's objects, whose names are in QUEEN2.JAS too

A text holds commands of the animation, such as `*03`: "Hello there...*16*03*WTI don't think it's gonna talk to me*24".
They cut it into segments, each with a sound of its own: the last digit of its name counts them, from 1. Noises have
names too, and no text.
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from trainables.miniature.downloads import DownloadError
from trainables.miniature.queen_file import HEADER, QueenFile, int16, string
from trainables.miniature.recording import Recording

PACKAGE = "flight-of-the-amazon-queen"
FILE = "usr/share/scummvm/flight-of-the-amazon-queen/queen.1c"
JOE = "Joe King"

CHARACTERS = {
    "AND": "Anderson",
    "APE": "gorilla",
    "BOB": "Trader Bob",
    "BUD": "Bud",
    "CHEF": "chef",
    "CHIEF": "chief",
    "DEATH": "ferryman",
    "DOG": "guard dog",
    "FAYE": "Faye",
    "FRANK": "Frank",
    "HENRY": "Henry",
    "IAN": "Ian",
    "JIM": "Jimmy",
    "JOHN": "John",
    "KLUNK": "Klunk",
    "LOLA": "Lola",
    "LOU": "Mary-Lou",
    "MAN": "prisoner",
    "NAOMI": "Naomi",
    "ORACLE": "guardian",
    "PRIN": "Princess Azura",
    "SEC": "secretary",
    "SHOWERAM": "showering Amazon",
    "SPARKY": "Sparky",
    "TAM": "Mary-Lou",
    "WEDGE": "Wedgewood",
    "WITCH": "witch doctor",
    "ZOMBIE": "zombie woman",
}
"""Characters by the names of their dialogues; in scenes the game's objects have these very names."""

_COMMAND = re.compile(r"\*..")
_RESPONSES, _VERBS = 40, 12
_PEOPLE = (-3, -4)  # images of objects that are people, who look to the left or to the right


class Line(NamedTuple):
    """A segment of a text, and who says it; nobody known if empty."""

    text: str
    speaker: str


def wanted(path: str) -> bool:
    """Whether a packaged file is needed."""
    return path == FILE


def recordings(root: Path) -> Iterator[Recording]:
    """Every sound of the game under `root` (where the package was unpacked), with its text where there is one.

    The sounds are written as files beside `queen.1c`. Raises DownloadError when the game's file is damaged.
    """
    game = QueenFile(root / FILE)
    said = lines(game)
    for name in game.names("SB"):
        audio = (root / FILE).with_name(f"{name}.mp3")
        audio.write_bytes(game.read(f"{name}.SB"))
        line = said.get(name, Line("", ""))
        yield Recording(audio, f"queen-{name}", line.text, f"queen {line.speaker or 'unknown'}")


def lines(game: QueenFile) -> dict[str, Line]:
    """What each sound is the reading of, by the sound's name. Raises DownloadError when a text cannot be read."""
    objects = _Objects(game)
    found: dict[str, Line] = {}
    file = ""
    try:
        for name in game.names("DOG"):
            file = f"{name}.DOG"
            character = CHARACTERS.get(name.rstrip("0123456789"), "")
            for prefix, line in _dialogue(game.read(file)[HEADER:], character):
                found |= _segments(prefix, line)
        for name in game.names("CUT"):
            file = f"{name}.CUT"
            for prefix, line in _scene(game.read(file)[HEADER:], name, objects):
                found |= _segments(prefix, line)
    except (struct.error, IndexError):
        raise DownloadError(f"`queen.1c` must hold {file} whole, but the file ends within its texts.") from None
    for prefix, text in objects.remarks():
        found |= _segments(prefix, Line(text, JOE))
    return found


class _Objects:
    """What the game's objects are called, which of them are people, and what Joe says of them."""

    def __init__(self, game: QueenFile) -> None:
        data = game.read("QUEEN.JAS")[HEADER:]
        self._texts = game.read("QUEEN2.JAS").decode("latin-1").split("\r\n")
        try:
            self._rooms, self._names, count, self._descriptions = struct.unpack_from(">4H", data)
            self._objects = [struct.unpack_from(">8h", data, 8 + 16 * index) for index in range(count)]
        except struct.error:
            raise DownloadError("QUEEN.JAS in `queen.1c` must be a table of objects, but ends within it.") from None
        if len(self._texts) < self._responses + _RESPONSES:
            raise DownloadError("QUEEN2.JAS in `queen.1c` must have a line for each name, but has fewer.")

    @property
    def _responses(self) -> int:
        """The line at which Joe's answers begin, after descriptions, names, rooms and verbs."""
        return self._descriptions + self._names + self._rooms + _VERBS

    def name(self, number: int) -> str:
        """What an object is called; hidden ones have a negative name."""
        return self._texts[self._descriptions + abs(self._objects[number - 1][0]) - 1]

    def is_person(self, number: int) -> bool:
        """Whether an object can speak and walk."""
        return self._objects[number - 1][7] in _PEOPLE

    def remarks(self) -> Iterator[tuple[str, str]]:
        """Joe's answers, and after them his descriptions: the beginning of the sound's name, and the text."""
        answers = self._texts[self._responses : self._responses + _RESPONSES]
        for number, text in enumerate([*answers, *self._texts[: self._descriptions]], 1):
            yield f"JOE{number:04d}", text


def _dialogue(data: bytes, character: str) -> Iterator[tuple[str, Line]]:
    """The lines of a dialogue, with the beginnings of their sounds' names."""
    levels, _, key, joe_count, count = struct.unpack_from(">5h", data)
    his, _, last = struct.unpack_from(">3H", data, 22)
    joes = 32 + abs(levels) * 96
    for at, number, mark, speaker in ((joes, joe_count, "J", JOE), (his, count, "P", character)):
        for _ in range(number):
            identifier = int16(data, at + 2) & 0xFFFF
            text, at = string(data, at + 4, align=4)
            yield f"{key:02d}{identifier:04X}{mark}", Line(text, speaker)
    # The game names the sounds of a dialogue's first and last words by letters, where the others have numbers.
    if int16(data, joes + 2) == 0:  # Joe begins
        yield f"{key:02d}SSSSJ", Line(string(data, joes + 4)[0], JOE)
    goodbye, at = string(data, last)
    yield f"{key:02d}XXXXP", Line(goodbye, character)
    yield f"{key:02d}XXXXJ", Line(string(data, at)[0], JOE)


def _scene(data: bytes, name: str, objects: _Objects) -> Iterator[tuple[str, Line]]:
    """The lines of a scene, with the beginnings of their sounds' names.

    Each thing that happens is 17 numbers, the people that are on stage, and the frames of an animation if it is one.
    Their strings stand together elsewhere, in the same order, after one that is not said.
    """
    count, strings = abs(int16(data, 2)), struct.unpack_from(">H", data, 8)[0]
    _, strings = string(data, strings)
    at = 12
    for number in range(1, count + 1):
        who, _, _, _, animation, executed, *_ = struct.unpack_from(">17h", data, at)
        copied = int16(data, at + 24) > 0
        at += 34
        at += 2 + 2 * int16(data, at)
        text, strings = string(data, strings)
        who = 0 if who == -1 else who  # a room that fades is Joe's
        speaks = who == 0 or (who > 0 and objects.is_person(who))
        speaker = "" if who < 0 else JOE if who == 0 else objects.name(who)
        yield f"{name[:5]:_<5}{number:02d}", Line(text, speaker)
        if who >= 0 and executed and not copied and (animation or not speaks):
            while int16(data, at) != -2:
                at += 20
            at += 2


def _segments(prefix: str, line: Line) -> dict[str, Line]:
    """The segments that have words, by the names of their sounds; a `*` alone stands for no text."""
    parts = enumerate(_COMMAND.split(line.text), 1)
    return {f"{prefix}{number:X}": line._replace(text=part) for number, part in parts if part.strip(" *")}
