"""A trained student with a CTC head as a folder that transformers loads: model, tokenizer and feature extractor."""

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import (
    AutoModelForCTC,
    PretrainedConfig,
    PreTrainedModel,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertProcessor,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Processor,
)

from trainables.corpora.audio import SAMPLE_RATE
from trainables.corpora.text import BLANK, DELIMITER, CharacterVocabulary
from trainables.students.ctc import CTCStudent, architecture
from trainables.whisper_ctc import WhisperCTCConfig


def export(student: CTCStudent, weights: Path, folder: Path) -> type[PreTrainedModel]:
    """Write `student` with the `weights` that a trial has kept into `folder`.

    Returns the class that loads them: one of transformers', or `WhisperForCTC`.
    Raises ValueError when the weights are damaged, or not of this student.
    """
    vocabulary, tensors = read(weights)
    config = _config(student, vocabulary)
    wrapper = "encoder." if isinstance(config, WhisperCTCConfig) else "encoder.model."
    standardised = not isinstance(config, WhisperCTCConfig)
    return write(config, vocabulary, tensors, wrapper, weights, folder, standardised=standardised)


def write(
    config: PretrainedConfig,
    vocabulary: CharacterVocabulary,
    tensors: Mapping[str, Tensor],
    wrapper: str,
    weights: Path,
    folder: Path,
    *,
    standardised: bool,
) -> type[PreTrainedModel]:
    """Write the model of a config with the `tensors` of an encoder, whose names begin with `wrapper`, and of a head.

    Returns its class. Raises ValueError when the tensors, which were in the file `weights`, are not of this model.
    """
    model: PreTrainedModel = AutoModelForCTC.from_config(config, dtype=torch.float32)
    renamed = {
        f"{model.base_model_prefix}.{name.removeprefix(wrapper)}" if name.startswith(wrapper) else f"lm_{name}": value
        for name, value in tensors.items()
    }
    try:
        model.load_state_dict(renamed)
    except RuntimeError as error:
        raise ValueError(f"Weights must be of the recipe's student, but {weights} are not.") from error
    model.save_pretrained(folder)
    processor(config, vocabulary, standardised=standardised).save_pretrained(folder)
    for file in folder.glob("*.safetensors"):  # written for their owner alone
        file.chmod((folder / "config.json").stat().st_mode)
    return type(model)


def processor(
    config: PretrainedConfig, vocabulary: CharacterVocabulary, *, standardised: bool
) -> Wav2Vec2Processor | Wav2Vec2BertProcessor:
    """Feature extractor and tokenizer: audio as the student's encoder takes it, and text as `greedy` decodes it."""
    if config.model_type == "wav2vec2-bert":
        return Wav2Vec2BertProcessor(SeamlessM4TFeatureExtractor(), _tokenizer(vocabulary))
    extractor = Wav2Vec2FeatureExtractor(
        sampling_rate=SAMPLE_RATE, do_normalize=standardised, return_attention_mask=True
    )
    return Wav2Vec2Processor(extractor, _tokenizer(vocabulary))


def read(weights: Path) -> tuple[CharacterVocabulary, dict[str, Tensor]]:
    """The vocabulary and the tensors of a student with a CTC head, as a trial keeps them in one file.

    Raises ValueError when the file is damaged.
    """
    try:
        with safe_open(weights, framework="pt") as file:
            tokens = json.loads(file.metadata()["vocabulary"])
            names = file.keys()
            return CharacterVocabulary(tuple(tokens)), {name: file.get_tensor(name) for name in names}
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"Weights must be as a trial keeps them, but {weights} are damaged: {error}.") from error


def _config(student: CTCStudent, vocabulary: CharacterVocabulary) -> PretrainedConfig:
    name = student.encoder.model
    fields = {
        **student.overrides(),
        "vocab_size": len(vocabulary),
        "pad_token_id": vocabulary.blank,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    config = architecture(name, fields)
    if config.model_type == "whisper":
        config = WhisperCTCConfig.of(config)
    return config


def _tokenizer(vocabulary: CharacterVocabulary) -> Wav2Vec2CTCTokenizer:
    # The pipeline prints every token but the blank; ours leaves the unknown token out, as the empty text does.
    index = {"" if i == vocabulary.unknown else token: i for i, token in enumerate(vocabulary.tokens)}
    with TemporaryDirectory(prefix="vocabulary-") as folder:
        path = Path(folder, "vocab.json")
        path.write_text(json.dumps(index, ensure_ascii=False), encoding="utf-8")
        special: dict[str, Any] = {"unk_token": "", "pad_token": BLANK, "bos_token": None, "eos_token": None}
        return Wav2Vec2CTCTokenizer(str(path), word_delimiter_token=DELIMITER, **special)
