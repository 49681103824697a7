"""Which frames a transducer's token belongs to: q_i(t | X, y) of arXiv 2202.07894, in three readings.

Eq. 8 as it is printed is the probability γ(t, i − 1) that a path visits frame t with i − 1 tokens emitted. That is one
probability for each frame and no distribution over frames: its sum over t is the expected number of frames that a path
stays with the prefix, and one more. As ⟨·⟩_q of eq. 7 and 9 it would weigh a token that waits for 20 frames 20 times
as much, and make ⟨φ_t⟩ a sum of 20 frames. The paper does not say what was run.
"""

from typing import Annotated, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from trainables.config import Config
from trainables.losses.lattice import Posteriors

Occupancy = Float[Tensor, "batch tokens frames"]


class Visits(Config):
    """Eq. 8 divided by its sum over frames: where a path is until it emits the token, the token's frame included."""

    kind: Literal["visits"] = "visits"

    def __call__(self, posteriors: Posteriors) -> Occupancy:
        """q_i(t), (batch, N, T); each token's sums to 1, and is 0 beyond the last token."""
        visits = Printed()(posteriors)
        return visits / visits.sum(dim=2, keepdim=True).clamp(min=1)  # from 1 on where there is a token


class Emission(Config):
    """The posterior of the frame that the token is emitted at, which is a distribution by itself."""

    kind: Literal["emission"] = "emission"

    def __call__(self, posteriors: Posteriors) -> Occupancy:
        """q_i(t), (batch, N, T); each token's sums to 1, and is 0 beyond the last token."""
        return posteriors.tokens[:, :, :-1].transpose(1, 2).detach()


class Printed(Config):
    """Eq. 8 as it is printed, no distribution."""

    kind: Literal["literal"] = "literal"

    def __call__(self, posteriors: Posteriors) -> Occupancy:
        """q_i(t), (batch, N, T); each token's sums to 1 and the expected number of blanks before it."""
        emitted = posteriors.tokens[:, :, :-1].detach()
        is_token = emitted.sum(dim=1, keepdim=True) > 0  # the last prefix of an utterance has blanks and no token
        return (posteriors.blanks[:, :, :-1].detach() * is_token + emitted).transpose(1, 2)


Alignment = Annotated[Visits | Emission | Printed, Field(discriminator="kind")]
