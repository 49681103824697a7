"""The frames that an encoder makes of a clip, how many and how far apart: by its config, before it is built.

A convolution of kernel k and stride s makes (n − k) // s + 1 of n; one after the other, their strides multiply:

                                                            hop          of 1 s      of 0.025 s
    wav2vec 2.0   10/5, 3/2, 3/2, 3/2, 3/2, 2/2, 2/2        320, 20 ms   49 frames   1
    w2v-BERT      windows 400/160, then two side by side    320, 20 ms   49          0
    Whisper       160, 2, both padded                       320, 20 ms   50          2

CTC needs a frame for each character, and one more between two that are equal: so a clip's frames decide whether it can
be trained on, before anything is built.
"""

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig

from trainables.corpora.audio import SAMPLE_RATE
from trainables.corpora.filters import FRAME

WAVEFORM = {"sampling_rate": SAMPLE_RATE}
FILTER_BANKS = {"sampling_rate": SAMPLE_RATE, "stride": 2, "num_mel_bins": 80}
LOG_MEL = {"sampling_rate": SAMPLE_RATE, "hop_length": 160, "n_fft": 400}
"""The front ends of waveforms, of w2v-BERT and of Whisper as they are here, in a preprocessor_config.json's words."""


@dataclass(frozen=True)
class Frames:
    """The convolutions that turn samples at 16 kHz into frames, the first one first: (kernel, stride) of each."""

    convolutions: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, config: PretrainedConfig) -> "Frames":
        """The frames of an encoder with this config."""
        match config.model_type:
            case "whisper" | "whisper_ctc":  # padded, so that no sample is lost
                return cls(((1, 160), (1, 2)))
            case "wav2vec2-bert":  # windows of filter banks, two side by side
                return cls(((400, 160), (2, 2)))
            case _:
                kernels, strides = getattr(config, "conv_kernel", (1,)), getattr(config, "conv_stride", (FRAME,))
                return cls(tuple(zip(kernels, strides, strict=True)))

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return prod(stride for _, stride in self.convolutions)

    def count(self, samples: int) -> int:
        """Frames of a clip with this many samples."""
        for kernel, stride in self.convolutions:
            samples = max(0, (samples - kernel) // stride + 1)
        return samples


def check_frames(name: str, folder: Path, config: PretrainedConfig) -> None:
    """Raises ValueError where a model's frames are not what is counted on, which training would not notice."""
    if getattr(config, "add_adapter", False):
        raise ValueError(
            f"A student must be an encoder alone, but {name} has an adapter behind it, which leaves one frame of "
            f"{config.adapter_stride**config.num_adapter_layers}; with `add_adapter` false in its config.json it is "
            "used without."
        )
    hop = Frames.of(config).hop
    if hop < FRAME:  # clips whose transcripts have no room in such frames are left out in preparation
        raise ValueError(
            f"A student must have a frame every {_milliseconds(FRAME)} or more seldom, but {name} has one every "
            f"{_milliseconds(hop)}."
        )
    front_ends: dict[str, dict[str, int]] = {"whisper": LOG_MEL, "wav2vec2-bert": FILTER_BANKS}
    stated = _preprocessor(folder)
    for field, value in front_ends.get(config.model_type, WAVEFORM).items():
        if stated.get(field, value) != value:
            raise ValueError(
                f"A student must be made for audio with a `{field}` of {value}, but {name} is for one of "
                f"{stated[field]}, by its preprocessor_config.json."
            )
    if config.model_type == "wav2vec2-bert" and config.feature_projection_input_dim != 160:
        raise ValueError(
            "A student's `feature_projection_input_dim` must be 160, two frames of 80 filter banks, but that of "
            f"{name} is {config.feature_projection_input_dim}."
        )


def _preprocessor(folder: Path) -> dict[str, Any]:
    """The fields of a folder's preprocessor_config.json; none where the file is missing or damaged."""
    try:
        found = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _milliseconds(samples: int) -> str:
    return f"{1000 * samples / SAMPLE_RATE:g} ms"
