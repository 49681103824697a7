"""Tiny corpora and tiny models, made from nothing, for tests and smoke runs; and a teacher without its cache."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    Data2VecAudioConfig,
    Data2VecAudioModel,
    HubertConfig,
    HubertModel,
    PreTrainedTokenizerFast,
    Wav2Vec2BertConfig,
    Wav2Vec2BertModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperModel,
)

from trainables.corpora.audio import SAMPLE_RATE
from trainables.corpora.prepared import PreparedSplit
from trainables.corpora.sources import Indices
from trainables.corpora.word_pieces import SPECIAL, WordPieces
from trainables.sequences import Sequences
from trainables.teachers.language_model import TextEncoder

COLUMNS = (
    "client_id", "path", "sentence_id", "sentence", "sentence_domain", "up_votes", "down_votes", "age", "gender",
    "accents", "variant", "locale", "segment",
)  # fmt: skip
LETTERS = "abcdefghij"
SECONDS_PER_LETTER = 0.12
WORDS = ("abba", "cafe", "deed", "fig", "hide", "jig", "acid", "bead", "chief", "edge", "head", "gaffe")


def tone(text: str) -> np.ndarray:
    """A waveform at 16 kHz in which every letter has its own pitch: speech that a tiny model can learn."""
    time = np.arange(int(SECONDS_PER_LETTER * SAMPLE_RATE)) / SAMPLE_RATE
    envelope = np.sin(np.pi * time / SECONDS_PER_LETTER)
    silence = np.zeros_like(time)
    letters = [
        envelope * np.sin(2 * np.pi * (300 + 170 * LETTERS.index(c)) * time) if c in LETTERS else silence for c in text
    ]
    return (0.5 * np.concatenate([silence, *letters, silence])).astype(np.float32)


def corpus(root: Path, language: str = "cs", *, sizes: Sequence[int] = (24, 8, 8), seed: int = 1) -> Path:
    """A release in Common Voice's layout with train, dev and test of these sizes, spoken in tones."""
    random = np.random.default_rng(seed)
    folder = root / language
    (folder / "clips").mkdir(parents=True)
    for name, size in zip(("train", "dev", "test"), sizes, strict=True):
        lines = ["\t".join(COLUMNS)]
        for i in range(size):
            text = " ".join(random.choice(WORDS, size=random.integers(1, 4)))
            clip = f"common_voice_{language}_{name}_{i}.wav"
            soundfile.write(folder / "clips" / clip, tone(text), SAMPLE_RATE)
            row = {
                "client_id": f"speaker{i % 3}",
                "path": clip,
                "sentence": text.capitalize() + ".",
                "locale": language,
            }
            lines.append("\t".join(row.get(column, "") for column in COLUMNS))
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    return root


@dataclass(frozen=True)
class OnlineFeatures:
    """A feature source that asks the teacher each time; a cache must agree with it."""

    teacher: TextEncoder
    split: PreparedSplit

    def __call__(self, indices: Indices) -> Sequences:
        """Hidden states (batch, tokens, features), float32."""
        return self.teacher([self.split.texts[i] for i in indices])


def differentiable(items: Sequence[torch.Tensor]) -> Sequences:
    """`items` padded as by `Sequences.stack`, but with their gradients."""
    lengths = torch.tensor([len(item) for item in items])
    return Sequences(torch.nn.utils.rnn.pad_sequence(list(items), batch_first=True), lengths)


TRANSFORMER = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
CONVOLUTIONS = {"conv_dim": (8,) * 7, "conv_bias": True, "num_conv_pos_embedding_groups": 2}
XLSR = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "num_conv_pos_embeddings": 16}
BASE = {"feat_extract_norm": "group", "do_stable_layer_norm": False, "conv_bias": False}
BASES = ("wav2vec2-base", "hubert-base", "wavlm-base")
"""The smaller checkpoints of these families, the only ones whose first convolution is normalised over time."""


def speech_encoder(family: str, folder: Path, **changes: object) -> Path:
    """A random encoder of any family of students, or of `BASES`, of a few thousand weights, for `from_pretrained`."""
    norms = BASE if family in BASES else {}
    convolutional = {**TRANSFORMER, **CONVOLUTIONS, **XLSR, **norms, **changes}
    torch.manual_seed(0)
    match family.removesuffix("-base"):
        case "wav2vec2":
            model = Wav2Vec2Model(Wav2Vec2Config(**convolutional))
        case "hubert":
            model = HubertModel(HubertConfig(**convolutional))
        case "wavlm":
            model = WavLMModel(WavLMConfig(**convolutional))
        case "data2vec-audio":
            positions = {"conv_pos_kernel_size": 5}
            model = Data2VecAudioModel(Data2VecAudioConfig(**{**TRANSFORMER, **CONVOLUTIONS, **positions, **changes}))
        case "wav2vec2-bert":
            conformer = {"conv_depthwise_kernel_size": 5, "output_hidden_size": 16}
            model = Wav2Vec2BertModel(Wav2Vec2BertConfig(**{**TRANSFORMER, **conformer, **changes}))
        case _:
            return whisper(folder)
    model.save_pretrained(folder)
    return folder


def wav2vec2(folder: Path) -> Path:
    """A wav2vec 2.0 with XLSR's layer norms and its 20 ms frames."""
    return speech_encoder("wav2vec2", folder)


def whisper(folder: Path, width: int = 32, layers: int = 2) -> Path:
    """A Whisper with an encoder of two layers, or more."""
    config = WhisperConfig(
        vocab_size=64, d_model=width, encoder_layers=layers, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=2 * width, decoder_ffn_dim=2 * width, num_mel_bins=40,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    torch.manual_seed(0)
    WhisperModel(config).save_pretrained(folder)
    return folder


def bert(folder: Path, width: int = 12) -> Path:
    """A BERT over single letters, with its tokenizer."""
    pieces = ["<s>", "</s>", "<unk>", "<pad>", "▁", *LETTERS]
    tokenizer = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(), pre_tokenizers.Split("", "isolated")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>",
        model_max_length=64,
    )  # fmt: skip
    fast.save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(pieces), hidden_size=width, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=2 * width, max_position_embeddings=64, pad_token_id=3,
    )  # fmt: skip
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    return folder


def word_piece_bert(folder: Path, width: int = 12) -> Path:
    """A BERT over pieces of one and two letters, its tokenizer laid out as BERT's own, with apostrophes."""
    letters = [*LETTERS, "ab", "ca", "de", "fi", "hi"]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "'", *letters, *(f"##{piece}" for piece in letters)]
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_max_length=64,
    )  # fmt: skip
    fast.save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(pieces), hidden_size=width, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=2 * width, max_position_embeddings=64, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    return folder


def numbered_pieces(count: int) -> WordPieces:
    """As many word pieces as are said, the special ones first, that stand for nothing."""
    names = [*SPECIAL, *(f"p{i}" for i in range(count - len(SPECIAL)))]
    tokenizer = Tokenizer(models.WordPiece({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    return WordPieces(PreTrainedTokenizerFast(tokenizer_object=tokenizer))
