"""What the similarity of layers must be: 1 for the same information, low for noise, the definition's in between."""

import pytest
import torch
from torch import Tensor

from trainables.similarity import ProjectionWeighted, SingularVectors

FRAMES, FEATURES = 4_000, 48


def noise(seed: int, features: int = FEATURES) -> Tensor:
    return torch.randn(FRAMES, features, generator=torch.Generator().manual_seed(seed))


def by_definition(before: Tensor, after: Tensor) -> float:
    """From whitened covariances, with the variates over all frames."""
    h, g = (x.double() - x.double().mean(dim=0) for x in (before, after))

    def whitening(x: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(x.T @ x)
        return vectors @ torch.diag(values.rsqrt()) @ vectors.T

    left, rho, _ = torch.linalg.svd(whitening(h) @ h.T @ g @ whitening(g))
    variates = h @ whitening(h) @ left
    alpha = torch.stack([sum((abs(u @ column) for column in h.T), torch.zeros(())) for u in variates.T])
    return float((alpha * rho).sum() / alpha.sum())


@pytest.mark.parametrize("measure", [ProjectionWeighted(), SingularVectors(variance=0.999999)])
def test_an_invertible_map_changes_nothing(measure: ProjectionWeighted | SingularVectors) -> None:
    states, mixing = noise(1), torch.randn(FEATURES, FEATURES, generator=torch.Generator().manual_seed(2))
    assert measure(states, states) == pytest.approx(1, abs=1e-6)
    assert measure(states, states @ mixing) == pytest.approx(1, abs=1e-6)
    assert measure(states, -3 * states + 5) == pytest.approx(1, abs=1e-6)


def test_noise_is_not_alike() -> None:
    found = ProjectionWeighted()(noise(1), noise(2))
    assert found == pytest.approx(0.096, abs=0.01)  # √(d / n) is 0.11


def test_in_between_it_is_the_definition_and_weighted_by_the_first() -> None:
    # Features of unequal size, of which the largest are kept and the others replaced by small ones.
    before = noise(3, 12) * torch.linspace(8, 1, 12)
    after = torch.cat([before[:, :3] + 0.5 * noise(4, 3), noise(5, 9)], dim=1)
    measure = ProjectionWeighted()
    forth, back = measure(before, after), measure(after, before)
    assert forth == pytest.approx(by_definition(before, after), abs=1e-6)
    assert back == pytest.approx(by_definition(after, before), abs=1e-6)
    assert back > forth + 0.1, "what is alike is most of the second, and a third of the first"
    assert 0.2 < forth < back < 0.7


def test_a_shift_does_not_matter_and_layers_may_differ_in_width() -> None:
    before, after = noise(1, 20), noise(1, 20)[:, :7]
    found = ProjectionWeighted()(before, after)
    assert ProjectionWeighted()(before + 100, after - 3) == pytest.approx(found, abs=1e-6)
    assert ProjectionWeighted()(after, before) == pytest.approx(1, abs=1e-6)


def test_what_float32_has_rounded_says_nothing() -> None:
    """Features behind a layer norm add up to 0: what is left in that direction is noise, which may not correlate."""
    before, after = (torch.nn.functional.layer_norm(noise(seed, 12)[:200], (12,)) for seed in (1, 2))
    found = ProjectionWeighted()(before, after)
    again = ProjectionWeighted()(before, after + 1e-7 * noise(3, 12)[:200])
    assert again == pytest.approx(found, abs=1e-6)


def test_a_reduced_layer_forgets_small_noise() -> None:
    signal = noise(1, 4)
    before, after = (torch.cat([signal, 1e-3 * noise(seed, 30)], dim=1) for seed in (2, 3))
    assert SingularVectors()(before, after) == pytest.approx(1, abs=1e-4)
    assert ProjectionWeighted()(before, after) < 0.999


def test_what_cannot_be_compared_is_one_sentence() -> None:
    states = noise(1)[:479]
    with pytest.raises(ValueError, match=r"^Frames must be at least 10 for each feature, 480, but are 479 instead:"):
        ProjectionWeighted()(states, states)
    with pytest.raises(ValueError, match=r"^Layers must be over the same frames, but are over 4000 and 3999\.$"):
        ProjectionWeighted()(noise(1), noise(2)[1:])
