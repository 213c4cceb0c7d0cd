"""Calibration of p(x | z): of data drawn from the model itself, and of models that are too sure or too vague."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from exact_models import Batch, Exact, Linear, cut
from torch import Tensor

from fourfold.conditional import Conditional
from fourfold.distributions import (
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    DiscretisedLogistic,
    DiscretisedLogisticMixture,
    Distribution,
    Mixture,
)
from fourfold.evaluation.calibration import Uncalibrated, pit, reliability
from fourfold.models import VAE
from fourfold.noise import Noise
from fourfold.priors import StandardNormal

W = 2 * Noise(9).normal((12, 2))


class Given(Conditional):
    """Whatever a function of z says."""

    def __init__(self, made: Callable[[Tensor], Distribution]) -> None:
        super().__init__()
        self.made = made

    def forward(self, context: Tensor, c: Tensor | None = None) -> Distribution:
        return self.made(context)


def seen(
    made: Callable[[Tensor], Distribution], n: int, told: Callable[[Tensor], Distribution] | None = None
) -> tuple[VAE, list[Batch]]:
    """Data x ~ p(x | z), and a model whose posterior knows their z.

    z is the very one that x came from: both are a draw from the joint, as with an exact posterior.
    """
    z = Noise(11).normal((n, 2))
    x = made(z).sample(Noise(12))
    model = VAE(Knowing(z), StandardNormal(2), Given(told or made)).eval()
    return model, [Batch(x)]


class Knowing(Conditional):
    """A posterior that has been told the latents of all data: the exact joint needs no inference to be drawn from."""

    def __init__(self, z: Tensor) -> None:
        super().__init__()
        self.z = z

    def forward(self, context: Tensor, c: Tensor | None = None) -> Distribution:
        from fourfold.distributions import DiagonalGaussian

        return DiagonalGaussian(self.z, torch.full_like(self.z, -30.0))


def flips(sharp: float = 1.0) -> Callable[[Tensor], Distribution]:
    return lambda z: Bernoulli(sharp * z @ W.T.to(z))


def grey(scale: float = 1.0) -> dict[str, Callable[[Tensor], Distribution]]:
    """Likelihoods of 12 elements, whose width is multiplied by a factor."""

    def raw(z: Tensor) -> Tensor:
        return torch.tanh(z @ W.T.to(z))

    log = float(np.log(scale))
    centres = torch.arange(256.0) / 255
    return {
        "categorical": lambda z: Categorical(
            -((centres[:, None] - 0.5 - 0.4 * raw(z)[..., None, :]) ** 2) / (2 * (0.05 * scale) ** 2)
        ),
        "logistic": lambda z: DiscretisedLogistic(0.8 * raw(z), torch.full_like(raw(z), -3.0 + log)),
        "mixture": lambda z: DiscretisedLogisticMixture(
            torch.zeros(*z.shape[:-1], 2, 12),
            torch.stack((0.8 * raw(z), -0.5 * raw(z)), -2),
            torch.full((*z.shape[:-1], 2, 12), -3.0 + log),
        ),
        "continuous_bernoulli": lambda z: ContinuousBernoulli(6 * raw(z) / scale),
    }


def test_data_of_the_model_are_reliable_and_the_standard_error_says_so() -> None:
    model, data = seen(flips(), 3000)
    found = reliability(model, data, Noise(0), bins=10)
    assert found.standard_error is not None and found.distance < 2 * found.floor + 3 * found.standard_error
    assert found.n == 3000 and found.elements == 36_000 == int(found.counts.sum())
    inside = np.abs(found.observed - found.expected) < 3.5 * found.spread
    assert inside.all()


def test_a_model_that_is_too_sure_is_not_and_is_seen_to_be_so() -> None:
    model, data = seen(flips(), 3000, told=flips(3.0))
    found = reliability(model, data, Noise(0), bins=10)
    assert found.standard_error is not None and found.distance > found.floor + 10 * found.standard_error
    assert found.observed[0] > found.expected[0] + 0.05 and found.observed[-1] < found.expected[-1] - 0.05
    # The error is what one computes by hand from the same probabilities.
    p = torch.sigmoid(3 * Noise(11).normal((3000, 2)) @ W.T)
    x, place = data[0].x, (p * 10).long().clamp(max=9)
    gaps = [abs(float((x - p)[place == b].sum())) for b in range(10)]
    assert found.distance == pytest.approx(sum(gaps) / 36_000, rel=1e-4)


def test_the_bootstrap_is_over_data_not_pixels() -> None:
    # One pixel written 12 times: the error of the frequency is that of n data, √12 times that of independent pixels.
    z = Noise(11).normal((2000, 2))
    x = Bernoulli(torch.zeros(2000, 1)).sample(Noise(12)).expand(2000, 12)
    model = VAE(Knowing(z), StandardNormal(2), Given(lambda z: Bernoulli(0.0 * z @ W.T))).eval()
    found = reliability(model, [Batch(x)], Noise(0), bins=2)
    assert found.spread[1] == pytest.approx(0.5 / 2000**0.5, rel=0.2)


def test_an_exact_gaussian_posterior_has_a_uniform_transform(double: None) -> None:
    exact = Exact.make()
    found = pit(exact.model(), cut(exact.data(4000), 1000), Noise(0))
    assert found.standard_error is not None and found.distance < 0.01 + 3 * found.standard_error
    assert np.abs(found.observed - 0.05).max() < 4 * found.spread.max()


def test_gaussians_too_narrow_heap_at_the_ends_and_too_wide_in_the_middle(double: None) -> None:
    exact = Exact.make()
    for factor, ends in ((0.5, True), (2.0, False)):
        model = exact.model()
        model.likelihood = Linear(exact.w, exact.b, torch.full_like(exact.b, factor * exact.sigma))
        found = pit(model, cut(exact.data(1000), 500), Noise(0))
        assert found.standard_error is not None and found.distance > 5 * found.standard_error
        outer, inner = found.observed[[0, -1]].mean(), found.observed[9:11].mean()
        assert (outer > 1.3 * inner) == ends and (inner > 1.3 * outer) == (not ends)


@pytest.mark.parametrize("name", list(grey()))
def test_every_likelihood_of_levels_is_uniform_where_it_is_right(name: str) -> None:
    found = pit(*seen(grey()[name], 600), Noise(0))
    assert found.standard_error is not None and found.distance < 2 * found.floor + 3 * found.standard_error
    wrong = pit(*seen(grey()[name], 600, told=grey(0.4)[name]), Noise(0))
    assert wrong.distance > 0.02 and wrong.distance > 4 * found.distance


def test_the_transform_of_a_coin_is_uniform_too() -> None:
    assert pit(*seen(flips(), 2000), Noise(0)).distance < 0.02
    assert pit(*seen(flips(), 2000, told=flips(4.0)), Noise(0)).distance > 0.04


def test_only_modelled_elements_count() -> None:
    model, (batch,) = seen(flips(), 500)
    mask = torch.zeros(12)
    mask[:5] = 1
    x = batch.x.clone()
    x[:, 5:] = 1 - x[:, 5:]
    for measure in (reliability, pit):
        kept = measure(model, [Batch(batch.x, None, mask)], Noise(0))
        assert kept.elements == 2500
        other = measure(model, [Batch(x, None, mask)], Noise(0))
        assert other.distance == kept.distance


def test_where_there_is_none_it_says_so(double: None) -> None:
    exact = Exact.make()
    with pytest.raises(Uncalibrated, match="DiagonalGaussian"):
        reliability(exact.model(), cut(exact.data(4), 4), Noise(0))
    model, (batch,) = seen(flips(), 10)
    for measure in (reliability, pit):
        with pytest.raises(Uncalibrated):
            measure(model, [Batch(batch.x * 0.5)], Noise(0))
        with pytest.raises(ValueError, match="no data"):
            measure(model, [], Noise(0))

    def mixed(z: Tensor) -> Distribution:
        z = z.double()
        parts = Linear(W.double(), torch.zeros(12), torch.ones(12))(z.unsqueeze(-2).expand(*z.shape[:-1], 2, 2))
        return Mixture(torch.zeros(*z.shape[:-1], 2), parts)

    with pytest.raises(Uncalibrated, match="Mixture"):
        pit(*seen(mixed, 8), Noise(0))
    with pytest.raises(ValueError, match="divide 200"):
        pit(model, [batch], Noise(0), bins=7)
