"""Projection-weighted canonical correlation analysis (Morcos et al. 2018) of one layer before and after fine-tuning.

Figure 3 of arXiv 2210.15631 has a CCA similarity per layer, citing Morcos et al. and Pasad et al. 2021, who both weight
the correlations by how much of the layer each of them carries. Of two models, H and G (frames × d) are the states of
one layer over the same frames, centred:

    H = Q_H R_H, G = Q_G R_G             orthonormal bases of what their features span, rounding errors left out
    Q_Hᵀ Q_G = U diag(ρ) Vᵀ              ρ are the canonical correlations, and u_i = Q_H U_i the variates of H
    α_i = Σ_j |⟨u_i, H_·j⟩|              how much of H lies along each of them
    PWCCA = Σ_i α_i ρ_i / Σ_i α_i

The weights are those of H: the measure is not symmetric. H is the model before fine-tuning.
"""

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from trainables.config import Config

LEAST = 10
"""Frames for each feature. With few frames, noise correlates: d features of n frames span one another for d = n."""
ROUNDING = 1e-6
"""Share of a layer's largest singular value, below which a direction is what float32 has rounded.

Each layer norm leaves one such direction, in which its features add up to a constant.
"""


class ProjectionWeighted(Config):
    """PWCCA of all features."""

    kind: Literal["pwcca"] = "pwcca"

    def __call__(self, before: Float[Tensor, "frames features"], after: Float[Tensor, "frames others"]) -> float:
        """The similarity of two layers, from 0 to 1, over the same frames; calculated in float64.

        Raises ValueError when there are fewer than ten frames for each feature.
        """
        return _weighted(_centred(before), _centred(after))


class SingularVectors(Config):
    """SVCCA: the same, each layer reduced to the directions that have most of its variance."""

    kind: Literal["svcca"] = "svcca"
    variance: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """Share of the variance that is kept."""

    def __call__(self, before: Float[Tensor, "frames features"], after: Float[Tensor, "frames others"]) -> float:
        """The similarity of two layers, as of `ProjectionWeighted`."""
        return _weighted(*(_reduced(_centred(states), self.variance) for states in (before, after)))


Similarity = Annotated[ProjectionWeighted | SingularVectors, Field(discriminator="kind")]


def _centred(states: Float[Tensor, "frames features"]) -> Float[Tensor, "frames features"]:
    frames, features = states.shape
    if frames < LEAST * features:
        raise ValueError(
            f"Frames must be at least {LEAST} for each feature, {LEAST * features}, but are {frames} instead: among "
            "fewer, noise looks alike."
        )
    states = states.double()
    return states - states.mean(dim=0)


def _reduced(states: Float[Tensor, "frames features"], variance: float) -> Float[Tensor, "frames fewer"]:
    """Coordinates along the fewest principal directions that have this share of the variance."""
    left, values, _ = torch.linalg.svd(states, full_matrices=False)
    shares = values.square().cumsum(dim=0) / values.square().sum()
    kept = int((shares < variance).sum()) + 1
    return left[:, :kept] * values[:kept]


def _weighted(before: Float[Tensor, "frames features"], after: Float[Tensor, "frames others"]) -> float:
    if len(before) != len(after):
        raise ValueError(f"Layers must be over the same frames, but are over {len(before)} and {len(after)}.")
    (basis, features), (other, _) = _spanned(before), _spanned(after)
    directions, correlations, _ = torch.linalg.svd(basis.T @ other, full_matrices=False)
    correlations = correlations.clamp(0, 1)
    # ⟨u_i, H_·j⟩ = (Uᵀ Q_Hᵀ H)_ij = (Uᵀ R_H)_ij: no frame is needed again.
    weights = (directions.T @ features).abs().sum(dim=1)
    return float((weights * correlations).sum() / weights.sum())


def _spanned(
    states: Float[Tensor, "frames features"],
) -> tuple[Float[Tensor, "frames rank"], Float[Tensor, "rank features"]]:
    """An orthonormal basis of what the features span, and the features in that basis."""
    orthonormal, triangle = torch.linalg.qr(states)
    left, values, right = torch.linalg.svd(triangle)
    kept = values > ROUNDING * values[0]
    return orthonormal @ left[:, kept], values[kept, None] * right[kept]
