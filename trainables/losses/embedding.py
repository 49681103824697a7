"""Regression of decoder states onto the embeddings of their tokens (Kubo, Karita, Bacchiani 2022, arXiv 2202.07894).

L_Emb is a sum over an utterance's tokens, as L_main is that it is added to with the weight σ (eq. 4): means would give
σ another meaning for each length. Distances are divided by the embeddings' dimensions (§3.1). The regression R is one
affine map (§3.1), which is dropped after training.

For a transducer there are two forms. They are not equal under a squared distance, as the paper has it after eq. 9: for
an affine R, Σ_t q_i(t) ‖R(φ_t, ψ_i) − e_i‖² is ‖R(⟨φ⟩_i, ψ_i) − e_i‖² and the variance of W_a φ_t over the token's
frames, whose gradient pulls these together. For any convex distance eq. 9 is at most eq. 7.
"""

from abc import ABC, abstractmethod
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from trainables.config import Config, Where
from trainables.losses.distances import AbsoluteError, Distance
from trainables.losses.lattice import Posteriors
from trainables.losses.occupancies import Alignment, Occupancy, Visits
from trainables.sequences import Sequences


def embedding_loss(predicted: Sequences, teacher: Sequences, distance: Distance) -> Float[Tensor, " batch"]:
    """Σ_i d(predicted_i, e_i) of each utterance over its tokens, in float32 (eq. 3); both are (batch, N, D_emb)."""
    with torch.autocast(predicted.values.device.type, enabled=False):
        each = distance(_full(predicted), _full(teacher))
        return each.masked_fill(~teacher.mask, 0).sum(dim=1)


class EmbeddingRegression(Config):
    """Eq. 3, for decoders with one state for each token: an affine map of the state, compared with the embedding."""

    kind: Literal["embedding_regression"] = "embedding_regression"
    distance: Distance = AbsoluteError()

    def build(self, *, student: int, teacher: int) -> "EmbeddingRegressionLoss":
        """The loss for decoder states and embeddings of these widths."""
        return EmbeddingRegressionLoss(self, student, teacher)


class EmbeddingRegressionLoss(nn.Module):
    """One value per utterance: Σ_i d(R(φ(X, y_{1:i−1})), e_i) (eq. 3)."""

    def __init__(self, config: EmbeddingRegression, student: int, teacher: int) -> None:
        super().__init__()
        self.regression = nn.Linear(student, teacher)
        self.config = config

    def forward(self, student: Sequences, teacher: Sequences) -> Float[Tensor, " batch"]:
        """The losses, of pre-softmax activations (batch, N, D) and embeddings (batch, N, D_emb)."""
        with torch.autocast(student.values.device.type, enabled=False):
            predicted = Sequences(self.regression(_full(student)), student.lengths)
            return embedding_loss(predicted, teacher, self.config.distance)


class TokenSynchronous(Config):
    """Eq. 9: one prediction for each token, from the mean of its frames. The paper's choice."""

    kind: Literal["token_synchronous"] = "token_synchronous"
    alignment: Alignment = Visits()
    distance: Distance = AbsoluteError()

    def build(self, *, acoustic: int, language: int, teacher: int) -> "TokenSynchronousLoss":
        """The loss for φ_t, ψ_i and e_i of these widths."""
        return TokenSynchronousLoss(self, acoustic, language, teacher)


class Joint(Config):
    """Eq. 7: one prediction for each token and each of its frames, and the mean of the distances."""

    kind: Literal["joint"] = "joint"
    alignment: Alignment = Visits()
    distance: Distance = AbsoluteError()
    pairs: Annotated[int, Field(gt=0), Where()] = 2**9
    """Predictions at once, which bounds the memory."""

    def build(self, *, acoustic: int, language: int, teacher: int) -> "JointLoss":
        """The loss for φ_t, ψ_i and e_i of these widths."""
        return JointLoss(self, acoustic, language, teacher)


Regression = Annotated[TokenSynchronous | Joint, Field(discriminator="kind")]


class TransducerRegression(nn.Module, ABC):
    """L_Emb of a transducer, with R(φ_t, ψ_i) = W [φ_t; ψ_i] + b: one value per utterance.

    Gradients reach the encoder and the prediction network, and never the alignment (§2.2), so never the joint network.
    """

    def __init__(self, acoustic: int, language: int, teacher: int) -> None:
        super().__init__()
        self.regression = nn.Linear(acoustic + language, teacher)
        self.widths = (acoustic, language)

    def forward(
        self, acoustic: Sequences, language: Sequences, teacher: Sequences, posteriors: Posteriors
    ) -> Float[Tensor, " batch"]:
        """The losses, in float32.

        `acoustic` are φ_t (batch, T, features); `language` are ψ (batch, N + 1, features), the first of them before any
        token, as `transducer_loss` takes them, so that ψ_i sees the tokens before the i-th; `teacher` are e_i
        (batch, N, D_emb). Raises ValueError where these are not as many as the language states ask for.
        """
        if language.values.shape[1] != teacher.values.shape[1] + 1:
            raise ValueError(
                f"`teacher` must have an embedding for each token, {language.values.shape[1] - 1}, "
                f"but has {teacher.values.shape[1]} instead."
            )
        with torch.autocast(acoustic.values.device.type, enabled=False):
            before = Sequences(language.values[:, :-1], teacher.lengths)
            return self.losses(_full(acoustic), _full(before), teacher, posteriors)

    @abstractmethod
    def losses(
        self,
        acoustic: Float[Tensor, "batch frames acoustic"],
        language: Float[Tensor, "batch tokens language"],
        teacher: Sequences,
        posteriors: Posteriors,
    ) -> Float[Tensor, " batch"]:
        """The losses of φ_t and ψ_i in float32."""

    def parts(
        self, acoustic: Float[Tensor, "batch some acoustic"], language: Float[Tensor, "batch tokens language"]
    ) -> tuple[Float[Tensor, "batch some teacher"], Float[Tensor, "batch tokens teacher"]]:
        """The two summands of R, one of the acoustic features and one of the language features with the bias."""
        of_acoustic, of_language = self.regression.weight.split(self.widths, dim=1)
        return functional.linear(acoustic, of_acoustic), functional.linear(language, of_language, self.regression.bias)


class TokenSynchronousLoss(TransducerRegression):
    """Σ_i d(R(⟨φ_t⟩_q, ψ_i), e_i) (eq. 9): work and memory go with N."""

    def __init__(self, config: TokenSynchronous, acoustic: int, language: int, teacher: int) -> None:
        super().__init__(acoustic, language, teacher)
        self.config = config

    @override
    def losses(self, acoustic: Tensor, language: Tensor, teacher: Sequences, posteriors: Posteriors) -> Tensor:
        of_frames = self.config.alignment(posteriors).to(acoustic.dtype) @ acoustic
        predicted = torch.add(*self.parts(of_frames, language))
        return embedding_loss(Sequences(predicted, teacher.lengths), teacher, self.config.distance)


class JointLoss(TransducerRegression):
    """Σ_i Σ_t q_i(t) d(R(φ_t, ψ_i), e_i) (eq. 7): work goes with the pairs of a token and a frame that q has."""

    def __init__(self, config: Joint, acoustic: int, language: int, teacher: int) -> None:
        super().__init__(acoustic, language, teacher)
        self.config = config

    @override
    def losses(self, acoustic: Tensor, language: Tensor, teacher: Sequences, posteriors: Posteriors) -> Tensor:
        occupancy = self.config.alignment(posteriors).to(acoustic.dtype)
        return _Pairs.apply(*self.parts(acoustic, language), _full(teacher), occupancy, self.config)


class _Pairs(torch.autograd.Function):
    """Σ_i Σ_t q_i(t) d(a_t + c_i, e_i), whose gradients of a and c are made on the way, some pairs at a time.

    As R is affine, they are all that stays: T × D_emb and N × D_emb, nothing of T × N × D_emb.
    """

    @staticmethod
    def forward(
        ctx: Any, frames: Tensor, tokens: Tensor, teacher: Tensor, occupancy: Occupancy, config: Joint
    ) -> Tensor:
        batch, count, time = occupancy.shape
        flat = occupancy.flatten()
        a, c, e = (x.flatten(0, 1) for x in (frames, tokens, teacher))
        d_frames, d_tokens = torch.zeros_like(a), torch.zeros_like(c)
        losses = a.new_zeros(batch)
        for some in flat.nonzero()[:, 0].split(config.pairs):
            token = some // time
            utterance = token // count
            frame = utterance * time + some % time
            with torch.enable_grad():
                predicted = (a[frame] + c[token]).requires_grad_()
                each = config.distance(predicted[None], e[token][None])[0] * flat[some]
                (slope,) = torch.autograd.grad(each.sum(), predicted)
            losses.index_add_(0, utterance, each.detach())
            d_frames.index_add_(0, frame, slope)
            d_tokens.index_add_(0, token, slope)
        ctx.save_for_backward(d_frames.view_as(frames), d_tokens.view_as(tokens))
        return losses

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (upstream,) = grad_outputs
        return *(slope * upstream[:, None, None] for slope in ctx.saved_tensors), None, None, None


def _full(states: Sequences) -> Float[Tensor, "batch time features"]:
    """Values in float32, or float64 where they are, with zeros beyond each length: 0 · nan in padding would be nan."""
    values = states.zero_padded().values
    return values.to(torch.promote_types(values.dtype, torch.float32))
