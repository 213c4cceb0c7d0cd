"""Each distribution against scipy, quadrature, many digits, or a sum over all outcomes."""

import mpmath
import numpy as np
import pytest
import torch
from families import FAMILIES
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from torch import Tensor
from torch.testing import assert_close

from fourfold.distributions import (
    Bernoulli,
    BetaBinomial,
    Categorical,
    ContinuousBernoulli,
    DiagonalGaussian,
    DiscretisedLogistic,
    DiscretisedLogisticMixture,
    bits_per_dim,
)
from fourfold.noise import Replay

LEVELS = torch.arange(256, dtype=torch.float64) / 255
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_gaussian_is_scipys():
    loc, log_scale, x = double(0.3, -2, 5), double(-1, 0, 2), double(0.1, 0.5, -4)
    p = DiagonalGaussian(loc, log_scale, event_ndim=0)
    other = stats.norm(loc.numpy(), log_scale.exp().numpy())
    assert_close(p.log_prob(x), torch.from_numpy(other.logpdf(x.numpy())), **EXACT)
    assert_close(p.entropy(), torch.from_numpy(other.entropy()), **EXACT)
    assert_close(p.scale, torch.from_numpy(other.std()), **EXACT)


def test_gaussian_with_one_scale_for_all():
    loc = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    one, each = DiagonalGaussian(loc, torch.tensor(-0.7)), DiagonalGaussian(loc, torch.full((5, 4), -0.7))
    x = torch.linspace(-1, 1, 4)
    noise = torch.linspace(-2, 2, 20).reshape(5, 4)
    assert_close(one.log_prob(x), each.log_prob(x))
    assert_close(one.entropy(), each.entropy())
    assert_close(one.scale, each.scale)
    assert_close(one.sample_with_log_prob(Replay([noise])), each.sample_with_log_prob(Replay([noise])))
    assert_close(one.expand((2, 5)).log_prob(x), each.log_prob(x).expand(2, 5))
    assert_close(one.kl_by_element(each), torch.zeros(5, 4))


@pytest.mark.parametrize("logit", [-800.0, -25, -3, 0, 1e-9, 3, 25, 800])
def test_bernoulli_is_exact_in_the_tails(logit):
    p = Bernoulli(double(logit), event_ndim=0)
    with mpmath.workdps(50):
        right = [-mpmath.log1p(mpmath.exp(sign * mpmath.mpf(logit))) for sign in (1, -1)]
        probability = 1 / (1 + mpmath.exp(-mpmath.mpf(logit)))
        entropy = -(1 - probability) * right[0] - probability * right[1]
        other = mpmath.log1p(mpmath.exp(mpmath.mpf(logit))) - mpmath.log(2) - logit * probability
    assert_close(p.log_prob(double(0)), double(float(right[0])), rtol=1e-14, atol=1e-14)
    assert_close(p.log_prob(double(1)), double(float(right[1])), rtol=1e-14, atol=1e-14)
    assert_close(p.entropy(), double(float(entropy)), rtol=1e-12, atol=1e-14)
    fair = Bernoulli(double(0), event_ndim=0)
    assert_close(fair.kl_by_element(p), double(float(-sum(right) / 2 - mpmath.log(2))), **EXACT)
    assert_close(p.kl_by_element(fair), double(float(-other)), rtol=1e-12, atol=1e-13)


def test_bernoulli_is_scipys():
    logits = double(-2, 0.5, 3)
    other = stats.bernoulli(torch.sigmoid(logits).numpy())
    p = Bernoulli(logits, event_ndim=0)
    for x in (0, 1):
        assert_close(p.log_prob(double(x, x, x)), torch.from_numpy(other.logpmf(x)), **EXACT)
    assert_close(p.mean, torch.from_numpy(other.mean()), **EXACT)


def test_categorical_is_a_softmax():
    logits = double(1, -2, 0.5, 3)
    p = Categorical(logits[:, None])
    probabilities = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum()
    for level in range(4):
        assert_close(p.log_prob(double(level / 3)), double(np.log(probabilities[level])).squeeze(), **EXACT)
    assert_close(p.mean, double(probabilities @ np.arange(4) / 3), **EXACT)
    assert_close(p.entropy(), double(stats.entropy(probabilities)).squeeze(), **EXACT)
    ends = np.cumsum(probabilities)
    for u, level in ((0.0, 0), (ends[0] - 1e-9, 0), (ends[0] + 1e-9, 1), (ends[2] + 1e-9, 3), (1 - 1e-12, 3)):
        assert_close(p.sample(Replay([double(u)])), double(level / 3), **EXACT)


def test_categorical_knows_every_level_as_bytes_give_it():
    p = Categorical(torch.arange(256.0)[:, None])
    x = (torch.arange(256, dtype=torch.uint8).float() / 255)[:, None]
    assert_close(p.log_prob(x), torch.arange(256.0).log_softmax(0))


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.outcomes in ("binary", "levels")])
@pytest.mark.usefixtures("double")
def test_masses_add_up_to_one(name):
    family = FAMILIES[name]
    p = family.example((3,), (2,))
    outcomes = double(0, 1) if family.outcomes == "binary" else LEVELS
    assert p.mass
    masses = p.log_prob_by_element(outcomes[:, None, None].expand(-1, 3, 2)).exp()
    assert_close(masses.sum(0), torch.ones(3, 2), **EXACT)
    assert_close((masses * outcomes[:, None, None]).sum(0), p.mean, **EXACT)


@pytest.mark.parametrize("name, low, high", [("gaussian", -12, 12), ("continuous_bernoulli", 0, 1)])
@pytest.mark.usefixtures("double")
def test_densities_integrate_to_one(name, low, high):
    p = FAMILIES[name].example((3,), (1,))
    assert not p.mass
    for i in range(3):

        def density(x: float, i: int = i) -> float:
            return float(p.log_prob(double(x))[i].exp())

        assert abs(integrate.quad(density, low, high)[0] - 1) < 1e-9
        assert abs(integrate.quad(lambda x, f=density: x * f(x), low, high)[0] - p.mean[i, 0]) < 1e-9


@pytest.mark.parametrize("logit", [-40.0, -3, -0.5, -1e-3])
def test_continuous_bernoulli_is_a_truncated_exponential(logit):
    # exp(ℓx) on [0, 1] with ℓ < 0 is an exponential of rate −ℓ, truncated; with ℓ > 0 it is its mirror image
    other = stats.truncexpon(b=-logit, scale=-1 / logit)
    x = double(0, 0.2, 0.5, 1)
    p, mirrored = (ContinuousBernoulli(double(value), event_ndim=0) for value in (logit, -logit))
    assert_close(p.log_prob(x), torch.from_numpy(other.logpdf(x.numpy())), rtol=1e-9, atol=1e-11)
    assert_close(mirrored.log_prob(1 - x), p.log_prob(x), **EXACT)
    assert_close(p.mean + mirrored.mean, double(1), **EXACT)
    assert_close(p.mean, double(other.mean()), rtol=1e-7, atol=1e-9)


def test_continuous_bernoulli_is_that_of_the_paper():
    rate = double(0.1, 0.3, 0.7, 0.999)
    constant = 2 * torch.atanh(1 - 2 * rate) / (1 - 2 * rate)
    x = double(0, 0.4, 0.9, 1)
    right = constant.log() + x * rate.log() + (1 - x) * torch.log1p(-rate)
    assert_close(ContinuousBernoulli(rate.logit(), event_ndim=0).log_prob(x), right, **EXACT)


def digits(logit: float) -> tuple[float, float, float, float]:
    """log-normaliser, mean, variance and entropy of a continuous Bernoulli, from 150 digits."""
    with mpmath.workdps(150):
        size = mpmath.mpf(logit) if logit else mpmath.mpf("1e-25")
        normaliser = mpmath.log(mpmath.expm1(size) / size)
        mean = 1 / -mpmath.expm1(-size) - 1 / size
        variance = 1 / size**2 - 1 / (2 * mpmath.sinh(size / 2)) ** 2
        return float(normaliser), float(mean), float(variance), float(normaliser - size * mean)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("size", [0, 1e-30, 1e-9, 1e-4, 0.03, 0.3, 0.499, 0.501, 0.7, 3, 20, 90, 700])
def test_continuous_bernoulli_has_all_its_digits(size, dtype):
    eps = torch.finfo(dtype).eps
    for logit in (size, -size):
        logits = torch.tensor([logit], dtype=dtype, requires_grad=True)
        normaliser, mean, variance, entropy = (torch.tensor([v], dtype=dtype) for v in digits(float(logits.detach())))
        p = ContinuousBernoulli(logits, event_ndim=0)
        assert_close(-p.log_prob(torch.zeros(1, dtype=dtype)), normaliser, rtol=4 * eps, atol=4 * eps)
        assert_close(p.mean, mean, rtol=16 * eps, atol=eps)
        assert_close(p.entropy(), entropy, rtol=1e3 * eps, atol=8 * eps)
        (first,) = torch.autograd.grad(p.log_prob(torch.zeros(1, dtype=dtype)), logits)
        assert_close(-first, mean, rtol=16 * eps, atol=4 * eps)
        (second,) = torch.autograd.grad(p.mean, logits)
        assert_close(second, variance, rtol=64 * eps, atol=16 * eps)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("size", [0, 1e-9, 1e-5, 1e-4, 1e-3, 0.0185, 0.019, 0.3, 5, 60, 700])
def test_continuous_bernoulli_draws_are_its_quantiles(size, dtype):
    u = torch.tensor([0.01, 0.1, 0.5, 0.77, 0.99], dtype=dtype)
    near, steep = (1e-6, 2e-5) if dtype == torch.float32 else (1e-13, 1e-11)
    for logit in (size, -size):
        logits = torch.full_like(u, logit).requires_grad_()
        x = ContinuousBernoulli(logits).sample(Replay([u]))
        exact, slope = zip(*(quantile(float(v), float(logits.detach()[0])) for v in u), strict=True)
        assert_close(x.double(), double(*exact), rtol=0, atol=near)
        (found,) = torch.autograd.grad(x.sum(), logits)
        assert_close(found.double(), double(*slope), rtol=0, atol=steep)


@pytest.mark.parametrize("logit", [-700.0, -20, 0, 1e-3, 20, 700])
def test_continuous_bernoulli_draws_stay_in_the_interval(logit):
    u = torch.tensor([0.0, 2.0**-24, 1 - 2.0**-24])
    logits = torch.full_like(u, logit).requires_grad_()
    x = ContinuousBernoulli(logits).sample(Replay([u]))
    assert (x >= 0).all() and (x <= 1).all() and (x.diff() >= 0).all()
    x.sum().backward()
    assert logits.grad is not None and logits.grad.isfinite().all()


def quantile(u: float, logit: float) -> tuple[float, float]:
    """x with P(X ≤ x) = u, and its derivative in the logit, from 60 digits."""

    def at(size: mpmath.mpf) -> mpmath.mpf:
        return mpmath.log1p(u * mpmath.expm1(size)) / size

    with mpmath.workdps(60):
        size, step = mpmath.mpf(logit) if logit else mpmath.mpf("1e-25"), mpmath.mpf("1e-28")
        return float(at(size)), float((at(size + step) - at(size - step)) / (2 * step))


def test_discretised_logistic_is_scipys():
    loc, log_scale = double(0.1), double(-3)
    other = stats.logistic(0.1, np.exp(-3))
    middles = 2 * np.arange(256) / 255 - 1
    upper, lower = other.cdf(middles + 1 / 255), other.cdf(middles - 1 / 255)
    upper[-1], lower[0] = 1, 0
    p = DiscretisedLogistic(loc, log_scale, event_ndim=0)
    assert_close(p.log_prob(LEVELS).exp(), torch.from_numpy(upper - lower), rtol=1e-9, atol=1e-14)


# The first three are those on which the test for the right edge of another library gives 1.127, 1.418 and 2.000.
@pytest.mark.parametrize("dtype, error", [(torch.float32, 3e-6), (torch.float64, 1e-13)], ids=str)
@pytest.mark.parametrize(
    "loc, log_scale",
    [(0.9, -3.0), (0.99, -4.0), (1.2, -4.0), (-0.99, -4.0), (0.0, -7.0), (-1.0, -7.0), (40.0, -7.0), (0.3, 5.0)],
)
def test_discretised_logistic_adds_up_to_one(loc, log_scale, dtype, error):
    p = DiscretisedLogistic(torch.tensor(loc, dtype=dtype), torch.tensor(log_scale, dtype=dtype), event_ndim=0)
    masses = p.log_prob(LEVELS.to(dtype)).exp()
    assert masses.isfinite().all() and (masses >= 0).all()
    assert abs(float(masses.double().sum()) - 1) < error
    assert_close(p.mean, (masses * LEVELS.to(dtype)).sum(), rtol=0, atol=10 * error)


@given(loc=st.floats(-4, 4), log_scale=st.floats(-7, 4))
def test_discretised_logistic_adds_up_to_one_wherever_it_is(loc, log_scale):
    p = DiscretisedLogistic(double(loc), double(log_scale))
    log_masses = p.log_prob_by_element(LEVELS[:, None])
    assert log_masses.isfinite().all()
    assert abs(float(log_masses.exp().sum()) - 1) < 1e-12


@pytest.mark.parametrize("loc", [-30.0, -1.0, 0.2, 30.0])
def test_discretised_logistic_has_gradients_everywhere(loc):
    parameters = [torch.full((256,), value, requires_grad=True) for value in (loc, -7.0)]
    DiscretisedLogistic(*parameters).log_prob(LEVELS.float()).backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in parameters)


# The corners of what its head gives: the masses of 256 levels next to each other, and all at one end.
@pytest.mark.parametrize("dtype, error", [(torch.float32, 1e-6), (torch.float64, 1e-8)], ids=str)
@pytest.mark.parametrize(
    "log_alpha, log_beta", [(0.0, 0.0), (-14, 1), (3, 5), (-3, 0.5), (-14, -14), (14, 14), (14, -14), (-14, 14)]
)
def test_beta_binomial_is_scipys(log_alpha, log_beta, dtype, error):
    shapes = torch.tensor([log_alpha, log_beta], dtype=dtype)
    p = BetaBinomial(*shapes, event_ndim=0)
    alpha, beta = shapes.double().exp().numpy()
    right = torch.from_numpy(stats.betabinom(255, alpha, beta).logpmf(np.arange(256)))
    found = p.log_prob(LEVELS.to(dtype))
    assert found.dtype == dtype
    assert_close(found.double(), right, rtol=error, atol=error)
    assert abs(float(found.exp().double().sum()) - 1) < error
    assert_close(p.mean.double(), double(alpha / (alpha + beta)).squeeze(), rtol=error, atol=error)


@pytest.mark.parametrize("log_alpha, log_beta", [(0, 0), (-14, 1), (14, 14), (14, -14), (-14, 14), (3, 5)])
def test_beta_binomial_levels_have_all_their_digits(log_alpha, log_beta):
    """Where differences of log-gammas lose nine of sixteen."""
    p = BetaBinomial(double(log_alpha), double(log_beta))
    with mpmath.workdps(40):
        a, b = mpmath.exp(log_alpha), mpmath.exp(log_beta)
        masses = [mpmath.binomial(255, k) * mpmath.beta(k + a, 255 - k + b) / mpmath.beta(a, b) for k in range(256)]
        logs = [float(mpmath.log(mass)) for mass in masses]
    assert_close(torch.cat(list(p.log_prob_by_level())), double(*logs), rtol=1e-13, atol=1e-11)


@pytest.mark.parametrize("shape", [-14.0, 0.0, 14.0])
def test_beta_binomial_has_gradients_at_its_ends(shape):
    parameters = [torch.full((256,), value, requires_grad=True) for value in (shape, -shape)]
    BetaBinomial(*parameters).log_prob(LEVELS.float()).backward()
    for value in parameters:
        assert value.grad is not None and value.grad.isfinite().all()
        assert value.grad.abs().max() < 256  # no more heads than flips


@pytest.mark.parametrize("log_alpha, log_beta", [(0.3, 0.8), (-4, -3), (9, 7), (14, -14), (-14, 14), (-14, -14)])
def test_beta_binomial_draws_are_its_quantiles(log_alpha, log_beta):
    p = BetaBinomial(double(log_alpha), double(log_beta))
    ends = p.log_prob_by_element(LEVELS[:, None]).exp().cumsum(0)
    u = torch.linspace(1e-9, 1 - 1e-9, 1000, dtype=torch.float64)  # not 0.5, an end by symmetry
    wanted = (ends[:-1] <= u).sum(0) / 255.0
    drawn = p.sample(Replay([u[:, None]]), 1000)[:, 0]
    assert_close(drawn.float(), wanted, rtol=0, atol=1e-6)
    for edge in (0.0, 1 - 2**-53):
        assert 0 <= p.sample(Replay([double(edge)])) <= 1


def test_mixture_mixes():
    logits, loc, log_scale = double(0.2, -1), double(-0.3, 0.6), double(-2, -4)
    mixture = DiscretisedLogisticMixture(logits[:, None], loc[:, None], log_scale[:, None])
    parts = [DiscretisedLogistic(a, b, event_ndim=0) for a, b in zip(loc, log_scale, strict=True)]
    weights = logits.softmax(0)
    x = double(0.2)
    right = sum(w * p.log_prob(x).exp() for w, p in zip(weights, parts, strict=True))
    assert_close(mixture.log_prob(x).exp(), right.squeeze(), **EXACT)
    for u, place in ((float(weights[0]) - 1e-9, 0), (float(weights[0]) + 1e-9, 1)):
        drawn = mixture.sample(Replay([double(u), double(0.25)]))
        assert_close(drawn, parts[place].sample(Replay([double(0.25)[0]])).reshape(1), **EXACT)


def test_bits_per_dimension():
    assert abs(bits_per_dim(543.4273, 784) - 1) < 1e-6
    assert abs(bits_per_dim(0.0, 3072, dequantised=True) - 8) < 1e-12
    with pytest.raises(ValueError, match=r"bits_per_dim: dims must be an integer of at least 1, got 0"):
        bits_per_dim(1.0, 0)
