import hashlib

from trainables.miniature.release import Clip, clip, split_of, tidy, write_tables

COLUMNS = (
    "client_id path sentence_id sentence sentence_domain up_votes down_votes age gender accents variant locale segment"
)


def test_tidy():
    assert tidy("  Un cocos\u0326\n colorat.\t") == "Un coco\u0219 colorat."


def test_split_depends_on_the_words_and_the_language_alone():
    assert split_of("Dobře, jdeme!", "cs") == split_of("dobře jdeme", "cs")
    splits = [split_of(f"věta {number}", "cs") for number in range(2000)]
    assert 0.77 < splits.count("train") / 2000 < 0.83
    assert 0.08 < splits.count("dev") / 2000 < 0.12
    assert splits != [split_of(f"věta {number}", "ro") for number in range(2000)]


def test_split_is_the_sha1_of_the_text_modulo_100():
    expected = int(hashlib.sha1(b"ro|o broasca").hexdigest(), 16) % 100
    assert split_of("O broasca.", "ro") == ("test" if expected < 10 else "dev" if expected < 20 else "train")


def test_tables_have_common_voices_columns_and_no_quotes(tmp_path):
    row = clip("a.ogg", 'Říkal "ne".', "somebody", "cs")
    write_tables(tmp_path, {"train": [row], "dev": [], "test": []})
    header, line = (tmp_path / "train.tsv").read_text(encoding="utf-8").splitlines()
    assert header.split("\t") == COLUMNS.split()
    fields = Clip(*line.split("\t"))
    assert fields.client_id == hashlib.sha256(b"somebody").hexdigest()
    assert (fields.path, fields.sentence, fields.locale) == ("a.ogg", 'Říkal "ne".', "cs")
    assert (fields.up_votes, fields.down_votes, fields.age, fields.segment) == ("0", "0", "", "")
    assert (tmp_path / "dev.tsv").read_text().splitlines() == [header]
