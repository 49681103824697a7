"""Six utterances in tones, learned by heart: each student says them again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchaudio
from torch import Tensor
from torch.nn import functional

from trainables import testing
from trainables.batch import Batch
from trainables.corpora.word_pieces import SeenPieces
from trainables.sequences import Sequences
from trainables.students.attending import LocationAware
from trainables.students.conformer import Conformer
from trainables.students.fbank import LogEnergies
from trainables.students.las import Las, Spelled
from trainables.students.las_search import BeamSpelling, GreedySpelling
from trainables.students.transducer import Transduced, Transducer
from trainables.students.transducer_search import BeamTransduction, GreedyTransduction
from trainables.teachers.language_model import LanguageModel

CONFORMER = Conformer(layers=2, width=48, heads=2, feed_forward=64, kernel=7, channels=16, dropout=0.0)
STUDENTS = [
    (
        Las(encoder=CONFORMER, attention=LocationAware(hidden=32), cells=48, embedding=16),
        (GreedySpelling(), BeamSpelling(width=4)),
    ),
    (
        Transducer(encoder=CONFORMER, embedding=16, cells=48, joint=48, blank_bias=1.0),
        (GreedyTransduction(), BeamTransduction(width=4)),
    ),
]


def loss(model: Any, output: Spelled | Transduced, tokens: Sequences) -> Tensor:
    """The loss of each utterance: eq. 2 for LAS, minus log P for the transducer."""
    if isinstance(output, Spelled):
        found = functional.cross_entropy(output.logits.values.transpose(1, 2), tokens.values, reduction="none")
        return (found * tokens.mask).sum() / len(tokens.values)
    logits = model.output(torch.tanh(output.acoustic.values[:, :, None] + output.language.values[:, None]))
    lengths = output.acoustic.lengths.int(), tokens.lengths.int()
    return torchaudio.functional.rnnt_loss(logits, tokens.values.int(), *lengths, blank=model.blank)


@pytest.mark.parametrize(("config", "searches"), STUDENTS, ids=["las", "transducer"])
def test_it_learns_what_is_said(config: Las | Transducer, searches: Any, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    texts = tuple(" ".join(random.choice(testing.WORDS, 2)) for _ in range(6))
    tokenizer = LanguageModel(model=str(testing.word_piece_bert(tmp_path))).tokenizer()
    vocabulary = SeenPieces().build(tokenizer, texts)
    audio = Sequences.stack([testing.tone(text) for text in texts])
    tokens = Sequences.stack([np.array(vocabulary.encode(text), np.int64) for text in texts])
    batch = Batch(ids=texts, audio=audio, scale=torch.ones(6) / 6, texts=texts, sources={"tokens": tokens})
    energies = LogEnergies()(audio)
    valid = energies.values[energies.mask]
    torch.manual_seed(0)
    model = config.build(vocabulary, torch.stack([valid.mean(dim=0), valid.var(dim=0)]))
    optimiser = torch.optim.Adam(model.parameters(), 4e-3)
    for _ in range(140):
        loss(model, model(batch), tokens).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        optimiser.zero_grad()
    model.eval()
    with torch.no_grad():
        frames = model.encoder(batch)
        assert float(loss(model, model(batch), tokens)) < 1
    greedy, beam = ([vocabulary.decode(found) for found in each.search(model, frames)] for each in searches)
    assert beam == list(texts)
    # A transducer's greedy search takes the blank where a token's probability is spread over several frames.
    assert sum(found != text for found, text in zip(greedy, texts, strict=True)) <= (config.kind == "transducer")
