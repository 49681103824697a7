import pytest

from tests.miniature.small_queen import dialogue, pack, scene, tables
from trainables.miniature.amazon_queen import FILE, JOE, Line, lines, recordings, wanted
from trainables.miniature.downloads import DownloadError
from trainables.miniature.queen_file import QueenFile

DIALOGUE = dialogue(8, {0: "Hi Bob.*03", 0x2F: "Bye."}, {-1: "*01Sorry son,*00but no.*01"}, ("So long.*02", "See you."))
SCENE = scene([(0, 0, "*FRHey!*03"), (1, 2, "*"), (2, 0, "What?"), (-2, 0, "Meanwhile..."), (-1, 0, "Dark.")])


@pytest.fixture
def queen(tmp_path):
    """Writes the game's file with these files in it, and opens it."""

    def write(files, *, size=None):
        path = tmp_path / FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pack(files)[:size])
        return QueenFile(path)

    return write


def test_wanted():
    assert wanted(FILE)
    assert not wanted("usr/share/games/other.1c")


def test_lines_of_a_dialogue_are_named_after_key_number_and_segment(queen):
    found = lines(queen({"BOB5.DOG": DIALOGUE, **tables()}))
    assert {name: line for name, line in found.items() if not name.startswith("JOE")} == {
        "080000J1": Line("Hi Bob.", JOE),
        "08002FJ1": Line("Bye.", JOE),
        "08FFFFP2": Line("Sorry son,", "Trader Bob"),
        "08FFFFP3": Line("but no.", "Trader Bob"),
        "08SSSSJ1": Line("Hi Bob.", JOE),
        "08XXXXP1": Line("So long.", "Trader Bob"),
        "08XXXXJ1": Line("See you.", JOE),
    }


def test_lines_of_a_scene_are_those_of_the_object_that_says_them(queen):
    found = lines(queen({"C1A.CUT": SCENE, **tables()}))
    assert {name: line for name, line in found.items() if name.startswith("C")} == {
        "C1A__012": Line("Hey!", JOE),
        "C1A__031": Line("What?", "Trader Bob"),
        "C1A__041": Line("Meanwhile...", ""),
        "C1A__051": Line("Dark.", JOE),
    }


def test_joe_says_answers_and_then_descriptions(queen):
    found = lines(queen(tables()))
    assert found["JOE00011"] == Line("It doesn't seem to open", JOE)
    assert found["JOE00411"] == Line("I don't see anything special", JOE)
    assert found["JOE00422"] == Line("It glows", JOE)
    assert "JOE00431" not in found


def test_recordings(queen, tmp_path):
    files = {"080000J1.SB": b"hi", "08FFFFP2.SB": b"sorry", "DOORSSSS.SB": b"creak", "C1A__041.SB": b"meanwhile"}
    queen({**files, "BOB5.DOG": DIALOGUE, "C1A.CUT": SCENE, **tables()})
    found = {item.name: item for item in recordings(tmp_path)}
    assert {name: (item.sentence, item.speaker) for name, item in found.items()} == {
        "queen-080000J1": ("Hi Bob.", "queen Joe King"),
        "queen-08FFFFP2": ("Sorry son,", "queen Trader Bob"),
        "queen-C1A__041": ("Meanwhile...", "queen unknown"),
        "queen-DOORSSSS": ("", "queen unknown"),
    }
    assert found["queen-08FFFFP2"].audio.read_bytes() == b"sorry"


def test_another_persons_dialogue_has_no_known_speaker(queen):
    assert lines(queen({"ODD1.DOG": DIALOGUE, **tables()}))["08XXXXP1"] == Line("So long.", "")


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (10, "must hold its table of files whole, but ends within it"),
        (40, "must hold its table of files whole, but ends within it"),
        (-1, "must hold QUEEN2.JAS whole, but ends before it does"),
        (3, "must begin with QTBL, but does not"),
    ],
)
def test_a_truncated_file_is_told_of(queen, size, message):
    with pytest.raises(DownloadError, match=rf"^`queen\.1c` {message}\.$"):
        queen(tables(), size=size)


def test_a_file_that_is_not_there_is_told_of(tmp_path):
    with pytest.raises(DownloadError, match=r"package must hold queen\.1c, but does not"):
        next(recordings(tmp_path))


@pytest.mark.parametrize("missing", ["QUEEN.JAS", "QUEEN2.JAS"])
def test_a_missing_table_is_told_of(queen, missing):
    game = queen({name: content for name, content in tables().items() if name != missing})
    with pytest.raises(DownloadError, match=f"must have the file {missing}, but has not"):
        lines(game)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "QUEEN.JAS",
            tables()["QUEEN.JAS"][:-1],
            "QUEEN.JAS in `queen.1c` must be a table of objects, but ends within",
        ),
        ("QUEEN2.JAS", b"Neat", "QUEEN2.JAS in `queen.1c` must have a line for each name, but has fewer"),
        ("BOB5.DOG", DIALOGUE[:-3], "`queen.1c` must hold BOB5.DOG whole, but the file ends within its texts"),
        ("C1A.CUT", SCENE[:60], "`queen.1c` must hold C1A.CUT whole, but the file ends within its texts"),
    ],
)
def test_damaged_texts_are_told_of(queen, name, content, message):
    game = queen({**tables(), name: content})
    with pytest.raises(DownloadError, match=message):
        lines(game)
