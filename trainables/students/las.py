"""Listen, attend and spell: one token after the other, each by what attention hears (arXiv 1508.01211).

The decoder is that of Lingvo's `Librispeech960Wpm`, which arXiv 2202.07894 has from arXiv 1902.01955:

    s_i = LSTM₁([embedding of y_{i−1}; c_{i−1}], s_{i−1})
    c_i = attention of s_i over the encoder's frames
    o_i = LSTM₂([s_i; c_i], o_{i−1})
    φ_i = [o_i; c_i],   p(y_i | y_{<i}, X) = softmax(W φ_i + b)

y_0 is [PAD], and c_0 is zero. φ, the input of the softmax, is what regression starts from (eq. 3).
"""

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from trainables.batch import Batch
from trainables.config import Config
from trainables.corpora.word_pieces import WordPieces
from trainables.sequences import Sequences
from trainables.students.acoustic import AcousticEncoder, Listener, listener
from trainables.students.attending import Additive, Attention, AttentionConfig, Memory
from trainables.students.recurrent import ConvBlstm, draw_evenly

Size = Annotated[int, Field(gt=0)]
TOKENS = "tokens"
"""Name of the source of a batch in which the tokens are, with the first and the last one of a transcript."""


class Las(Config):
    """An encoder and an attention decoder with two LSTMs; by default the paper's, of 101.8 M and 126.9 M parameters
    with 30 522 word pieces."""

    kind: Literal["las"] = "las"
    encoder: AcousticEncoder = ConvBlstm()
    attention: AttentionConfig = Additive()
    embedding: Size = 96
    cells: Size = 1024
    """Cells of each of the two LSTMs."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """On φ, before the softmax and before whatever else is learned from it."""

    def build(self, vocabulary: WordPieces, moments: Float[Tensor, "2 bands"] | None = None) -> "LasModel":
        """The student for these tokens, what is new in it drawn from torch's generator.

        `moments` are the mean and the variance of the mel bands over the corpus. Raises ValueError when pretrained
        weights are missing.
        """
        return LasModel(listener(self.encoder, moments), self, vocabulary)


@dataclass(frozen=True, slots=True)
class Spelled:
    """A student's output for a batch whose tokens it is told, one after the other."""

    frames: Sequences
    """The encoder's hidden states, (batch, frames, features)."""
    states: Sequences
    """φ, the input of the softmax, (batch, tokens, cells + features): φ_i stands where token y_i does."""
    logits: Sequences
    """Outputs before the softmax, (batch, tokens, vocabulary)."""


class SpellerState(NamedTuple):
    """What the decoder knows after some tokens: a row for each hypothesis."""

    below: tuple[Float[Tensor, "rows cells"], Float[Tensor, "rows cells"]]
    """Output and cell of LSTM₁, s_i."""
    above: tuple[Float[Tensor, "rows cells"], Float[Tensor, "rows cells"]]
    """Output and cell of LSTM₂, o_i."""
    context: Float[Tensor, "rows features"]
    looked: Float[Tensor, "rows frames"]
    """Sums of the weights of attention so far."""

    def select(self, rows: Int[Tensor, " rows"]) -> "SpellerState":
        """The states of some rows, in their order."""
        below, above = ((pair[0][rows], pair[1][rows]) for pair in (self.below, self.above))
        return SpellerState(below, above, self.context[rows], self.looked[rows])


class LasModel(nn.Module):
    """An encoder with an attention decoder."""

    def __init__(self, encoder: Listener, config: Las, vocabulary: WordPieces) -> None:
        super().__init__()
        self.encoder, self.cells = encoder, config.cells
        self.start, self.end = vocabulary.blank, vocabulary.end
        """Numbers of the tokens before the first one of a transcript, and of its last one."""
        features = encoder.width
        self.width = config.cells + features
        """Features of φ."""
        self.skips_layers = encoder.skips_layers
        self.embedding = nn.Embedding(len(vocabulary), config.embedding)
        self.attention = Attention(config.attention, features, config.cells)
        self.below = nn.LSTMCell(config.embedding + features, config.cells)
        self.above = nn.LSTMCell(config.cells + features, config.cells)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(self.width, len(vocabulary))
        nn.init.uniform_(self.embedding.weight, -1, 1)
        for part in (self.below, self.above, self.output):
            draw_evenly(part, 0.1)

    def forward(self, batch: Batch) -> Spelled:
        """φ and the logits of all tokens in the batch's source `tokens`, each after the true ones before it."""
        tokens, frames = batch.sources[TOKENS], self.encoder(batch)
        states = Sequences(self.dropout(self._taught(frames, tokens)), tokens.lengths).zero_padded()
        return Spelled(frames, states, Sequences(self.output(states.values), tokens.lengths))

    def _taught(self, frames: Sequences, tokens: Sequences) -> Float[Tensor, "batch tokens width"]:
        before = torch.cat([torch.full_like(tokens.values[:, :1], self.start), tokens.values[:, :-1]], dim=1)
        memory, state = self.listened(frames)
        states = []
        for i in range(before.shape[1]):
            found, state = self.step(before[:, i], state, memory)
            states.append(found)
        return torch.stack(states, dim=1)

    def listened(self, frames: Sequences) -> tuple[Memory, SpellerState]:
        """What the decoder attends to, and its state before the first token."""
        rows, nothing = len(frames.values), torch.zeros_like(frames.values[:, 0])
        zeros = frames.values.new_zeros(rows, self.cells)
        looked = torch.zeros(frames.values.shape[:2], device=frames.values.device)
        return self.attention.memory(frames), SpellerState((zeros, zeros), (zeros, zeros), nothing, looked)

    def step(
        self, tokens: Int[Tensor, " rows"], state: SpellerState, memory: Memory
    ) -> tuple[Float[Tensor, "rows width"], SpellerState]:
        """φ after one more token in each row, and the state that it leaves."""
        below = self.below(torch.cat([self.embedding(tokens), state.context], dim=1), state.below)
        context, looked = self.attention(below[0], memory, state.looked)
        above = self.above(torch.cat([below[0], context], dim=1), state.above)
        return torch.cat([above[0], context], dim=1), SpellerState(below, above, context, looked)
