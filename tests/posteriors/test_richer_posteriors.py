"""Full-covariance and mixture posteriors: exact in a linear model, right gradients in a bound."""

from functools import partial
from math import log, pi

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from fourfold.conditional import NetworkConditional
from fourfold.distributions import FullGaussian, GaussianHead, Mixture, MixtureHead
from fourfold.models import VAE
from fourfold.networks import Dense
from fourfold.noise import Noise
from fourfold.objectives import ELBO
from fourfold.posteriors import full_gaussian, mixture
from fourfold.priors import GaussianMixture, StandardNormal

D, L, B = 6, 3, 5


@pytest.fixture(autouse=True)
def seeded():
    """The same weights in every run."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def test_the_exact_posterior_makes_the_bound_the_evidence(double):
    """x | z ~ N(Wz, σ²): the posterior is Gaussian with a full covariance, which the head can be set to."""
    weight, scale = Noise(0, stream="weight").normal((D, L)), 0.5
    decoder = nn.Linear(L, D, bias=False)
    q = full_gaussian(nn.Linear(D, L * (L + 3) // 2), (D,), L)
    covariance = torch.linalg.inv(torch.eye(L) + weight.T @ weight / scale**2)
    factor = torch.linalg.cholesky(covariance)
    below = torch.tril_indices(L, L, -1)
    assert isinstance(q.network, nn.Linear)
    with torch.no_grad():
        decoder.weight.copy_(weight)
        q.network.weight.zero_()
        q.network.weight[:L] = covariance @ weight.T / scale**2
        q.network.bias[:L] = 0.0
        q.network.bias[L : 2 * L] = (factor.diagonal() - 1e-4).log()
        q.network.bias[2 * L :] = factor[below[0], below[1]]
    model = VAE(q, StandardNormal(L), NetworkConditional(decoder, GaussianHead(D, scale), L))
    x = 1.5 * Noise(1, stream="data").normal((B, D))
    marginal = torch.linalg.cholesky(weight @ weight.T + scale**2 * torch.eye(D))
    evidence = FullGaussian(torch.zeros(B, D), marginal).log_prob(x)
    trace = model(x, draws=4, noise=Noise(2))
    assert_close(trace.log_weight, evidence.expand(4, B), rtol=1e-10, atol=1e-10)
    assert_close(ELBO(kl="monte_carlo")(trace).total, evidence, rtol=1e-10, atol=1e-10)
    assert_close(trace.levels[0].q.kl(trace.levels[0].p), trace.log_ratio.mean(0), rtol=0.5, atol=3)
    # the closed form differs draw by draw, and has the same mean
    many = model(x[:1], draws=100_000, noise=Noise(3))
    analytic, drawn = (ELBO(kl=kl)(many).parts["rate"].value for kl in ("auto", "monte_carlo"))
    assert abs(analytic - drawn) < 4.5 * many.log_ratio.std() / 100_000**0.5


def test_several_dimensions_and_conditions():
    for make, family in ((full_gaussian, FullGaussian), (partial(mixture, components=4), Mixture)):
        q = make(partial(Dense, hidden=(8,)), (D,), (2, 3), condition=(4,))
        made = q(torch.zeros(7, B, D), torch.zeros(B, 4))
        assert isinstance(made, family) and made.lead_shape == (7, B) and made.event_shape == (2, 3)
        assert made.sample(Noise(0)).shape == (7, B, 2, 3)


def evidence_bound(logits: Tensor, loc: Tensor, log_scale: Tensor) -> Tensor:
    """The ELBO of a mixture posterior by quadrature, of the model p(x, z) = N(z; 0, 1) N(x; z², ¼) at x = 1.5."""
    z = torch.linspace(-8, 8, 8001)
    log_q = torch.logsumexp(
        logits.log_softmax(-1) - 0.5 * ((z[:, None] - loc) / log_scale.exp()).square() - log_scale - 0.5 * log(2 * pi),
        -1,
    )
    log_joint = -0.5 * z.square() - 0.5 * (2 * (1.5 - z.square())).square() - log(2 * pi) + log(2)
    return ((log_joint - log_q) * log_q.exp()).sum() * (z[1] - z[0])


class Square(nn.Module):
    """A decoder whose posterior has two modes."""

    def forward(self, z: Tensor) -> Tensor:
        return z.square()


def test_the_gradient_of_the_bound_is_that_of_its_exact_value(double):
    raw = torch.tensor([1.0, -1.0, -1.1, 0.9, -0.8, -1.0])  # two logits, means, log-scales
    network = nn.Linear(1, 6)
    with torch.no_grad():
        network.weight.zero_()
        network.bias.copy_(raw)
    q = NetworkConditional(network, MixtureHead(1, 2), 1)
    model = VAE(q, StandardNormal(1), NetworkConditional(Square(), GaussianHead(1, 0.5), 1))
    given = [value.clone().requires_grad_() for value in raw.split(2)]
    value = evidence_bound(*given)
    wanted = torch.cat(torch.autograd.grad(value, given))
    found, values = [], []
    for i in range(60):
        total = ELBO()(model(torch.full((4000, 1), 1.5), noise=Noise(0, step=i))).total.mean()
        found.append(torch.autograd.grad(total, network.bias)[0])
        values.append(total.detach())
    slopes, totals = torch.stack(found), torch.stack(values)
    assert (totals.mean() - value).abs() < 4.5 * totals.std() / 60**0.5
    error = slopes.std(0) / 60**0.5
    assert ((slopes.mean(0) - wanted).abs() < 4.5 * error).all()
    assert (wanted.abs() > 5 * error)[:2].all(), "the weights' gradient would not be seen"


def test_two_modes_are_worth_it():
    """Trained on the model above, a mixture closes most of the gap that one Gaussian leaves."""
    z = torch.linspace(-8, 8, 8001, dtype=torch.float64)
    joint = -0.5 * z.square() - 0.5 * (2 * (1.5 - z.square())).square() - log(2 * pi) + log(2)
    evidence = (joint.exp().sum() * (z[1] - z[0])).log().item()
    gaps = []
    for components in (1, 2):
        network = nn.Linear(1, 3 * components)
        with torch.no_grad():
            network.weight.zero_()
            network.bias.copy_(torch.tensor([0.0, 0.0, 0.5, -0.5, -1.0, -1.0])[:: 3 - components])
        q = NetworkConditional(network, MixtureHead(1, components), 1)
        model = VAE(q, StandardNormal(1), NetworkConditional(Square(), GaussianHead(1, 0.5), 1))
        optimiser = torch.optim.Adam(network.parameters(), lr=0.05)
        x = torch.full((100, 1), 1.5)
        for i in range(150):
            optimiser.zero_grad()
            (-ELBO()(model(x, noise=Noise(1, step=i))).total.mean()).backward()
            optimiser.step()
        with torch.no_grad():
            gaps.append(evidence - ELBO()(model(x, draws=500, noise=Noise(2))).total.mean().item())
    assert gaps[0] > 0.6 and 0 <= gaps[1] < 0.3


def test_a_mixture_meets_a_mixture_prior():
    q = mixture(partial(Dense, hidden=(8,)), (D,), L, components=3)
    p_x = NetworkConditional(nn.Linear(L, D), GaussianHead(D, 1.0), L)
    model = VAE(q, GaussianMixture(L, 4), p_x)
    trace = model(Noise(0).normal((B, D)), draws=6, noise=Noise(1))
    (-ELBO()(trace).total.mean()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert model.encode(Noise(0).normal((B, D)))[0].shape == (B, L)
