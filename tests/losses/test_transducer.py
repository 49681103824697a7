"""The transducer's loss against torchaudio's, transformers', finite differences and its own bounds."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn
from torchaudio.functional import rnnt_loss
from transformers import ParakeetEncoderConfig, ParakeetForRNNT, ParakeetRNNTConfig
from transformers.models.parakeet.modeling_parakeet import ParakeetEncoderModelOutput

from trainables.losses.lattice import Posteriors
from trainables.losses.transducer import Limits, transducer_loss
from trainables.sequences import Sequences

ALL = Limits(logits=10**9)
FRAMES, TOKENS = [20, 13, 8, 0, 2], [5, 7, 0, 3, 6]


@dataclass(frozen=True)
class Problem:
    """A batch of uneven lengths; blank is 0."""

    acoustic: Tensor
    language: Tensor
    weight: Tensor
    bias: Tensor
    tokens: Sequences
    frames: Tensor

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What has a gradient."""
        return self.acoustic, self.language, self.weight, self.bias

    def loss(self, limits: Limits = ALL) -> Posteriors:
        prefixes = Sequences(self.language, self.tokens.lengths + 1)
        acoustic = Sequences(self.acoustic, self.frames)
        return transducer_loss(acoustic, prefixes, self.tokens, self.weight, self.bias, 0, limits)

    def gradients(self, limits: Limits = ALL, upstream: Tensor | None = None) -> tuple[Tensor, ...]:
        losses = self.loss(limits).losses
        return torch.autograd.grad(losses, self.inputs, torch.ones_like(losses) if upstream is None else upstream)

    def double(self) -> "Problem":
        names = ("acoustic", "language", "weight", "bias")
        return replace(self, **{name: getattr(self, name).detach().double().requires_grad_() for name in names})

    def logits(self) -> Tensor:
        """All logits, (batch, T, N + 1, vocabulary)."""
        return nn.functional.linear(torch.tanh(self.acoustic[:, :, None] + self.language[:, None]), *self.inputs[2:])


def problem(
    frames: list[int] = FRAMES, tokens: list[int] = TOKENS, hidden: int = 16, vocabulary: int = 50, scale: float = 1.0
) -> Problem:
    generator = torch.Generator().manual_seed(4)
    batch, longest, most = len(frames), max(frames), max(tokens)

    def draw(*shape: int) -> Tensor:
        return (scale * torch.randn(*shape, generator=generator)).requires_grad_()

    targets = [torch.randint(1, vocabulary, (n,), generator=generator) for n in tokens]
    return Problem(
        draw(batch, longest, hidden), draw(batch, most + 1, hidden), draw(vocabulary, hidden), draw(vocabulary),
        Sequences.stack(targets), torch.tensor(frames),
    )  # fmt: skip


def torchaudios(given: Problem, logits: Tensor, *, softmax: bool = True) -> Tensor:
    """Its loss of each utterance that has frames."""
    some = given.frames > 0
    return rnnt_loss(
        logits[some], given.tokens.values[some].int(), given.frames[some].int(), given.tokens.lengths[some].int(),
        blank=0, reduction="none", fused_log_softmax=softmax,
    )  # fmt: skip


@pytest.mark.parametrize("logits", [5, 25, 10**6])
def test_gradients_are_those_of_finite_differences(logits: int) -> None:
    """With one node at a time, with five, and with all."""
    given = problem([4, 2, 1], [1, 3, 0], hidden=3, vocabulary=5).double()

    def losses(acoustic: Tensor, language: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        changed = replace(given, acoustic=acoustic, language=language, weight=weight, bias=bias)
        return changed.loss(Limits(logits=logits)).losses

    assert torch.autograd.gradcheck(losses, given.inputs)


def test_how_many_logits_are_held_changes_nothing() -> None:
    given = problem().double()
    upstream = torch.tensor([1, 0.3, 2, 1, -1], dtype=torch.float64)
    expected, gradients = given.loss(ALL), given.gradients(ALL, upstream)
    for limits in (Limits(logits=1), Limits(logits=50 * 37), Limits()):
        found = given.loss(limits)
        torch.testing.assert_close(found.losses, expected.losses, atol=1e-12, rtol=1e-14)
        torch.testing.assert_close(found.blanks, expected.blanks, atol=1e-12, rtol=0)
        torch.testing.assert_close(found.tokens, expected.tokens, atol=1e-12, rtol=0)
        for ours, theirs in zip(given.gradients(limits, upstream), gradients, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)


def test_losses_and_gradients_are_torchaudios_and_nearer_to_float64() -> None:
    given = problem([120, 71], [25, 12], hidden=32, vocabulary=300)
    ours, exact = given.loss().losses, given.double().loss().losses
    theirs = torchaudios(given, given.logits())
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=1e-5)
    assert (ours - exact).abs().max() <= (theirs - exact).abs().max()
    gradients = torch.autograd.grad(theirs.sum(), given.inputs)
    for mine, other, truth in zip(given.gradients(), gradients, given.double().gradients(), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-2, rtol=1e-3)
        assert (mine - truth).norm() < (other - truth).norm() / 10
        assert (mine - truth).norm() < 1e-5 * truth.norm()


def test_posteriors_are_minus_gradientsgradient_of_log_probabilities() -> None:
    given = problem()
    found, some = given.loss(), given.frames > 0
    scores = given.logits().detach().log_softmax(3).requires_grad_()
    (gradient,) = torch.autograd.grad(torchaudios(given, scores, softmax=False).sum(), scores)
    by_token = -gradient[:, :, :-1].gather(3, given.tokens.values[:, None, :, None].expand(-1, 20, -1, 1))[..., 0]
    by_token *= given.tokens.mask[:, None]
    torch.testing.assert_close(found.blanks[some].float(), -gradient[some][..., 0], atol=1e-4, rtol=0)
    torch.testing.assert_close(found.tokens[some, :, :-1].float(), by_token[some], atol=1e-4, rtol=0)


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), -1e30])
def test_padding_is_never_read(garbage: float) -> None:
    given = problem()
    expected, gradients = given.loss(), given.gradients()
    is_frame = torch.arange(20) < given.frames[:, None]
    is_prefix = torch.arange(8) <= given.tokens.lengths[:, None]
    spoilt = replace(
        given,
        acoustic=given.acoustic.detach().masked_fill(~is_frame[:, :, None], garbage).requires_grad_(),
        language=given.language.detach().masked_fill(~is_prefix[:, :, None], garbage).requires_grad_(),
        tokens=Sequences(given.tokens.values.masked_fill(~given.tokens.mask, -100), given.tokens.lengths),
    )
    found = spoilt.loss()
    assert found.losses.equal(expected.losses)
    assert found.blanks.equal(expected.blanks)
    assert found.tokens.equal(expected.tokens)
    for ours, theirs in zip(spoilt.gradients(), gradients, strict=True):
        assert ours.equal(theirs)
    assert not gradients[0][~is_frame].any()
    assert not gradients[1][~is_prefix].any()


def test_an_utterance_without_frames_costs_nothing() -> None:
    given = problem()
    assert given.loss().losses[3] == 0
    assert not given.gradients()[1][3].any()


def test_what_is_left_out_is_bounded() -> None:
    given = problem([60], [9], scale=2.0).double()
    exact, gradients = given.loss(), given.gradients()
    visits = exact.blanks + exact.tokens
    for least in (1e-9, 1e-6, 1e-3):
        limits = Limits(logits=10**9, least=least)
        left_out = visits[visits <= least]
        assert len(left_out) > 10
        found = given.loss(limits)
        assert found.losses.equal(exact.losses)
        assert found.blanks.equal(exact.blanks)
        difference = given.gradients(limits)[3] - gradients[3]  # the sum of ∂L/∂z over nodes
        assert 0 < difference.abs().sum() <= 2 * left_out.sum() + 1e-15
        assert left_out.sum() <= least * 60 * 10


def test_it_is_parakeets() -> None:
    """transformers' model, with its own weights and gradients of every weight behind the encoder."""
    torch.manual_seed(5)
    encoder = ParakeetEncoderConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_mel_bins=16,
        conv_kernel_size=3, subsampling_conv_channels=4,
    )  # fmt: skip
    model = ParakeetForRNNT(
        ParakeetRNNTConfig(
            encoder_config=encoder, vocab_size=12, decoder_hidden_size=16, num_decoder_layers=1, hidden_act="tanh",
            blank_token_id=0, pad_token_id=0,
        )
    )  # fmt: skip
    tokens = Sequences.stack([torch.tensor([3, 4, 4, 9]), torch.tensor([11, 1]), torch.tensor([5, 6, 7])])
    begun = nn.functional.pad(tokens.values, (1, 0))
    frames = torch.tensor([9, 6, 2])
    states = torch.randn(3, 9, 16)

    def theirs() -> Tensor:
        mask = (torch.arange(9) < frames[:, None]).long()
        encoded = ParakeetEncoderModelOutput(
            last_hidden_state=states, pooler_output=model.encoder_projector(states), attention_mask=mask
        )
        given = {"encoder_outputs": encoded, "decoder_input_ids": begun, "labels": tokens.values, "reduction": "none"}
        return model(**given).loss

    def ours() -> Tensor:
        acoustic = Sequences(model.encoder_projector(states), frames)
        language = Sequences(model.decoder(begun), tokens.lengths + 1)
        return transducer_loss(acoustic, language, tokens, model.joint.head.weight, model.joint.head.bias, 0).losses

    torch.testing.assert_close(ours(), theirs(), atol=1e-5, rtol=1e-5)
    weights = [weight for name, weight in model.named_parameters() if not name.startswith("encoder.")]
    assert len(weights) == 2 + 1 + 4 + 2 + 2
    found, expected = (torch.autograd.grad(loss().sum(), weights) for loss in (ours, theirs))
    for mine, parakeets in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, parakeets, atol=1e-5, rtol=1e-4)


def test_under_autocast_only_the_products_are_in_its_type() -> None:
    given = problem(hidden=64, scale=0.5)
    expected, gradients = given.loss(), given.gradients()
    low = replace(given, acoustic=given.acoustic.detach().bfloat16().requires_grad_())
    with torch.autocast("cpu", torch.bfloat16):
        found = low.loss(Limits(logits=50 * 7))
    assert found.losses.dtype == torch.float32
    assert found.blanks.dtype == found.tokens.dtype == torch.float64
    torch.testing.assert_close(found.losses, expected.losses, atol=0.3, rtol=5e-3)
    torch.testing.assert_close(found.blanks.sum(dim=2)[0], torch.ones(20).double(), atol=1e-10, rtol=0)
    for ours, theirs, x in zip(torch.autograd.grad(found.losses.sum(), low.inputs), gradients, low.inputs, strict=True):
        assert ours.dtype == x.dtype
        assert (ours - theirs).norm() < 0.02 * theirs.norm()


def test_posteriors_have_no_gradient_and_gradients_no_second_one() -> None:
    given = problem()
    found = given.loss()
    assert not found.blanks.requires_grad
    assert not found.tokens.requires_grad
    upstream = torch.ones(5, requires_grad=True)
    (slope,) = torch.autograd.grad(found.losses, given.acoustic, upstream, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_language_states_must_be_one_more_than_tokens() -> None:
    given = problem()
    with pytest.raises(ValueError, match="`language` must have one state more than there are tokens, 8, but has 7"):
        replace(given, language=given.language[:, 1:]).loss()
