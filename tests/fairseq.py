"""A HuBERT in fairseq's file, made up of a random model of transformers."""

import re
import sys
import types
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModel

SETTINGS = {
    "encoder_attention_heads": 2, "logit_temp": 0.2, "normalize": False, "layer_norm_first": False,
    "conv_feature_layers": "[(8,10,5)] + [(8,3,2)] * 4 + [(8,2,2)] * 2",
}  # fmt: skip
FAIRSEQS = (
    (r"^feature_extractor\.conv_layers\.(\d+)\.conv", r"feature_extractor.conv_layers.\1.0"),
    (r"^feature_projection\.layer_norm", "layer_norm"),
    (r"^feature_projection\.projection", "post_extract_proj"),
    (r"^masked_spec_embed$", "mask_emb"),
    (r"pos_conv_embed\.conv\.parametrizations\.weight\.original0", "pos_conv.0.weight_g"),
    (r"pos_conv_embed\.conv\.parametrizations\.weight\.original1", "pos_conv.0.weight_v"),
    (r"pos_conv_embed\.conv", "pos_conv.0"),
    (r"(layers\.\d+)\.layer_norm", r"\1.self_attn_layer_norm"),
    (r"\.attention\.", ".self_attn."),
    (r"feed_forward\.intermediate_dense", "fc1"),
    (r"feed_forward\.output_dense", "fc2"),
)


class Dictionary:
    """Saved under fairseq's name for it."""

    def __init__(self) -> None:
        self.symbols = ["<s>", "<pad>", "</s>", "<unk>", "0", "1"]


def fairseqs(folder: Path, norm: str) -> dict[str, Tensor]:
    """The weights of a model of transformers by fairseq's names, each tensor with values of its own."""
    torch.manual_seed(1)
    found = {}
    for name, value in AutoModel.from_pretrained(folder).state_dict().items():
        name = re.sub(r"(conv_layers\.\d+)\.layer_norm", rf"\1.{norm}", name)
        for pattern, to in FAIRSEQS:
            name = re.sub(pattern, to, name)
        found[name] = value + 0.01 * torch.randn_like(value)  # norms have ones and zeros: which is which must tell
    units = {"final_proj.weight": (3, 16), "final_proj.bias": (3,), "label_embs_concat": (6, 3)}
    return found | {name: torch.randn(shape) for name, shape in units.items()}


def saved(path: Path, weights: object, settings: object, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of fairseq's structure, whose classes are there only while it is written."""
    with monkeypatch.context() as patch:
        for name in ("fairseq", "fairseq.data", "fairseq.data.dictionary"):
            patch.setitem(sys.modules, name, types.ModuleType(name))
        patch.setattr(sys.modules["fairseq.data.dictionary"], "Dictionary", Dictionary, raising=False)
        patch.setattr(Dictionary, "__module__", "fairseq.data.dictionary")
        state = {"args": settings, "task_state": {"dictionaries": [Dictionary()]}, "model": weights}
        torch.save(state, path)
    assert "fairseq" not in sys.modules
    return path
