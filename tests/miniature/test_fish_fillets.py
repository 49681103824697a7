from trainables.miniature.fish_fillets import ROOT, Line, parse_dialogs, recordings, wanted

LUA = r"""
-- a comment
dialogId("one", "font_small", "And \"so\"?")
dialogStr("Tak \"co\"\nteď?")

dialogId("two", "", "")
-- another
dialogId("three", "font_big", "Well.")
dialogStr(
"No, dobře.")
dialogId("four", "font_big")
dialogStr("")
"""


def test_parse_dialogs():
    assert parse_dialogs(LUA) == {
        "one": Line('Tak "co" teď?', "small"),
        "three": Line("No, dobře.", "big"),
        "four": Line("", "big"),
    }


def test_wanted():
    assert wanted(f"{ROOT}/sound/share/border/cs/a.ogg", "cs")
    assert wanted(f"{ROOT}/script/city/dialogs_cs.lua", "cs")
    assert not wanted(f"{ROOT}/script/city/demo_dialogs_cs.lua", "cs")
    assert not wanted(f"{ROOT}/sound/city/nl/a.ogg", "cs")
    assert not wanted(f"{ROOT}/music/a.ogg", "cs")


def test_recordings_take_a_text_from_another_level_only_if_it_is_the_only_one(tmp_path):
    script = {
        "city": ("here", "Tady.", "ambiguous", "Jedna."),
        "share/border": ("ambiguous", "Dvě.", "elsewhere", "Jinde."),
    }
    for level, (first, first_text, second, second_text) in script.items():
        folder = tmp_path / ROOT / "script" / level
        folder.mkdir(parents=True)
        (folder / "dialogs_cs.lua").write_text(
            f'dialogId("{first}", "font_big", "")\ndialogStr("{first_text}")\n'
            f'dialogId("{second}", "font_small", "")\ndialogStr("{second_text}")\n'
        )
    for level, name in (("city", "here"), ("city", "elsewhere"), ("gods", "ambiguous"), ("a/b", "nowhere")):
        audio = tmp_path / ROOT / "sound" / level / "cs" / f"{name}.ogg"
        audio.parent.mkdir(parents=True, exist_ok=True)
        audio.touch()
    found = {item.name: (item.sentence, item.speaker) for item in recordings(tmp_path, "cs")}
    assert found == {
        "fillets-city-here": ("Tady.", "fillets-ng cs big"),
        "fillets-city-elsewhere": ("Jinde.", "fillets-ng cs small"),
        "fillets-gods-ambiguous": ("", "fillets-ng cs unknown"),
        "fillets-a-b-nowhere": ("", "fillets-ng cs unknown"),
    }
