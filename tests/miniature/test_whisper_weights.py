import struct

import numpy as np
import pytest
import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration

from trainables.miniature.whisper_weights import read_ctranslate2, state_dict

CODES = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}


def write_ctranslate2(path, arrays, aliases=(), version=6):
    def string(text):
        return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"

    parts = [struct.pack("<I", version), string("WhisperSpec"), struct.pack("<II", 3, len(arrays))]
    for name, array in arrays.items():
        sizes = struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        code = struct.pack("<BI", CODES[array.dtype.name], array.nbytes)
        parts += [string(name), sizes, code, array.tobytes()]
    parts += [struct.pack("<I", len(aliases)), *(string(name) for pair in aliases for name in pair)]
    path.write_bytes(b"".join(parts))


def test_read_ctranslate2_round_trip(tmp_path):
    arrays = {
        "encoder/a": np.arange(6, dtype=np.float16).reshape(2, 3),
        "encoder/num_heads": np.array(6, dtype=np.int16),
        "decoder/b": np.array([1.5], dtype=np.float32),
    }
    write_ctranslate2(tmp_path / "model.bin", arrays, [("decoder/c", "encoder/a")])
    read = read_ctranslate2(tmp_path / "model.bin")
    assert list(read) == [*arrays, "decoder/c"]
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)
    np.testing.assert_array_equal(read["decoder/c"], arrays["encoder/a"])


def test_another_version_is_refused(tmp_path):
    write_ctranslate2(tmp_path / "model.bin", {}, version=5)
    with pytest.raises(ValueError, match="must be 6, but is 5 instead"):
        read_ctranslate2(tmp_path / "model.bin")


def test_state_dict_restores_a_tiny_whisper():
    config = WhisperConfig(
        vocab_size=11, d_model=8, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=12, decoder_ffn_dim=12, num_mel_bins=4,
        max_source_positions=6, max_target_positions=5, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1,
    )  # fmt: skip
    original = WhisperForConditionalGeneration(config).state_dict()
    restored = state_dict(_as_ctranslate2(original))
    assert restored.keys() == original.keys()
    for name, value in original.items():
        torch.testing.assert_close(restored[name], value)


def _as_ctranslate2(state):
    """The other direction, written from the format's description: projections of one input are stacked."""
    arrays = {}

    def put(at, to, kinds=("weight", "bias")):
        for kind, name in zip(("weight", "bias"), kinds, strict=True):
            arrays[f"{at}/{name}"] = state[f"{to}.{kind}"].numpy()

    def stack(at, to, names):
        width = len(state[f"{to}.out_proj.bias"])
        biases = [state.get(f"{to}.{name}_proj.bias", torch.zeros(width)) for name in names]
        arrays[f"{at}/weight"] = torch.cat([state[f"{to}.{name}_proj.weight"] for name in names]).numpy()
        arrays[f"{at}/bias"] = torch.cat(biases).numpy()

    norm = ("gamma", "beta")
    for side, layers in (("encoder", 1), ("decoder", 2)):
        for layer in range(layers):
            at, to = f"{side}/layer_{layer}", f"model.{side}.layers.{layer}"
            stack(f"{at}/self_attention/linear_0", f"{to}.self_attn", "qkv")
            put(f"{at}/self_attention/linear_1", f"{to}.self_attn.out_proj")
            put(f"{at}/self_attention/layer_norm", f"{to}.self_attn_layer_norm", norm)
            if side == "decoder":
                stack(f"{at}/attention/linear_0", f"{to}.encoder_attn", "q")
                stack(f"{at}/attention/linear_1", f"{to}.encoder_attn", "kv")
                put(f"{at}/attention/linear_2", f"{to}.encoder_attn.out_proj")
                put(f"{at}/attention/layer_norm", f"{to}.encoder_attn_layer_norm", norm)
            put(f"{at}/ffn/linear_0", f"{to}.fc1")
            put(f"{at}/ffn/linear_1", f"{to}.fc2")
            put(f"{at}/ffn/layer_norm", f"{to}.final_layer_norm", norm)
        put(f"{side}/layer_norm", f"model.{side}.layer_norm", norm)
        arrays[f"{side}/position_encodings/encodings"] = state[f"model.{side}.embed_positions.weight"].numpy()
    put("encoder/conv1", "model.encoder.conv1")
    put("encoder/conv2", "model.encoder.conv2")
    arrays["decoder/embeddings/weight"] = state["proj_out.weight"].numpy()
    return arrays
