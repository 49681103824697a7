"""LAS and transducers: sizes, padding, masks, and what the losses are given."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from trainables import testing
from trainables.batch import Batch
from trainables.sequences import Sequences
from trainables.students.acoustic import AcousticEncoder, Cached, FineTuned, Top, listener, mask_grid
from trainables.students.attending import Additive, LocationAware
from trainables.students.batch_norm import MaskedBatchNorm, Valid, check_shares, settle
from trainables.students.conformer import CONFORMER_S, Conformer
from trainables.students.ctc import FAMILIES, NO_DROPOUT, Pretrained
from trainables.students.las import Las
from trainables.students.recurrent import ConvBlstm
from trainables.students.transducer import TRANSDUCER_S, Transducer

CONV_BLSTM = ConvBlstm(channels=4, layers=2, cells=6)
CONFORMER = Conformer(layers=2, width=16, heads=2, feed_forward=24, kernel=5, channels=4, dropout=0.1)
TOP = Top(stack=3, cells=6, layers=1)


def small(kind: type[Las] | type[Transducer], encoder: AcousticEncoder, **changes: Any) -> Any:
    torch.manual_seed(1)
    sizes: dict[str, Any] = {"joint": 9}
    if kind is Las:
        sizes = {"attention": LocationAware(hidden=6, filters=2, kernel=5)}
    config = kind(encoder=encoder, **{"embedding": 5, "cells": 7, **sizes, **changes})
    return config.build(testing.numbered_pieces(12)).eval()


def batch(*seconds: float, width: int = 16) -> Batch:
    random = torch.Generator().manual_seed(3)
    audio = Sequences.stack([0.1 * torch.randn(int(16_000 * s), generator=random) for s in seconds])
    tokens = Sequences.stack([torch.randint(1, 12, (2 + i,), generator=random) for i in range(len(seconds))])
    states = Sequences.stack([torch.randn(int(50 * s), width, generator=random) for s in seconds])
    return Batch(
        ids=tuple("abcdef"[: len(seconds)]), audio=audio, scale=torch.ones(len(seconds)),
        texts=("",) * len(seconds), sources={"tokens": tokens, "states": states},
    )  # fmt: skip


def alone(whole: Batch, row: int) -> Batch:
    def cut(sequences: Sequences) -> Sequences:
        return Sequences(sequences.values[row : row + 1, : sequences.lengths[row]], sequences.lengths[row : row + 1])

    return replace(whole, audio=cut(whole.audio), sources={name: cut(values) for name, values in whole.sources.items()})


@pytest.fixture(params=["conv_blstm", "conformer", "cached", *FAMILIES])
def encoder(request: pytest.FixtureRequest, tmp_path: Path) -> AcousticEncoder:
    if request.param in {"conv_blstm", "conformer"}:
        return {"conv_blstm": CONV_BLSTM, "conformer": CONFORMER}[request.param]
    family = "wav2vec2" if request.param == "cached" else request.param
    model = Pretrained(model=str(testing.speech_encoder(family, tmp_path)))
    if request.param == "cached":
        return Cached(encoder=model, top=TOP)
    return FineTuned(encoder=model, regularisation=NO_DROPOUT, top=TOP)


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask:UserWarning")
@pytest.mark.parametrize("kind", [Las, Transducer])
@torch.no_grad()
def test_a_clip_alone_is_what_it_is_beside_longer_ones(encoder: AcousticEncoder, kind: Any) -> None:
    model, whole = small(kind, encoder), batch(0.3, 0.5, 1.1)
    beside = model(whole)
    for row in range(3):
        by_itself = model(alone(whole, row))
        for name in by_itself.__slots__:
            found, expected = getattr(beside, name), getattr(by_itself, name)
            length = int(expected.lengths)
            assert int(found.lengths[row]) == length
            torch.testing.assert_close(found.values[row, :length], expected.values[0], atol=2e-5, rtol=1e-4)
            if name != "logits":
                assert not found.values[row, length:].any()


def parameters(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def test_las_has_the_papers_sizes() -> None:
    with torch.device("meta"):
        berts, own = Las().build(testing.numbered_pieces(30_522)), Las().build(testing.numbered_pieces(16_328))
    frames = 2048
    convolutions = 9 * 32 + 9 * 32 * 32 + 2 * 2 * 32
    blstms = sum(2 * 4 * 1024 * (size + 1024 + 2) for size in (640, *[frames] * 3))
    assert parameters(berts.encoder) == convolutions + blstms + 3 * (frames**2 + 2 * frames)
    assert parameters(berts.encoder) / 1e6 == pytest.approx(101.8, abs=0.05)
    decoder = 128 * (frames + 1024 + 1) + 4 * 1024 * ((96 + frames + 1024 + 2) + (1024 + frames + 1024 + 2))
    for model, size, millions in ((berts, 30_522, 126.9), (own, 16_328, 81.9)):
        found = parameters(model) - parameters(model.encoder)
        assert found == decoder + size * (96 + 3072 + 1)
        assert found / 1e6 == pytest.approx(millions, abs=0.05)
    assert berts.width == 3072


def test_the_transducers_have_the_papers_sizes() -> None:
    with torch.device("meta"):
        paper, smallest = (
            Transducer().build(testing.numbered_pieces(30_522)),
            TRANSDUCER_S.build(testing.numbered_pieces(30_522)),
        )
    assert parameters(paper.encoder) == 110_195_968
    assert parameters(paper.embedding) == 30_522 * 128
    assert parameters(paper.prediction) == 4 * 640 * (128 + 640 + 2)
    assert parameters(paper.acoustic) + parameters(paper.language) == 640 * (512 + 1 + 640)
    assert parameters(paper.output) == 30_522 * 641
    assert parameters(paper) / 1e6 == pytest.approx(136.4, abs=0.1)
    assert paper.widths == (512, 640)
    assert parameters(smallest.encoder) == 8_546_400
    assert smallest.widths == (144, 320)


@torch.no_grad()
def test_a_transducers_predictions_see_the_labels_before_and_no_others() -> None:
    model, told = small(Transducer, CONV_BLSTM), batch(0.5, 0.7)
    output, tokens = model(told), told.sources["tokens"]
    assert output.predictions.lengths.tolist() == [3, 4]
    language, state = model.step(torch.tensor([0, 0]), None)
    for i in range(4):
        found = output.language.values[:, i]
        torch.testing.assert_close(language[output.language.lengths > i], found[output.language.lengths > i])
        if i < 3:
            language, state = model.step(tokens.values[:, i], state)
    changed = Sequences(tokens.values.clone(), tokens.lengths)
    changed.values[1, 2] = 11 - changed.values[1, 2]
    after = model.predictions(changed).values[1]
    torch.testing.assert_close(after[:3], output.predictions.values[1, :3])
    assert not torch.allclose(after[3], output.predictions.values[1, 3])
    joined = model.joined(output.acoustic.values[0, :1], output.language.values[0, :1])
    expected = torch.tanh(output.acoustic.values[0, 0] + output.language.values[0, 0]) @ model.output.weight.T
    torch.testing.assert_close(joined[0], expected + model.output.bias)


@torch.no_grad()
def test_las_sees_the_tokens_before_and_the_last_frames_too() -> None:
    for attention in (Additive(hidden=6), LocationAware(hidden=6, filters=2, kernel=5)):
        model, told = small(Las, CONV_BLSTM, attention=attention), batch(0.5, 0.7)
        before, tokens = model(told), told.sources["tokens"]
        changed = Sequences(tokens.values.clone(), tokens.lengths)
        changed.values[1, 1] = 11 - changed.values[1, 1]
        after = model(replace(told, sources={"tokens": changed}))
        torch.testing.assert_close(after.states.values[1, :2], before.states.values[1, :2])
        assert not torch.allclose(after.states.values[1, 2], before.states.values[1, 2])
        torch.testing.assert_close(model.output(before.states.values)[0, 0], before.logits.values[0, 0])
        quieter = told.audio.values.clone()
        quieter[1, -3200:] *= 0.01
        heard = model(replace(told, audio=Sequences(quieter, told.audio.lengths)))
        assert not torch.allclose(heard.states.values[1, 0], before.states.values[1, 0])


@pytest.mark.parametrize("config", [CONV_BLSTM, CONFORMER])
@torch.no_grad()
def test_filter_banks_are_hidden_where_the_masks_are(config: Any) -> None:
    assert mask_grid(config) == (160, 80)
    moments = torch.tensor([[3.0], [4.0]]).expand(2, 80)
    model, heard, seen = listener(config, moments).eval(), batch(0.4), []
    encoder: Any = model.encoder
    encoder.bands.register_forward_hook(lambda _, __, output: seen.append(output.values[0]))
    masked, bands = torch.zeros(1, 40, dtype=torch.bool), torch.zeros(1, 80, dtype=torch.bool)
    masked[0, 5:9], bands[0, 70:] = True, True
    model(heard)
    model(replace(heard, masked=masked, channels=bands))
    assert torch.equal(seen[1], seen[0].masked_fill(masked[0, : len(seen[0]), None] | bands, 0))
    assert seen[0].abs().min() > 0
    torch.testing.assert_close(seen[0], (encoder.bands.energies(heard.audio).values[0] - 3) / 2)


@pytest.mark.parametrize("config", [CONV_BLSTM, CONFORMER.model_copy(update={"dropout": 0.0})])
@torch.no_grad()
def test_in_training_nothing_sees_how_long_the_padding_is(config: Any) -> None:
    """Batch norm least of all: neither what it normalises by nor what it keeps for evaluation."""
    heard = batch(0.4, 0.6)
    padded = replace(heard, audio=Sequences(functional.pad(heard.audio.values, (0, 8000)), heard.audio.lengths))
    torch.manual_seed(2)
    model = listener(config).train()
    twin = deepcopy(model)
    first, second = model(heard), twin(padded)
    torch.testing.assert_close(second.values[:, : first.values.shape[1]], first.values, atol=1e-4, rtol=1e-3)
    norms = [name for name, module in model.named_modules() if isinstance(module, MaskedBatchNorm)]
    assert len(norms) == (3 if config is CONV_BLSTM else 2)
    assert model.has_batch_norm
    before = listener(config).state_dict()
    for name in (f"{norm}.{buffer}" for norm in norms for buffer in ("running_mean", "running_var")):
        torch.testing.assert_close(twin.state_dict()[name], model.state_dict()[name], atol=1e-5, rtol=1e-3)
        assert not torch.equal(model.state_dict()[name], before[name])


def test_batch_norm_is_torchs_where_nothing_is_padded() -> None:
    torch.manual_seed(0)
    valid, hidden = Valid(), torch.randn(3, 5, 7)
    valid.mask = torch.ones(3, 7, dtype=torch.bool)
    ours, torchs = MaskedBatchNorm(5, valid), nn.BatchNorm1d(5)
    for _ in range(2):
        torch.testing.assert_close(ours(hidden), torchs(hidden))
        settle([ours])
    assert ours.seen is None
    torch.testing.assert_close(ours.running_mean, torchs.running_mean)
    torch.testing.assert_close(ours.running_var, torchs.running_var)
    torch.testing.assert_close(ours.eval()(hidden), torchs.eval()(hidden))
    picture, two = torch.randn(3, 5, 7, 4), nn.BatchNorm2d(5)
    torch.testing.assert_close(MaskedBatchNorm(5, valid)(picture), two(picture))


def test_workers_with_batch_norm_have_as_many_shares_each() -> None:
    check_shares(4, 2)
    with pytest.raises(ValueError, match="must be a multiple of the number of workers, which is 2, where a student"):
        check_shares(3, 2)


def test_the_smallest_conformer_is_that_of_its_paper() -> None:
    assert (CONFORMER_S.layers, CONFORMER_S.width, CONFORMER_S.heads) == (16, 144, 4)
    with pytest.raises(ValueError, match="`width` must be a multiple of twice the heads, 16, but is 100 instead"):
        Conformer(width=100)
    with pytest.raises(ValueError, match="`kernel` must be odd, but is 32 instead"):
        Conformer(kernel=32)
    with pytest.raises(ValueError, match="`kernel` must be odd, but is 4 instead"):
        LocationAware(kernel=4)
