"""Recurrent neural transducers (arXiv 1211.3711): a label or a blank for each frame and each label before it.

    a_t = W_a φ_t + b        φ_t is the encoder's frame t
    l_u = W_l ψ_u            ψ_u is the prediction network's output after u labels, u = 0, …, N
    p(k | t, u) = softmax(W tanh(a_t + l_u) + bias)_k

The joint network is the same as in arXiv 2202.07894 §3. Over frames, labels and vocabulary it would not fit into
memory: so the student gives a and l, from which the loss makes it in parts, and decoding only rows of it.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from trainables.batch import Batch
from trainables.config import Config
from trainables.corpora.word_pieces import WordPieces
from trainables.sequences import Sequences
from trainables.students.acoustic import AcousticEncoder, Listener, listener
from trainables.students.conformer import CONFORMER_S, Conformer
from trainables.students.las import TOKENS

Size = Annotated[int, Field(gt=0)]
LstmState = tuple[Float[Tensor, "rows cells"], Float[Tensor, "rows cells"]]
"""Output and cell of the prediction network's LSTM."""


class Transducer(Config):
    """An encoder, a prediction network of one LSTM and a joint network; by default the paper's, of 136 M parameters
    with 30 522 word pieces."""

    kind: Literal["transducer"] = "transducer"
    encoder: AcousticEncoder = Conformer()
    embedding: Size = 128
    cells: Size = 640
    """Cells of the prediction network's LSTM."""
    joint: Size = 640
    """Features of the joint network's hidden layer."""
    blank_bias: float = 0.0
    """What the blank's bias begins with. Frames outnumber labels, and an untrained student has to learn that first."""

    def build(self, vocabulary: WordPieces, moments: Float[Tensor, "2 bands"] | None = None) -> "TransducerModel":
        """The student for these tokens, what is new in it drawn from torch's generator.

        `moments` are the mean and the variance of the mel bands over the corpus. Raises ValueError when pretrained
        weights are missing.
        """
        return TransducerModel(listener(self.encoder, moments), self, vocabulary)


TRANSDUCER_S = Transducer(encoder=CONFORMER_S, cells=320, joint=320)
"""Conformer (S) of arXiv 2005.08100, Table 1, whose WERs the paper's baseline has; the joint's size is not given."""


@dataclass(frozen=True, slots=True)
class Transduced:
    """A student's output for a batch whose tokens it is told."""

    frames: Sequences
    """φ, the encoder's hidden states, (batch, frames, features)."""
    predictions: Sequences
    """ψ, (batch, tokens + 1, cells): what is known before token y_i stands at i − 1, the last is after all tokens."""
    acoustic: Sequences
    """a, (batch, frames, joint)."""
    language: Sequences
    """l, (batch, tokens + 1, joint)."""


class TransducerModel(nn.Module):
    """An encoder with a prediction and a joint network; `output` is the joint's last layer, W and bias."""

    def __init__(self, encoder: Listener, config: Transducer, vocabulary: WordPieces) -> None:
        super().__init__()
        self.encoder, self.blank = encoder, vocabulary.blank
        self.skips_layers = encoder.skips_layers
        self.widths = encoder.width, config.cells
        """Features of φ and of ψ."""
        self.embedding = nn.Embedding(len(vocabulary), config.embedding)
        self.prediction = nn.LSTM(config.embedding, config.cells, batch_first=True)
        self.acoustic = nn.Linear(encoder.width, config.joint)
        self.language = nn.Linear(config.cells, config.joint, bias=False)
        self.output = nn.Linear(config.joint, len(vocabulary))
        with torch.no_grad():
            self.output.bias[self.blank] += config.blank_bias

    def forward(self, batch: Batch) -> Transduced:
        """What the loss makes the joint network of, for the tokens in the batch's source `tokens`."""
        tokens, frames = batch.sources[TOKENS], self.encoder(batch)
        predicted = self.predictions(tokens)
        return Transduced(frames, predicted, self.listened(frames), self._projected(self.language, predicted))

    def predictions(self, tokens: Sequences) -> Sequences:
        """ψ (batch, tokens + 1, cells), which begins after the blank and before the first token."""
        begin = torch.full_like(tokens.values[:, :1], self.blank)
        output, _ = self.prediction(self.embedding(torch.cat([begin, tokens.values], dim=1)))
        return Sequences(output, tokens.lengths + 1).zero_padded()

    def listened(self, frames: Sequences) -> Sequences:
        """a (batch, frames, joint) of the encoder's frames."""
        return self._projected(self.acoustic, frames)

    def step(
        self, tokens: Int[Tensor, " rows"], state: LstmState | None
    ) -> tuple[Float[Tensor, "rows joint"], LstmState]:
        """l after one more token in each row, and the state that it leaves; without a state, nothing was before."""
        before = None if state is None else (state[0][None], state[1][None])
        output, (hidden, cell) = self.prediction(self.embedding(tokens)[:, None], before)
        return self.language(output[:, 0]), (hidden[0], cell[0])

    def joined(
        self, acoustic: Float[Tensor, "rows joint"], language: Float[Tensor, "rows joint"]
    ) -> Float[Tensor, "rows vocabulary"]:
        """Logits of rows of one frame and one prediction each."""
        return self.output(torch.tanh(acoustic + language))

    def _projected(self, layer: nn.Module, sequences: Sequences) -> Sequences:
        return Sequences(layer(sequences.values), sequences.lengths).zero_padded()
