"""Text encoders (BERT, XLM-R, InfoXLM, …) as teachers: hidden states of a transcript."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from typing_extensions import override

from trainables.config import Config, Location
from trainables.corpora.sources import FeatureSource
from trainables.sequences import Sequences
from trainables.weights import (
    TOKENIZER_FILES,
    Sha256,
    check,
    family,
    fingerprint,
    fingerprint_without_weights,
    load,
    locate,
)


class TextEncoderConfig(Config, ABC):
    """A text encoder, and how a student meets it: all that a recipe asks of a teacher."""

    model: Location
    """Folder of the model, or its name on the hub."""
    layer: Annotated[int, Field(le=0)] = 0
    """Hidden layer to learn from, counted down from the last, which is 0 (eq. 8)."""

    label: ClassVar[str]
    """Words that tell this teacher from the paper's; empty for the paper's."""

    @abstractmethod
    def build(self) -> "TextEncoder":
        """The text encoder with its weights."""

    @abstractmethod
    def cached(self) -> "FrozenLanguageModel | None":
        """The frozen teacher whose hidden states are computed once; None if they change while the student trains.

        Then the text encoder is part of the task, and is trained along unless it is frozen.
        """

    def source(self, cached: FeatureSource, utterances: int) -> FeatureSource:
        """The feature source of a split with so many `utterances`: by default each gets its own transcript's."""
        return cached

    def features(self) -> int:
        """Width of the hidden states, D_F^LM."""
        return AutoConfig.from_pretrained(self.folder(), local_files_only=True).hidden_size

    def folder(self) -> Path:
        """The model's folder, with a config.

        Raises ValueError when there is none.
        """
        folder = locate(self.model)
        family(folder)
        return folder

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer.

        Raises ValueError when it is missing: transformers would make one up that knows no word.
        """
        folder = self.folder()
        if not any((folder / name).is_file() for name in TOKENIZER_FILES):
            raise ValueError(f"A teacher must have one of {', '.join(TOKENIZER_FILES)}, but {folder} has none.")
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)


class PretrainedWeights(TextEncoderConfig):
    """A text encoder with the weights it comes with, frozen."""

    bin_sha256: Sha256 | None = None
    """Digest of a trusted pytorch_model.bin, where there are no safetensors."""

    @override
    def fingerprint(self) -> str:
        """Digest of the weights and the tokenizer."""
        return fingerprint(self.model, self.bin_sha256)

    @override
    def folder(self) -> Path:
        """The model's folder, with a config and weights.

        Raises ValueError when there is none.
        """
        return check(locate(self.model), self.bin_sha256)

    @override
    def build(self) -> "TextTeacher":
        """The teacher with its pretrained weights.

        Raises ValueError when the weights are missing or the model has no such layer.
        """
        folder, tokenizer = self.folder(), self.tokenizer()
        encoder = load(folder, AutoConfig.from_pretrained(folder, local_files_only=True), self.bin_sha256)
        return TextTeacher(encoder, tokenizer, self.layer)


class RandomWeights(TextEncoderConfig):
    """A text encoder of the same architecture and tokenizer, its weights drawn as before any pretraining."""

    seed: Annotated[int, Field(ge=0)] = 1
    """The seed that the weights are drawn with, which is not the student's."""

    @override
    def fingerprint(self) -> str:
        """Digest of the architecture and the tokenizer."""
        return fingerprint_without_weights(self.model)

    def draw(self) -> PreTrainedModel:
        """The encoder; torch's generators stay as they are."""
        config = AutoConfig.from_pretrained(self.folder(), local_files_only=True)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)  # weights are drawn on the CPU, whatever comes then
            return AutoModel.from_config(config, dtype=torch.float32)


class LanguageModel(PretrainedWeights):
    """A pretrained text encoder, frozen (§3.2: InfoXLM-base, 12 layers of 768)."""

    kind: Literal["language_model"] = "language_model"
    label: ClassVar[str] = ""

    @override
    def cached(self) -> "LanguageModel":
        return self


class RandomLanguageModel(RandomWeights):
    """The control of what a teacher knows: frozen too, but it has never read a text."""

    kind: Literal["random_language_model"] = "random_language_model"
    label: ClassVar[str] = "random teacher"

    @override
    def cached(self) -> "RandomLanguageModel":
        return self

    @override
    def build(self) -> "TextTeacher":
        """The teacher with its random weights."""
        return TextTeacher(self.draw(), self.tokenizer(), self.layer)


FrozenLanguageModel = Annotated[LanguageModel | RandomLanguageModel, Field(discriminator="kind")]


class TextEncoder(nn.Module):
    """Hidden states of transcripts. Raises ValueError when the encoder has no such layer."""

    def __init__(self, encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, layer: int) -> None:
        super().__init__()
        if -layer > encoder.config.num_hidden_layers:
            raise ValueError(f"`layer` must be from {-encoder.config.num_hidden_layers} to 0, but is {layer} instead.")
        self.encoder, self.tokenizer, self.layer = encoder, tokenizer, layer
        self.rows: Tensor | None
        self.register_buffer("rows", None, persistent=False)

    def restrict_to(self, texts: Sequence[str]) -> None:
        """Drop the embeddings of all tokens that are not in `texts`, the only ones that will be read from now on.

        Nothing else changes: unread rows have no gradient. Of a multilingual encoder they are most of the weights.
        """
        found = {token for row in self.tokenizer(list(texts), truncation=True)["input_ids"] for token in row}
        table = self.encoder.get_input_embeddings()
        assert isinstance(table, nn.Embedding)
        # XLM-R counts positions from the padding's number, which must stay what it is.
        kept = torch.tensor(sorted(found | set(range((table.padding_idx or 0) + 1))))
        self.rows = torch.full((table.num_embeddings,), -1).index_put((kept,), torch.arange(len(kept)))
        weight = table.weight.detach()[kept]
        smaller = nn.Embedding.from_pretrained(weight, freeze=False, padding_idx=table.padding_idx)
        self.encoder.set_input_embeddings(smaller)

    def forward(self, texts: Sequence[str]) -> Sequences:
        """Hidden states (batch, tokens, features) of normalised transcripts, special tokens included."""
        device = next(self.encoder.parameters()).device
        tokens = self.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt").to(device)
        numbers = tokens["input_ids"] if self.rows is None else self.rows[tokens["input_ids"]]
        output = self.encoder(input_ids=numbers, attention_mask=tokens["attention_mask"], output_hidden_states=True)
        hidden: Float[Tensor, "batch tokens features"] = output.hidden_states[self.layer - 1]
        return Sequences(hidden, tokens["attention_mask"].sum(dim=1)).zero_padded()


class TextTeacher(TextEncoder):
    """A text encoder that is frozen for good: no gradients, and evaluation mode in whatever mode its owner is."""

    def __init__(self, encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, layer: int) -> None:
        super().__init__(encoder.requires_grad_(False), tokenizer, layer)
        self.train(False)

    @override
    def train(self, mode: bool = True) -> "TextTeacher":
        """The teacher, which stays in evaluation mode."""
        return super().train(False)

    @override
    @torch.no_grad()
    def forward(self, texts: Sequence[str]) -> Sequences:
        return super().forward(texts)
