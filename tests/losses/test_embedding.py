"""L_Emb against loops over tokens and frames, and against what must hold between its forms."""

from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from trainables.losses.distances import AbsoluteError, Cosine, Distance, SquaredError
from trainables.losses.embedding import (
    EmbeddingRegression,
    Joint,
    Regression,
    TokenSynchronous,
    TransducerRegression,
    embedding_loss,
)
from trainables.losses.lattice import Posteriors, posteriors
from trainables.losses.occupancies import Alignment, Emission, Printed, Visits
from trainables.losses.transducer import transducer_loss
from trainables.sequences import Sequences

FRAMES, TOKENS = torch.tensor([11, 6, 9]), torch.tensor([4, 2, 0])
ACOUSTIC, LANGUAGE, TEACHER = 6, 5, 7
WIDTHS = {"acoustic": ACOUSTIC, "language": LANGUAGE, "teacher": TEACHER}
same = partial(torch.testing.assert_close, atol=1e-12, rtol=1e-12)


@dataclass(frozen=True)
class Problem:
    """φ, ψ and e of uneven lengths in float64, and the posteriors of some lattice."""

    acoustic: Tensor
    language: Tensor
    teacher: Sequences
    posteriors: Posteriors

    def losses(self, loss: TransducerRegression) -> Tensor:
        acoustic, language = Sequences(self.acoustic, FRAMES), Sequences(self.language, TOKENS + 1)
        return loss(acoustic, language, self.teacher, self.posteriors)

    def gradients(self, loss: TransducerRegression) -> tuple[Tensor, ...]:
        upstream = torch.tensor([1, 0.3, 2], dtype=torch.float64)
        return torch.autograd.grad(self.losses(loss), (self.acoustic, self.language, *loss.parameters()), upstream)


def problem() -> Problem:
    generator = torch.Generator().manual_seed(6)
    draw = partial(torch.randn, generator=generator, dtype=torch.float64)
    scores = draw(3, 11, 5, 4).mul(2).log_softmax(3)
    return Problem(
        draw(3, 11, ACOUSTIC).requires_grad_(),
        draw(3, 5, LANGUAGE).requires_grad_(),
        Sequences(draw(3, 4, TEACHER), TOKENS).zero_padded(),
        posteriors(scores[..., 0], scores[..., 1], FRAMES, TOKENS),
    )


def built(config: Regression, seed: int = 7) -> TransducerRegression:
    torch.manual_seed(seed)
    return config.build(**WIDTHS).double()


def naive(given: Problem, loss: TransducerRegression, alignment: Alignment, distance: Distance, form: str) -> Tensor:
    """Eq. 7 or eq. 9, token by token and frame by frame."""
    occupancy, losses = alignment(given.posteriors), []

    def compared(b: int, i: int, frame: Tensor) -> Tensor:
        predicted = loss.regression(torch.cat([frame, given.language[b, i]]))
        return distance(predicted[None, None], given.teacher.values[b, i][None, None])[0, 0]

    for b in range(3):
        total = torch.zeros((), dtype=torch.float64)
        for i in range(int(TOKENS[b])):
            weights, frames = occupancy[b, i, : FRAMES[b]], given.acoustic[b, : FRAMES[b]]
            if form == "token_synchronous":
                total = total + compared(b, i, (weights[:, None] * frames).sum(dim=0))
            else:
                total = total + sum(weights[t] * compared(b, i, frames[t]) for t in range(len(frames)))
        losses.append(total)
    return torch.stack(losses)


@pytest.mark.parametrize("alignment", [Visits(), Emission(), Printed()])
@pytest.mark.parametrize("distance", [AbsoluteError(), SquaredError(), Cosine()])
@pytest.mark.parametrize("form", [TokenSynchronous, Joint])
def test_it_is_the_loop_over_tokens_and_frames(
    form: type[TokenSynchronous | Joint], distance: Distance, alignment: Alignment
) -> None:
    given, config = problem(), form(distance=distance, alignment=alignment)
    loss = built(config)
    expected = naive(given, loss, alignment, distance, config.kind)
    same(given.losses(loss), expected)
    assert expected[2] == 0, "it has no tokens"
    upstream = torch.tensor([1, 0.3, 2], dtype=torch.float64)
    wanted = torch.autograd.grad(expected, (given.acoustic, given.language, *loss.parameters()), upstream)
    for ours, theirs in zip(given.gradients(loss), wanted, strict=True):
        same(ours, theirs)


@pytest.mark.parametrize("pairs", [1, 5])
def test_how_many_pairs_are_held_changes_nothing(pairs: int) -> None:
    given = problem()
    expected, found = built(Joint()), built(Joint(pairs=pairs))
    same(given.losses(found), given.losses(expected))
    for ours, theirs in zip(given.gradients(found), given.gradients(expected), strict=True):
        same(ours, theirs)


def test_nothing_of_frames_times_tokens_times_dimensions_is_kept() -> None:
    given, kept = problem(), []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        given.losses(built(Joint(pairs=8)))
    assert max(kept) <= 3 * 11 * TEACHER


@pytest.mark.parametrize("alignment", [Visits(), Emission()])
def test_the_forms_differ_by_the_variance_of_a_tokens_frames(alignment: Alignment) -> None:
    given = problem()
    forms = (
        Joint(alignment=alignment, distance=SquaredError()),
        TokenSynchronous(alignment=alignment, distance=SquaredError()),
    )
    joint, synchronous = (built(form) for form in forms)
    of_acoustic, _ = joint.parts(given.acoustic, given.language)
    occupancy = alignment(given.posteriors)
    from_mean = of_acoustic[:, None] - (occupancy @ of_acoustic)[:, :, None]
    variance = (occupancy * from_mean.square().mean(dim=3)).sum(dim=(1, 2))
    same(given.losses(joint), given.losses(synchronous) + variance)
    assert variance[:2].min() > 0.01


def test_a_convex_distance_is_at_most_its_mean() -> None:
    given = problem()
    joint, synchronous = (given.losses(built(form)) for form in (Joint(), TokenSynchronous()))
    assert (synchronous[:2] < joint[:2]).all()


def test_the_forms_are_equal_where_each_token_has_one_frame() -> None:
    given = problem()
    sharp = torch.zeros(3, 11, 5, dtype=torch.float64)
    for b in range(3):
        sharp[b, torch.arange(int(TOKENS[b])) + b, torch.arange(int(TOKENS[b]))] = 1
    given = replace(given, posteriors=Posteriors(given.posteriors.losses, torch.zeros_like(sharp), sharp))
    joint, synchronous = (built(form(alignment=Emission())) for form in (Joint, TokenSynchronous))
    same(given.losses(joint), given.losses(synchronous))
    for ours, theirs in zip(given.gradients(joint), given.gradients(synchronous), strict=True):
        same(ours, theirs)


def test_alignments_sum_to_1_and_what_is_printed_to_the_frames_that_a_prefix_stays() -> None:
    """If all paths are equally likely, T − 1 blanks fall evenly on the N + 1 prefixes."""
    zeros = torch.zeros(3, 11, 5)
    found = posteriors(zeros, zeros, FRAMES, TOKENS)
    is_token = (torch.arange(4) < TOKENS[:, None]).double()
    for alignment in (Visits(), Emission()):
        same(alignment(found).sum(dim=2), is_token)
    stays = 1 + (FRAMES - 1) / (TOKENS + 1).double()
    same(Printed()(found).sum(dim=2), is_token * stays[:, None])
    for alignment in (Visits(), Emission(), Printed()):
        beyond = torch.arange(11) >= FRAMES[:, None]
        assert not (alignment(found) * beyond[:, None]).any()


@pytest.mark.parametrize("form", [TokenSynchronous(), Joint()])
def test_gradients_reach_what_is_regressed_and_not_the_joint_network(form: Regression) -> None:
    torch.manual_seed(8)
    acoustic, language = torch.randn(3, 11, ACOUSTIC), torch.randn(3, 5, LANGUAGE)
    acoustic.requires_grad_()
    language.requires_grad_()
    joint = nn.ModuleDict(
        {"acoustic": nn.Linear(ACOUSTIC, 8), "language": nn.Linear(LANGUAGE, 8), "out": nn.Linear(8, 9)}
    )
    output = joint["out"]
    assert isinstance(output, nn.Linear)
    tokens = Sequences(torch.randint(1, 9, (3, 4)), TOKENS).zero_padded()
    found = transducer_loss(
        Sequences(joint["acoustic"](acoustic), FRAMES), Sequences(joint["language"](language), TOKENS + 1), tokens,
        output.weight, output.bias, 0,
    )  # fmt: skip
    loss = form.build(**WIDTHS)
    losses = loss(
        Sequences(acoustic, FRAMES),
        Sequences(language, TOKENS + 1),
        Sequences(torch.randn(3, 4, TEACHER), TOKENS),
        found,
    )
    assert losses.dtype == torch.float32
    losses.sum().backward()
    assert all(weight.grad is None for weight in joint.parameters())
    assert all(weight.grad is not None and weight.grad.any() for weight in loss.parameters())
    for x, places in ((acoustic, FRAMES), (language, TOKENS)):
        assert x.grad is not None
        assert x.grad[0].any()
        assert not x.grad[1, int(places[1]) :].any(), "nor what is beyond, nor the state after the last token"


@pytest.mark.parametrize("form", [TokenSynchronous(), Joint()])
def test_padding_does_no_harm(form: Regression) -> None:
    given, loss = problem(), built(form)
    beyond = {"acoustic": torch.arange(11) >= FRAMES[:, None], "language": torch.arange(5) > TOKENS[:, None]}
    spoilt = replace(
        given,
        **{
            name: getattr(given, name).detach().masked_fill(mask[:, :, None], torch.nan).requires_grad_()
            for name, mask in beyond.items()
        },
    )
    assert spoilt.losses(loss).equal(given.losses(loss))
    for ours, theirs in zip(spoilt.gradients(loss), given.gradients(loss), strict=True):
        assert ours.equal(theirs)


def test_a_decoder_with_a_state_for_each_token_is_regressed_token_by_token() -> None:
    torch.manual_seed(9)
    loss = EmbeddingRegression().build(student=5, teacher=TEACHER)
    states = [torch.randn(n, 5) for n in (4, 1, 2)]
    embeddings = [torch.randn(n, TEACHER) for n in (4, 1, 2)]
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(Sequences.stack(states), Sequences.stack(embeddings))
    assert found.dtype == torch.float32
    expected = [(loss.regression(x) - e).abs().sum() / TEACHER for x, e in zip(states, embeddings, strict=True)]
    torch.testing.assert_close(found, torch.stack(expected))


def test_a_sum_over_tokens_has_no_part_of_padding() -> None:
    predicted = torch.full((1, 3, 2), 5.0)
    teacher = Sequences(torch.zeros(1, 3, 2), torch.tensor([2]))
    assert embedding_loss(Sequences(predicted, teacher.lengths), teacher, AbsoluteError()).tolist() == [10.0]


def test_there_must_be_an_embedding_for_each_token() -> None:
    given = problem()
    fewer = replace(given, teacher=Sequences(given.teacher.values[:, :3], TOKENS.clamp(max=3)))
    with pytest.raises(ValueError, match="`teacher` must have an embedding for each token, 4, but has 3"):
        fewer.losses(built(Joint()))


def test_forms_and_alignments_are_told_by_their_kind() -> None:
    read = TypeAdapter[Regression](Regression).validate_python
    assert read({"kind": "joint", "alignment": {"kind": "literal"}}) == Joint(alignment=Printed())
    with pytest.raises(ValidationError, match="'token_synchronous', 'joint'"):
        read({"kind": "frames"})
