"""HuBERT as fairseq publishes it: one .pt file, turned once into a folder of transformers with hidden units beside it.

The Hub's copies of HuBERT lack what p_t is made of, W_e and the label embeddings; fairseq's file has them:

    args         argparse.Namespace of the training: heads, strides, τ, whether waveforms were standardised
    task_state   dictionaries: [fairseq.data.dictionary.Dictionary, …], the labels' names
    model        the weights by fairseq's names, `final_proj.*` (W_e, b_e) and `label_embs_concat` (l) among them
    and the optimiser's state, most of the 1.1 GB, which is not read

A .pt is a pickle, which may run any code when it is loaded. So the file's SHA-256 is compared with one that a person
trusts before it is opened; the classes that it names must be among the two above; and torch builds nothing but tensors,
plain values and these two, of which the second is an empty class of ours: fairseq is never imported.
"""

import argparse
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Annotated, Any

import torch
from torch import Tensor
from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor
from typing_extensions import override

from trainables.cache import building, cache_folder, check_sealed, seal, sha256_of
from trainables.config import Folder, Preparation, Where
from trainables.teachers.hidden_units import HiddenUnits
from trainables.weights import Sha256

PROJECTION, BIAS, LABELS = UNITS = "final_proj.weight", "final_proj.bias", "label_embs_concat"
LAYER = r"encoder\.layers\.(\d+)\."
RENAMED = {
    r"feature_extractor\.conv_layers\.(\d+)\.0\.(weight|bias)": r"feature_extractor.conv_layers.\1.conv.\2",
    # A group norm after the first convolution (base), or a layer norm between two transpositions after each (LARGE).
    r"feature_extractor\.conv_layers\.(\d+)\.2(?:\.1)?\.(weight|bias)": (
        r"feature_extractor.conv_layers.\1.layer_norm.\2"
    ),
    r"layer_norm\.(weight|bias)": r"feature_projection.layer_norm.\1",
    r"post_extract_proj\.(weight|bias)": r"feature_projection.projection.\1",
    r"mask_emb": "masked_spec_embed",
    r"encoder\.pos_conv\.0\.bias": "encoder.pos_conv_embed.conv.bias",
    r"encoder\.pos_conv\.0\.weight_g": "encoder.pos_conv_embed.conv.parametrizations.weight.original0",
    r"encoder\.pos_conv\.0\.weight_v": "encoder.pos_conv_embed.conv.parametrizations.weight.original1",
    r"encoder\.layer_norm\.(weight|bias)": r"encoder.layer_norm.\1",
    LAYER + r"self_attn\.([kvq]|out)_proj\.(weight|bias)": r"encoder.layers.\1.attention.\2_proj.\3",
    LAYER + r"self_attn_layer_norm\.(weight|bias)": r"encoder.layers.\1.layer_norm.\2",
    LAYER + r"fc1\.(weight|bias)": r"encoder.layers.\1.feed_forward.intermediate_dense.\2",
    LAYER + r"fc2\.(weight|bias)": r"encoder.layers.\1.feed_forward.output_dense.\2",
    LAYER + r"final_layer_norm\.(weight|bias)": r"encoder.layers.\1.final_layer_norm.\2",
}
"""fairseq's names, as patterns, and transformers'."""
TEMPERATURE = 0.1
"""HuBERT's τ, where the settings do not say."""
STRIDES = (5, 2, 2, 2, 2, 2, 2)
"""Strides of the convolutions of every HuBERT that fairseq has published; weights do not tell them."""

SPECIAL = 4
"""Entries that every dictionary of fairseq begins with, <s>, <pad>, </s> and <unk>. No frame's label is ever one of
them, and yet they have label embeddings, which the softmax over units is taken over as well."""


class _Dictionary:
    """In place of fairseq's dictionary of labels, whose names nothing here asks for."""


ALLOWED = {"argparse.Namespace": argparse.Namespace, "fairseq.data.dictionary.Dictionary": _Dictionary}


class FairseqConversion(Preparation):
    """A folder of transformers, with hidden units, made of a HuBERT in fairseq's file."""

    file: Folder
    """Path of the .pt file."""
    sha256: Annotated[Sha256 | None, Where()] = None
    """Digest of that file, from somebody whom you trust; without it the file is not opened."""

    def __str__(self) -> str:
        return f"{Path(self.file).name} for transformers"

    @override
    def fingerprint(self) -> str:
        """Digest of the file.

        Raises ValueError when there is no such file, or its digest is another one.
        """
        return trusted(Path(self.file), self.sha256)

    def folder(self) -> Path:
        """The place of the folder, whether it is there or not."""
        return cache_folder() / "fairseq" / self.signature()

    @override
    def build(self) -> Path:
        """The folder, made if it is not there.

        Raises ValueError when the file is not what it must be, or when what is there is damaged.
        """
        with building(self.folder()) as folder:
            if folder is not None:
                self._write(folder)
        check_sealed(self.folder())
        return self.folder()

    @override
    def summary(self) -> str:
        units = HiddenUnits.load(self.folder())
        config = json.loads((self.folder() / "config.json").read_text(encoding="utf-8"))
        return f"{config['num_hidden_layers']} layers of {config['hidden_size']}, {units.count} hidden units"

    def _write(self, folder: Path) -> None:
        weights, settings = read(Path(self.file), self.sha256)
        write_folder(weights, settings, folder)
        seal(folder, self.identity())


def trusted(path: Path, sha256: str | None) -> str:
    """The digest of the file, if it is `sha256`. Raises ValueError when it is not, or there is no file."""
    if not path.is_file():
        raise ValueError(f"fairseq's HuBERT must be a file, but {path} does not exist.")
    stat = path.stat()
    if (found := _sha256(path, stat.st_size, stat.st_mtime_ns)) != sha256:
        raise ValueError(
            f"fairseq's HuBERT is a pickle and must have a SHA-256 that you trust, but that of {path} is {found}, and "
            f"`sha256` is {sha256} now; to load it all the same, give that digest."
        )
    return found


@cache
def _sha256(path: Path, size: int, modified: int) -> str:
    return sha256_of(path)


def read(path: Path, sha256: str | None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights by fairseq's names, and the settings of the training, of a file with this digest.

    Raises ValueError when the digest is another one, when the file names any class that HuBERT's does not, and when it
    has no weights.
    """
    trusted(path, sha256)
    try:
        named = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    except (ValueError, RuntimeError, UnpicklingError, EOFError) as error:
        raise ValueError(f"fairseq's HuBERT must be a file of torch.save, but {path} is not: {error}.") from error
    if others := sorted({*named} - {*ALLOWED}):
        raise ValueError(
            f"fairseq's HuBERT must name no classes but {' and '.join(ALLOWED)}, but {path} names {', '.join(others)}."
        )
    try:
        with torch.serialization.safe_globals([(known, name) for name, known in ALLOWED.items()]):
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, UnpicklingError, EOFError) as error:
        raise ValueError(f"fairseq's HuBERT must be whole, but {path} is damaged: {error}.") from error
    weights = found.get("model") if isinstance(found, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ValueError(f"fairseq's HuBERT must have its weights under `model`, but {path} has none.")
    settings = found.get("args")
    return weights, vars(settings) if isinstance(settings, argparse.Namespace) else {}


def write_folder(weights: Mapping[str, Tensor], settings: Mapping[str, Any], folder: Path) -> None:
    """Write the model, how it wants waveforms, and its hidden units, as `from_pretrained` and `HiddenUnits` expect.

    Raises ValueError when weights are missing, have shapes that do not fit, or are left over.
    """
    if missing := [name for name in UNITS if name not in weights]:
        raise ValueError(
            f"fairseq's HuBERT must have its projection and its label embeddings, as before it is fine-tuned, but "
            f"{', '.join(missing)} are missing."
        )
    widths = len(weights[PROJECTION]), len(weights[BIAS]), weights[LABELS].shape[1]
    if len(set(widths)) > 1:
        raise ValueError(
            "fairseq's projection and label embeddings must be of one width, but have "
            f"{widths[0]}, {widths[1]} and {widths[2]} features."
        )
    state = renamed({name: value for name, value in weights.items() if name not in UNITS})
    with torch.device("meta"):  # no random initialisation, just to be overwritten
        model = HubertModel(config_of(weights, settings))
    try:
        model.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        raise ValueError(f"fairseq's weights must fill HuBERT, but do not: {' '.join(str(error).split())}") from error
    model.save_pretrained(folder)
    # HuBERT base was trained on waveforms as they are, LARGE on standardised ones.
    standardised = settings.get("normalize", model.config.feat_extract_norm == "layer")
    Wav2Vec2FeatureExtractor(do_normalize=bool(standardised)).save_pretrained(folder)
    temperature = float(settings.get("logit_temp", TEMPERATURE))
    HiddenUnits(weights[PROJECTION], weights[BIAS], weights[LABELS], temperature).save(folder)


def renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights by transformers' names, float32. Raises ValueError for any that has none there."""
    state: dict[str, Tensor] = {}
    unknown = []
    for name, value in weights.items():
        found = [re.sub(pattern, to, name) for pattern, to in RENAMED.items() if re.fullmatch(pattern, name)]
        if found:
            state[found[0]] = value.float().contiguous()
        else:
            unknown.append(name)
    if unknown:
        raise ValueError(f"fairseq's weights must be those of a HuBERT, but {', '.join(sorted(unknown))} are not.")
    return state


def config_of(weights: Mapping[str, Tensor], settings: Mapping[str, Any]) -> HubertConfig:
    """The architecture, by the shapes of the weights; and by `settings` what shapes do not tell.

    Where the settings lack it: heads of 64 features and HuBERT's strides. Raises ValueError when a part is missing.
    """
    convolutions = [weights[name] for name in sorted(weights) if re.fullmatch(r".*conv_layers\.\d+\.0\.weight", name)]
    layers = {found[1] for name in weights if (found := re.match(LAYER, name))}
    try:
        width, position = len(weights["post_extract_proj.weight"]), weights["encoder.pos_conv.0.weight_v"]
        feed_forward = len(weights["encoder.layers.0.fc1.weight"])
    except KeyError as error:
        raise ValueError(f"fairseq's weights must be those of a HuBERT, but {error} is missing.") from error
    by_layer = "feature_extractor.conv_layers.0.2.1.weight" in weights
    strides = _strides(str(settings.get("conv_feature_layers", "")))
    if len(strides) != len(convolutions):
        raise ValueError(f"HuBERT must have {len(strides)} convolutions, but the file has {len(convolutions)}.")
    return HubertConfig(
        hidden_size=width,
        num_hidden_layers=len(layers),
        num_attention_heads=int(settings.get("encoder_attention_heads", max(1, width // 64))),
        intermediate_size=feed_forward,
        conv_dim=tuple(len(weight) for weight in convolutions),
        conv_kernel=tuple(weight.shape[2] for weight in convolutions),
        conv_stride=strides,
        conv_bias="feature_extractor.conv_layers.0.0.bias" in weights,
        feat_extract_norm="layer" if by_layer else "group",
        do_stable_layer_norm=bool(settings.get("layer_norm_first", by_layer)),
        num_conv_pos_embeddings=position.shape[2],
        num_conv_pos_embedding_groups=width // position.shape[1],
    )


def _strides(layers: str) -> tuple[int, ...]:
    """The strides in fairseq's way of writing, `[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2`: of Python, but read
    and not run. Those of all HuBERTs where nothing is written."""
    found = re.findall(r"\(\s*\d+\s*,\s*\d+\s*,\s*(\d+)\s*\)\s*\]\s*(?:\*\s*(\d+))?", layers)
    return tuple(int(stride) for stride, times in found for _ in range(int(times or 1))) or STRIDES
