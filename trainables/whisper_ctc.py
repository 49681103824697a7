"""Whisper's encoder with a CTC head as a transformers model, which transformers itself has not got.

Importing this module makes `AutoModelForCTC`, and so `pipeline("automatic-speech-recognition")`, know it.
"""

from typing import Any

from torch import nn
from transformers import AutoConfig, AutoModelForCTC, PretrainedConfig, WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from trainables.corpora.filters import FRAME
from trainables.students.encoders import WhisperFrames
from trainables.waveforms_for_ctc import WaveformsForCTC

KEPT = (
    "d_model", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim", "encoder_layerdrop", "num_mel_bins",
    "max_source_positions", "scale_embedding", "dropout", "attention_dropout", "activation_dropout",
    "activation_function", "init_std", "vocab_size", "pad_token_id", "bos_token_id", "eos_token_id",
)  # fmt: skip


class WhisperCTCConfig(WhisperConfig):
    """Whisper's fields; of its own type, so that nobody takes it for a Whisper whose decoder is lost."""

    model_type = "whisper_ctc"

    @classmethod
    def of(cls, config: PretrainedConfig) -> "WhisperCTCConfig":
        """The fields of a Whisper's config that are about its encoder, and about a head over `vocab_size` tokens."""
        fields: dict[str, Any] = {name: getattr(config, name) for name in KEPT}
        # transformers checks that the decoder, which there is not, starts with a token of the vocabulary.
        return cls(**fields | {"is_encoder_decoder": False, "decoder_start_token_id": config.pad_token_id})

    @property
    def inputs_to_logits_ratio(self) -> int:
        """Samples per frame."""
        return FRAME


class WhisperForCTC(WaveformsForCTC):
    """Whisper's encoder with a CTC head, which takes its log-mel features itself."""

    config_class = WhisperCTCConfig
    base_model_prefix = "whisper"

    def __init__(self, config: WhisperCTCConfig) -> None:
        super().__init__(config)
        self.whisper = WhisperFrames(WhisperEncoder(config))
        self.lm_head = nn.Linear(config.d_model, config.vocab_size)
        self.post_init()


AutoConfig.register(WhisperCTCConfig.model_type, WhisperCTCConfig)
AutoModelForCTC.register(WhisperCTCConfig, WhisperForCTC)
