"""Information of each latent, and the aggregate posterior against the prior, where both are known."""

from math import log

import numpy as np
import pytest
import torch
from exact_models import Chain, Exact, FirstTwo, Linear, LinearBernoulli, Shifted, cut
from torch import Tensor

from fourfold.conditional import Condition, Conditional
from fourfold.distributions import DiagonalGaussian, Distribution, Point
from fourfold.evaluation import Undecomposable, decomposition
from fourfold.evaluation.aggregate import aggregate
from fourfold.evaluation.information import information
from fourfold.models import VAE
from fourfold.noise import Noise
from fourfold.priors import StandardNormal
from fourfold.trace import Level, Trace

SCALES = torch.tensor([0.4, 0.8])


def white(n: int) -> Tensor:
    """Two columns whose covariance is exactly I and whose mean is exactly 0."""
    x = Noise(5, stream="x").normal((n, 2), dtype=torch.float64)
    x = x - x.mean(0)
    return x @ torch.linalg.inv(torch.linalg.cholesky(x.T @ x / n)).T


def encoder(a: Tensor, dtype: torch.dtype = torch.float64) -> VAE:
    """N(a x, SCALES²) against the standard normal."""
    q = Linear(a.to(dtype), torch.zeros(2, dtype=dtype), SCALES.to(dtype))
    return VAE(q, StandardNormal(2), LinearBernoulli(torch.eye(2, dtype=dtype), torch.zeros(2, dtype=dtype))).eval()


def test_each_latent_has_the_information_of_its_gaussian() -> None:
    # q(z_d) = N(0, a_d² + s_d²), so that I(x; z_d) = ½ log(1 + a_d² / s_d²), and independent latents add up.
    a = torch.tensor([1.2, 0.5]).double()
    found = information(encoder(torch.diag(a)), cut(white(4000), 1000), Noise(0), samples=4000)
    wanted = 0.5 * torch.log(1 + a**2 / SCALES.double() ** 2).numpy()
    error = found.by_latent.std(0) / np.sqrt(4000)
    assert (np.abs(found.by_latent.mean(0) - wanted) < 4 * error).all()
    assert abs(found.joint.mean() - wanted.sum()) < 4 * found.joint.std() / np.sqrt(4000)
    # With the draws in common the gap is smaller than either: the mixture of 4,000 is nearly the Gaussian.
    assert abs(found.tc.mean()) < 0.05
    assert found.posteriors == 4000 and found.most == pytest.approx(log(4000)) and found.joint.max() <= found.most


def test_latents_that_say_the_same_have_a_total_correlation() -> None:
    a = torch.tensor([[1.5, 0.0], [1.5, 0.0]]).double()
    found = information(encoder(a), cut(white(3000), 500), Noise(0), samples=3000)
    covariance = a @ a.T + torch.diag(SCALES.double() ** 2)
    wanted = float(0.5 * (covariance.diagonal().log().sum() - torch.logdet(covariance)))
    assert found.tc.mean() == pytest.approx(wanted, abs=0.05)
    np.testing.assert_allclose(found.by_latent.sum(1) - found.joint, found.tc, atol=1e-10)


def test_it_is_what_the_decomposition_says() -> None:
    model, data = encoder(torch.tensor([[0.9, 0.3], [0.2, 1.1]])), cut(white(200), 64)
    found, parts = information(model, data, Noise(3), samples=50), decomposition(model, data, Noise(3), samples=50)
    np.testing.assert_allclose(found.joint, parts.mi, atol=1e-10)
    np.testing.assert_allclose(found.tc, parts.tc, atol=1e-10)
    assert found.marginal_kl is not None
    np.testing.assert_allclose(found.marginal_kl, parts.tc + parts.dwkl, atol=1e-10)
    whole = information(model, data, Noise(3), samples=50, numbers_per_chunk=1)
    np.testing.assert_allclose(whole.by_latent, found.by_latent, atol=1e-12)


def test_a_dead_latent_knows_nothing_and_one_told_apart_knows_log_n() -> None:
    model = encoder(torch.tensor([[1e4, 1e4], [0.0, 0.0]]))
    found = information(model, cut(white(64), 20), Noise(0), samples=64)
    np.testing.assert_allclose(found.by_latent[:, 0], log(64), atol=1e-10)
    np.testing.assert_allclose(found.by_latent[:, 1], 0, atol=1e-10)


def test_what_has_no_density_of_one_latent_is_refused(double: None) -> None:
    flat = VAE(FirstTwo(), StandardNormal(2), LinearBernoulli(torch.eye(2), torch.zeros(2))).eval()
    with pytest.raises(Undecomposable, match="Point"):
        information(flat, cut(white(8), 4), Noise(0))


def test_a_hierarchy_speaks_of_its_top_level(double: None) -> None:
    x = Noise(1).normal((4000, 1)) * 3**0.5
    found = information(Chain(), cut(x, 1000), Noise(0), samples=2000)
    # z₁ | x ~ N(x/3, 2/3) and z₁ ~ N(0, 1)
    assert found.joint.mean() == pytest.approx(-0.5 * log(2 / 3), abs=4 * found.joint.std() / 2000**0.5 + 0.01)
    assert "top level of 2" in found.estimator


def test_the_exact_posterior_aggregates_to_the_prior_and_a_shifted_one_does_not(double: None) -> None:
    exact, data = Exact.make(), cut(Exact.make().data(600), 100)
    right = aggregate(exact.model(), data, Noise(0), samples=600)
    assert right.mmd.p_value > 0.05 and right.ksd is not None and right.ksd.p_value > 0.05
    wrong = aggregate(exact.model(shift=0.4), data, Noise(0), samples=600)
    assert wrong.mmd.p_value < 0.01 and wrong.ksd is not None and wrong.ksd.p_value < 0.01
    narrow = aggregate(exact.model(blur=0.05), data, Noise(0), samples=600)
    assert narrow.ksd is not None and narrow.ksd.statistic > 3 * abs(right.ksd.statistic)


def test_the_plane_is_that_of_the_directions_in_which_they_differ(double: None) -> None:
    latents, off = 6, torch.tensor([0.0, 0.0, 0.8, 0.0, -0.8, 0.0])
    q = Linear(torch.eye(latents) * 0.8, off, torch.full((latents,), 0.6))
    model = VAE(q, StandardNormal(latents), LinearBernoulli(torch.eye(latents), torch.zeros(latents))).eval()
    found = aggregate(model, cut(Noise(1).normal((600, latents)), 100), Noise(0), samples=600, permutations=50)
    assert set(np.argsort(-found.by_latent)[:2]) == {2, 4}
    first, second = found.plane.directions / np.linalg.norm(found.plane.directions, axis=1, keepdims=True)
    assert abs(first[2] - first[4]) / 2**0.5 > 0.95 and abs(first @ second) < 0.1
    assert found.plane.test.p_value < 0.01 and len(found.plane.posterior) == len(found.plane.prior) == 300
    steps = np.linspace(*found.plane.extent, len(found.plane.surface))
    most = steps[np.unravel_index(found.plane.surface.argmax(), found.plane.surface.shape)[0]]
    assert np.sign(most) == np.sign(first @ off.numpy())


def test_a_latent_of_another_shape_is_found_though_its_moments_agree(double: None) -> None:
    class Signs(Conditional):
        """Two narrow heaps at ±0.95, of mean 0 and variance 1, in the direction (1, 1, 0)."""

        def forward(self, context: Tensor, c: Tensor | None = None) -> Distribution:
            loc, scale = 0.95 * context[..., 0].sign(), torch.full_like(context[..., 0], 0.3)
            log = torch.zeros(*context.shape[:-1], 3)
            plain = context[..., 1:3]
            turned = torch.stack(((loc + plain[..., 0]) / 2**0.5, (loc - plain[..., 0]) / 2**0.5, plain[..., 1]), -1)
            return DiagonalGaussian(turned, log + scale.log()[..., None])

    likelihood = LinearBernoulli(torch.ones(3, 3), torch.zeros(3))
    model = VAE(Signs(), StandardNormal(3), likelihood).eval()
    found = aggregate(model, cut(Noise(1).normal((1000, 3)), 200), Noise(0), samples=1000, permutations=50)
    first = found.plane.directions[0] / np.linalg.norm(found.plane.directions[0])
    assert abs(first[0] + first[1]) / 2**0.5 > 0.95 and found.plane.test.p_value < 0.01


class Both(Chain):
    """The chain at given latents."""

    def at(
        self, x: Tensor, z: tuple[Tensor, ...], c: Tensor | None = None, q: bool = True, mask: Tensor | None = None
    ) -> Trace:
        p1, p2, p_x = self._unit(torch.zeros(1)), self._unit(z[0]), self._unit(z[1])
        return Trace(x, p_x, p_x.log_prob(x), (Level(z[0], Point(z[0]), p1), Level(z[1], Point(z[1]), p2)))


def test_a_hierarchy_is_tested_as_one_vector(double: None) -> None:
    x = Noise(5).normal((800, 1)) * 3**0.5
    right = aggregate(Both(), cut(x, 200), Noise(3), samples=800)
    assert right.mmd.p_value > 0.05 and right.ksd is not None and right.ksd.p_value > 0.05
    assert right.by_latent.shape == (2,) and right.plane.test.p_value > 0.05
    wrong = aggregate(Both(blur=0.2), cut(x, 200), Noise(0), samples=800)
    assert wrong.ksd is not None and wrong.ksd.p_value < 0.01


def test_a_prior_of_each_c_has_no_score(double: None) -> None:
    model = VAE(
        Linear(torch.ones(1, 2), torch.zeros(1), torch.ones(1)),
        Shifted(),
        LinearBernoulli(torch.ones(2, 1), torch.zeros(2)),
        Condition((2,)),
    ).eval()
    c = Noise(2).normal((40, 2))
    found = aggregate(model, cut(Noise(1).normal((40, 2)), 20, c), Noise(0), permutations=20)
    assert found.ksd is None and found.reason is not None and "each c" in found.reason
    assert found.plane.directions.shape == (2, 1)


def test_where_there_is_no_difference_the_plane_finds_none(double: None) -> None:
    # With 15 directions to choose from and 60 draws, the draws of the search would show any difference asked for.
    latents, told = 15, []
    q = Linear(torch.zeros(latents, latents), torch.zeros(latents), torch.ones(latents))
    model = VAE(q, StandardNormal(latents), LinearBernoulli(torch.eye(latents), torch.zeros(latents))).eval()
    for seed in range(8):
        data = cut(Noise(seed).normal((120, latents)), 120)
        told.append(aggregate(model, data, Noise(seed), samples=120, permutations=20).plane.test.p_value)
    assert min(told) > 0.01 and np.median(told) > 0.2
