from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, BertConfig, BertModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from trainables import testing
from trainables.corpora.word_pieces import SPECIAL, AllPieces, Apostrophes, SeenPieces, WordPieces
from trainables.miniature import bert_weights
from trainables.teachers.language_model import LanguageModel

TEXTS = ["a cab he's", "bade head", "ha's jig"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return testing.word_piece_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    return LanguageModel(model=str(folder)).tokenizer()


def test_pieces_are_the_teachers_own_and_as_many_as_its_hidden_states(folder: Path, tokenizer) -> None:
    texts = ["abba cafe", "deed", "a'b"]
    pieces = AllPieces().build(tokenizer, texts)
    assert [pieces.tokens[i] for i in pieces.encode("abba")] == ["[CLS]", "ab", "##b", "##a", "[SEP]"]
    assert pieces.tokens[pieces.blank] == "[PAD]"
    assert pieces.blank == 0
    assert len(pieces) == len(tokenizer)
    hidden = LanguageModel(model=str(folder)).build()(texts)
    assert hidden.lengths.tolist() == [len(pieces.encode(text)) for text in texts]


def test_pieces_are_read_back(tokenizer) -> None:
    pieces = AllPieces().build(tokenizer, ["abba's cafe".replace("s", "d"), "hid' bad", "'a jig"])
    assert pieces.misread(["abba'd cafe", "hid' bad", "'a jig", "head'd fig", "deed"]) == []
    assert pieces.decode([pieces.begin, pieces.unknown, *pieces.encode("fig"), pieces.end, pieces.blank]) == "fig"
    assert pieces.decode([]) == ""
    continuing = pieces.tokens.index("##ab")
    assert pieces.decode([continuing, continuing]) == "abab"  # a recogniser may begin with one


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ("don ' t say", "don't say"),
        ("the boys ' house", "the boys' house"),
        ("the vampires ' bite", "the vampires' bite"),  # neither is in training, but boys' is
        ("the governor ' s wife", "the governor's wife"),
        ("' tis o ' brien ' s", "'tis o'brien's"),
        ("rock ' n ' roll", "rock 'n' roll"),
        ("what ' ever", "what'ever"),  # nothing alike is known
        ("a ' b", "a'b"),
        ("'", ""),
        ("a '", "a'"),
        ("", ""),
    ],
)
def test_apostrophes_go_where_training_has_them(parts: str, text: str) -> None:
    training = [
        "don't boys' boys' boys'",
        "tom's it's it's it's it's joe's ann's ben's sam's jim's ted's that's",
        "'tis 'tis",
    ]
    assert Apostrophes([*training, "'s o'clock o'hara", "'n' 'n' 'n'"]).joined(parts.split()) == text


def test_an_output_layer_of_the_pieces_that_training_has_keeps_the_special_ones(tokenizer) -> None:
    seen = SeenPieces().build(tokenizer, ["abba", "cab cab"])
    assert seen.tokens == ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "ab", "ca", "##a", "##b")
    assert seen.decode(seen.encode("cab")) == "cab"
    assert [seen.tokens[i] for i in seen.encode("cafe")] == ["[CLS]", "ca", "[UNK]", "[UNK]", "[SEP]"]
    assert len(seen.encode("cafe")) == len(AllPieces().build(tokenizer, ["abba"]).encode("cafe"))
    often = SeenPieces(at_least=2).build(tokenizer, ["abba", "cab cab"])
    assert often.tokens == (*SPECIAL, "ca", "##b")
    assert SeenPieces.label
    assert not AllPieces.label


def test_pieces_that_cannot_be_are_refused(tokenizer, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must have the special pieces .*, but lacks \[UNK\], \[SEP\]\."):
        WordPieces(tokenizer, [0, 2, 7])
    with pytest.raises(ValueError, match="at least one word, but is empty"):
        WordPieces(tokenizer).encode(" ")
    with pytest.raises(ValueError, match=r"covers 'z' of 'ğaz'\."):
        AllPieces().build(tokenizer, ["deed", "a ğaz"])
    with pytest.raises(ValueError, match=r"at most 64 word pieces, .*, but .* has 72\."):
        WordPieces(tokenizer).encode(" ".join("a" * 70))
    other = AutoTokenizer.from_pretrained(testing.bert(tmp_path), local_files_only=True)
    with pytest.raises(ValueError, match=r"must be a BERT's, of word pieces with \[PAD\], "):
        WordPieces(other)
    shifted = Tokenizer(models.WordPiece({name: i for i, name in enumerate(reversed(SPECIAL))}, unk_token="[UNK]"))
    with pytest.raises(ValueError, match="the first is number 0"):
        WordPieces(PreTrainedTokenizerFast(tokenizer_object=shifted))


def test_the_miniatures_teacher_is_written_whole(tmp_path: Path) -> None:
    source, folder = tmp_path / "unpacked" / bert_weights.MODEL, tmp_path / "folder"
    testing.word_piece_bert(source)
    config = BertConfig.from_pretrained(source)
    whole = BertModel(config)
    positions = {"embeddings.position_ids": torch.arange(config.max_position_embeddings)[None]}
    save_file({**whole.state_dict(), **positions}, source / "model.safetensors")
    padding = AutoTokenizer.from_pretrained(source, local_files_only=True)
    padding.backend_tokenizer.enable_padding(length=8)
    padding.backend_tokenizer.enable_truncation(8)
    padding.backend_tokenizer.save(str(source / "tokenizer.json"))
    folder.mkdir()
    bert_weights.write_folder(tmp_path / "unpacked", folder)
    teacher = LanguageModel(model=str(folder)).build()
    written = {name: weight for name, weight in teacher.encoder.state_dict().items() if "pooler" not in name}
    assert len(written) > 30
    assert all(torch.equal(weight, whole.state_dict()[name]) for name, weight in written.items())
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert tokenizer.padding is None
    assert tokenizer.truncation is None
    assert len(tokenizer.encode("a b c d e f g h i j a b").ids) == 14
