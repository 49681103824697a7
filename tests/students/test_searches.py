"""Searches against enumeration, against transformers, and alone against in a batch."""

import itertools
import math
from functools import cache
from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers import ParakeetForRNNT, ParakeetRNNTConfig

from trainables import testing
from trainables.sequences import Sequences
from trainables.students.acoustic import Listener
from trainables.students.attending import Additive, LocationAware
from trainables.students.conformer import Conformer
from trainables.students.las import Las, LasModel
from trainables.students.las_search import BeamSpelling, GreedySpelling, limits
from trainables.students.transducer import Transducer, TransducerModel
from trainables.students.transducer_search import BeamTransduction, GreedyTransduction

FEATURES, ADDITIVE = 6, Additive(hidden=4)


def frames(*lengths: int, seed: int = 0) -> Sequences:
    random = torch.Generator().manual_seed(seed)
    return Sequences.stack([torch.randn(length, FEATURES, generator=random) for length in lengths])


def las(count: int, *, seed: int = 0, sharper: float = 2.0, attention: Any = ADDITIVE) -> LasModel:
    """With random weights, large enough for states and tokens to change from one token to the next."""
    torch.manual_seed(seed)
    config = Las(embedding=4, cells=5, attention=attention)
    model = LasModel(Listener(None, None, FEATURES), config, testing.numbered_pieces(count)).eval()
    with torch.no_grad():
        for part in (model.below, model.above, model.output):
            for weight in part.parameters():
                weight.uniform_(-2, 2)
        model.output.weight *= sharper
    return model


def transducer(count: int, *, seed: int = 0, sharper: float = 4.0) -> TransducerModel:
    torch.manual_seed(seed)
    config = Transducer(embedding=4, cells=5, joint=6, blank_bias=1.0)
    model = TransducerModel(Listener(None, None, FEATURES), config, testing.numbered_pieces(count)).eval()
    with torch.no_grad():
        for weight in (*model.prediction.parameters(), model.acoustic.weight, model.language.weight):
            weight.uniform_(-2, 2)
        model.output.weight.uniform_(-2, 2).mul_(sharper)
    return model


def row_of(sequences: Sequences, row: int) -> Sequences:
    length = int(sequences.lengths[row])
    return Sequences(sequences.values[row : row + 1, :length], sequences.lengths[row : row + 1])


SEARCHES: list[Any] = [
    (las, GreedySpelling()),
    (las, BeamSpelling(width=3)),
    (transducer, GreedyTransduction()),
    (transducer, GreedyTransduction(at_most=2)),
    (transducer, BeamTransduction(width=3)),
]


@pytest.mark.parametrize(
    ("student", "search"), SEARCHES, ids=lambda case: str(case) if isinstance(case, object) else ""
)
def test_a_clip_alone_has_the_tokens_that_it_has_in_a_batch(student: Any, search: Any) -> None:
    lengths = set()
    for seed in range(6):
        model, heard = student(9, seed=seed), frames(3, 11, 7, 1, seed=seed)
        found = search.search(model, heard)
        assert found == [search.search(model, row_of(heard, row))[0] for row in range(4)]
        lengths |= {len(tokens) for tokens in found}
    assert len(lengths) > 3


def spelled(model: LasModel, heard: Sequences, tokens: tuple[int, ...]) -> float:
    """log P of tokens, one after the other."""
    memory, state = model.listened(heard)
    before, total = model.start, 0.0
    for token in tokens:
        states, state = model.step(torch.tensor([before]), state, memory)
        total += float(functional.log_softmax(model.output(states)[0], dim=0)[token])
        before = token
    return total


@torch.no_grad()
def test_greedy_spelling_takes_the_likeliest_token_until_the_last() -> None:
    ended = 0
    for seed in range(8):
        model, heard = las(7, seed=seed, attention=LocationAware(hidden=4, filters=2, kernel=3)), frames(5, seed=seed)
        tokens = GreedySpelling().search(model, heard)[0]
        assert model.end not in tokens[:-1]
        assert len(tokens) == 17 or tokens[-1] == model.end
        ended += tokens[-1] == model.end
        memory, state = model.listened(heard)
        before = model.start
        for token in tokens:
            states, state = model.step(torch.tensor([before]), state, memory)
            assert int(model.output(states).argmax()) == token
            before = token
    assert 0 < ended < 8
    assert limits(frames(5, 6, 1)).tolist() == [17, 19, 11]


@torch.no_grad()
def test_a_beam_over_everything_finds_the_best_spelling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.students.las_search.limits", lambda heard: torch.full_like(heard.lengths, 4))
    for seed, length in itertools.product(range(4), (0.0, 1.5)):
        model, heard = las(5, seed=seed), frames(3, seed=seed)
        others = [token for token in range(5) if token != model.end]
        ended = [(*begin, model.end) for count in range(4) for begin in itertools.product(others, repeat=count)]
        scores = {tokens: spelled(model, heard, tokens) / ((5 + len(tokens)) / 6) ** length for tokens in ended}
        best = max(scores, key=lambda tokens: scores[tokens])
        assert BeamSpelling(width=256, length=length).search(model, heard) == [list(best)]


def test_a_beam_of_one_without_a_correction_for_length_is_greedy() -> None:
    for seed in range(8):
        model, heard = las(7, seed=seed), frames(4, 9, seed=seed)
        assert BeamSpelling(width=1, length=0).search(model, heard) == GreedySpelling().search(model, heard)


@torch.no_grad()
def test_a_wider_beam_spells_better_and_longer_texts_where_they_are_favoured() -> None:
    better, counts = 0, {0.0: 0, 3.0: 0}
    for seed in range(6):
        model, heard = las(5, seed=seed, sharper=1.0), frames(5, seed=seed)
        narrow, wide = (tuple(BeamSpelling(width=width, length=0.3).search(model, heard)[0]) for width in (1, 8))
        scores = [spelled(model, heard, tokens) / ((5 + len(tokens)) / 6) ** 0.3 for tokens in (narrow, wide)]
        if narrow[-1] == model.end:  # else it was cut off at the limit
            assert scores[1] >= scores[0] - 1e-5
            better += scores[1] > scores[0] + 1e-5
        for length in counts:
            counts[length] += len(BeamSpelling(length=length).search(model, heard)[0])
    assert better > 0
    assert counts[3.0] > counts[0.0]


def alignments(model: TransducerModel, heard: Sequences, at_most: int, tokens: tuple[int, ...]) -> float:
    """log P of tokens, summed over all alignments with at most so many of them on a frame."""
    acoustic, count = model.listened(heard).values[0], int(heard.lengths[0])
    language = model.language(
        model.predictions(Sequences(torch.tensor([tokens or (1,)]), torch.tensor([len(tokens)]))).values[0]
    )
    logp = functional.log_softmax(model.output(torch.tanh(acoustic[:, None] + language[None])).double(), dim=2)

    @cache
    def total(frame: int, said: int, here: int) -> float:
        if frame == count:
            return float(said == len(tokens))
        found = math.exp(logp[frame, said, model.blank]) * total(frame + 1, said, 0)
        if said < len(tokens) and here < at_most:
            found += math.exp(logp[frame, said, tokens[said]]) * total(frame, said + 1, here + 1)
        return found

    return math.log(total(0, 0, 0))


@pytest.mark.parametrize(("count", "at_most"), [(3, 1), (2, 2)])
@torch.no_grad()
def test_a_beam_over_everything_sums_all_alignments(count: int, at_most: int) -> None:
    merged, longest = 0, count * at_most
    for seed in range(6):
        model, heard = transducer(4, seed=seed, sharper=1.0), frames(count, seed=seed)
        every = [tokens for size in range(longest + 1) for tokens in itertools.product((1, 2, 3), repeat=size)]
        scores = {tokens: alignments(model, heard, at_most, tokens) for tokens in every}
        best = max(scores, key=lambda tokens: scores[tokens])
        found = BeamTransduction(width=len(every), at_most=at_most).search(model, heard)
        assert found == [list(best)]
        merged += found != GreedyTransduction(at_most=at_most).search(model, heard)
    assert merged > 0


@torch.no_grad()
def test_a_wider_beam_transduces_likelier_tokens() -> None:
    better = 0
    for seed in range(10):
        model, heard = transducer(8, seed=seed), frames(6, seed=seed)
        narrow, wide = (tuple(BeamTransduction(width=width).search(model, heard)[0]) for width in (1, 8))
        scores = [alignments(model, heard, 10, tokens) for tokens in (narrow, wide)]
        assert scores[1] >= scores[0] - 1e-6
        better += scores[1] > scores[0] + 1e-6
    assert better > 0


@pytest.mark.parametrize("at_most", [2, 10])
@torch.no_grad()
def test_greedy_transduction_is_that_of_transformers(at_most: int) -> None:
    count, size = 11, 12
    conformer = Conformer(layers=1, width=16, heads=2, feed_forward=24, kernel=5, channels=4, dropout=0.0)
    encoder = conformer.build().eval()
    model = TransducerModel(
        Listener(encoder, None, 16), Transducer(embedding=size, cells=size, joint=size), testing.numbered_pieces(count)
    ).eval()
    names = "blank_token_id", "pad_token_id", "bos_token_id", "decoder_start_token_id"
    tokens: dict[str, Any] = dict.fromkeys(names, 0)
    config = ParakeetRNNTConfig(
        vocab_size=count, decoder_hidden_size=size, num_decoder_layers=1, hidden_act="tanh",
        max_symbols_per_step=at_most, encoder_config=encoder.model.config, **tokens,
    )  # fmt: skip
    theirs = ParakeetForRNNT(config).eval()
    theirs.encoder.load_state_dict(encoder.model.state_dict())
    theirs.encoder_projector.load_state_dict(model.acoustic.state_dict())
    theirs.decoder.embedding.load_state_dict(model.embedding.state_dict())
    theirs.decoder.lstm.load_state_dict(model.prediction.state_dict())
    theirs.decoder.decoder_projector.weight.copy_(model.language.weight)
    theirs.decoder.decoder_projector.bias.zero_()
    said = 0
    for seed in range(4):
        torch.manual_seed(seed)
        model.output.weight.copy_(3 * torch.randn(count, size))
        theirs.joint.head.load_state_dict(model.output.state_dict())
        bands = torch.randn(3, 48, 80)
        features = Sequences(bands, torch.tensor([48, 20, 33])).zero_padded()
        expected = []
        for row in range(3):  # in a batch, theirs goes on along the last frame of clips that are done
            alone = row_of(features, row)
            given = {"input_features": alone.values, "attention_mask": alone.mask.long()}
            found = theirs.generate(**given, max_new_tokens=500).sequences
            expected.append([token for token in found[0].tolist() if token != 0])
        hidden = theirs.encoder(input_features=features.values, attention_mask=features.mask.long())
        heard = Sequences(hidden.last_hidden_state, hidden.attention_mask.sum(dim=1))
        assert GreedyTransduction(at_most=at_most).search(model, heard) == expected
        said += sum(map(len, expected))
    assert said > 10


def test_what_a_search_is_called() -> None:
    assert [str(search) for _, search in SEARCHES] == ["greedy", "beam 3", "greedy", "greedy", "beam 3"]
    assert str(BeamSpelling()) == str(BeamTransduction()) == "beam 8"
    assert GreedyTransduction().at_most == 10
