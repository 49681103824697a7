"""Text encoders (BERT, XLM-R, InfoXLM, …) as teachers: hidden states of a transcript."""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from trainables.config import Config, Location
from trainables.sequences import Sequences
from trainables.weights import TOKENIZER_FILES, Sha256, check, fingerprint, load, locate


class LanguageModel(Config):
    """A pretrained text encoder, frozen (§3.2: InfoXLM-base, 12 layers of 768)."""

    kind: Literal["language_model"] = "language_model"
    model: Location
    """Folder or hub name."""
    layer: Annotated[int, Field(le=0)] = 0
    """Hidden layer to learn from, counted down from the last, which is 0 (eq. 8)."""
    bin_sha256: Sha256 | None = None
    """Digest of a trusted pytorch_model.bin, where there are no safetensors."""

    def fingerprint(self) -> str:
        """Digest of the weights and the tokenizer."""
        return fingerprint(self.model, self.bin_sha256)

    def features(self) -> int:
        """Width of the hidden states, D_F^LM."""
        folder = check(locate(self.model), self.bin_sha256)
        return AutoConfig.from_pretrained(folder, local_files_only=True).hidden_size

    def build(self) -> "TextTeacher":
        """The teacher with its pretrained weights.

        Raises ValueError when the weights are missing or the model has no such layer.
        """
        folder = check(locate(self.model), self.bin_sha256)
        # Without these, transformers makes up a tokenizer that knows no word.
        if not any((folder / name).is_file() for name in TOKENIZER_FILES):
            raise ValueError(f"A teacher must have one of {', '.join(TOKENIZER_FILES)}, but {folder} has none.")
        encoder = load(folder, AutoConfig.from_pretrained(folder, local_files_only=True), self.bin_sha256)
        if -self.layer > encoder.config.num_hidden_layers:
            raise ValueError(
                f"`layer` must be from {-encoder.config.num_hidden_layers} to 0, but is {self.layer} instead."
            )
        return TextTeacher(encoder, AutoTokenizer.from_pretrained(folder, local_files_only=True), self.layer)


class TextTeacher(nn.Module):
    """Frozen for good: no gradients, and evaluation mode whatever mode the world around it is put in."""

    def __init__(self, encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, layer: int) -> None:
        super().__init__()
        self.encoder, self.tokenizer, self.layer = encoder.requires_grad_(False), tokenizer, layer
        self.train(False)

    def train(self, mode: bool = True) -> "TextTeacher":
        """Stays in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, texts: Sequence[str]) -> Sequences:
        """Hidden states (batch, tokens, features) of normalised transcripts, special tokens included."""
        device = next(self.encoder.parameters()).device
        tokens = self.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt").to(device)
        output = self.encoder(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"], output_hidden_states=True
        )
        hidden: Float[Tensor, "batch tokens features"] = output.hidden_states[self.layer - 1]
        return Sequences(hidden, tokens["attention_mask"].sum(dim=1)).zero_padded()
