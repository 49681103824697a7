from trainables.miniature.tux_paint import ROOT, parse_descriptions, recordings, wanted

TEXT = "A frog.\nro.utf8=O broască. \nca@valencia.utf8=Una granota.\npt_BR.utf8=Um sapo.\nnonsense\n"


def test_parse_descriptions():
    assert parse_descriptions(TEXT) == {
        "en": "A frog.",
        "ro": "O broască.",
        "ca@valencia": "Una granota.",
        "pt_br": "Um sapo.",
    }
    assert parse_descriptions("") == {"en": ""}


def test_wanted():
    assert wanted(f"{ROOT}/animals/frog_desc_ro.ogg", "ro")
    assert wanted(f"{ROOT}/animals/frog.txt", "ro")
    assert not wanted(f"{ROOT}/animals/frog.ogg", "ro")
    assert not wanted(f"{ROOT}/animals/frog_desc_el.ogg", "ro")
    assert not wanted("usr/share/doc/readme.txt", "ro")


def test_recordings(tmp_path):
    folder = tmp_path / ROOT / "animals"
    folder.mkdir(parents=True)
    (folder / "frog.txt").write_text(TEXT)
    for name in ("frog_desc_ro.ogg", "frog_desc_el.ogg", "newt_desc_ro.ogg"):
        (folder / name).touch()
    found = [(item.name, item.sentence) for item in recordings(tmp_path, "ro")]
    assert found == [("tuxpaint-animals-frog", "O broască."), ("tuxpaint-animals-newt", "")]
