"""The ELBO of models whose evidence is known."""

import numpy as np
import pytest
import torch
from exact_models import Batch, Chain, Exact, FirstTwo, LinearBernoulli, cut
from torch import Tensor

from fourfold.conditional import Conditional
from fourfold.distributions import DiagonalGaussian, Distribution
from fourfold.evaluation import PerDatum, elbo
from fourfold.models import VAE, Direct
from fourfold.noise import Noise
from fourfold.priors import StandardNormal


class NoClosedForm(Conditional):
    """A diagonal Gaussian that is not recognised as one."""

    def __init__(self, inner: Conditional) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, context: Tensor, c: Tensor | None = None) -> Distribution:
        return Anonymous(self.inner(context, c))


class Anonymous(Distribution):
    def __init__(self, inner: Distribution) -> None:
        self.inner = inner

    @property
    def lead_shape(self) -> tuple[int, ...]:
        return self.inner.lead_shape

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.inner.event_shape

    @property
    def mean(self) -> Tensor:
        return self.inner.mean

    def log_prob(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.inner.log_prob(x, mask)

    def sample(self, noise, draws=None) -> Tensor:
        return self.inner.sample(noise, draws)

    def expand(self, lead: tuple[int, ...]) -> "Anonymous":
        return Anonymous(self.inner.expand(lead))


def bound_of(found: PerDatum) -> np.ndarray:
    assert found.elbo is not None
    return found.elbo


def test_with_the_exact_posterior_the_monte_carlo_bound_is_the_evidence(double):
    case = Exact.make()
    model, x = case.model(), case.data(50)
    found = elbo(VAE(NoClosedForm(model.posterior), model.prior, model.likelihood).eval(), cut(x, 20), Noise(0))
    assert np.abs(bound_of(found) - case.log_evidence(x).numpy()).max() < 1e-10
    assert found.kl_per_latent == (None,)
    assert "Monte Carlo KL" in found.estimator


def test_with_the_exact_posterior_the_analytic_bound_is_the_evidence_on_average(double):
    case = Exact.make()
    x = case.data(200)
    found = elbo(case.model(), cut(x, 64), Noise(0), draws=200)
    gap = bound_of(found) - case.log_evidence(x).numpy()
    assert abs(gap.mean()) < 4 * gap.std() / 200**0.5
    assert gap.std() < 0.2
    assert found.estimator == "200 draws, analytic KL"


def test_a_wrong_posterior_is_below_the_evidence_by_its_divergence(double):
    case = Exact.make()
    x = case.data(200)
    found = elbo(case.model(blur=1.5), cut(x, 200), Noise(0), draws=300)
    gap = case.log_evidence(x).numpy() - bound_of(found)
    exact = 2 * (0.5 * (1.5**2 - 1) - np.log(1.5))  # KL(q ‖ exact posterior), for each of two latents
    assert abs(gap.mean() - exact) < 4 * gap.std() / 200**0.5


def test_parts_add_up_and_latents_add_up_to_the_rate(double):
    case = Exact.make()
    found = elbo(case.model(blur=1.3), cut(case.data(33), 10), Noise(0), draws=3)
    assert found.rate is not None and found.rates is not None and len(found.rates) == 1
    assert np.allclose(bound_of(found), -found.distortion - found.rate, atol=1e-12)
    kl = found.kl_per_latent[0]
    assert kl is not None and kl.shape == (2,)
    assert np.isclose(kl.sum(), found.rate.mean())
    assert kl[0] > kl[1] > 0  # the column of W that is larger says more
    assert (found.dims == 5).all() and not found.mass


@pytest.mark.parametrize("rows", [1, 20, 50, 10_000])
def test_chunks_of_draws_change_nothing(double, rows: int):
    case = Exact.make()
    batches = cut(case.data(25), 10)
    whole = elbo(case.model(blur=1.3), batches, Noise(0), draws=7)
    parts = elbo(case.model(blur=1.3), batches, Noise(0), draws=7, rows_per_chunk=rows)
    assert np.abs(bound_of(whole) - bound_of(parts)).max() < 1e-12
    assert np.allclose(whole.kl_per_latent[0], parts.kl_per_latent[0], atol=1e-12)
    model = case.model(blur=1.3)
    sampled = VAE(NoClosedForm(model.posterior), model.prior, model.likelihood).eval()
    whole, parts = (elbo(sampled, batches, Noise(0), 7, r) for r in (10_000, rows))
    assert whole.rate is not None and parts.rate is not None and np.abs(whole.rate - parts.rate).max() < 1e-12


def test_batches_do_not_share_their_noise(double):
    case = Exact.make()
    x = case.data(4)
    a, b = np.split(elbo(case.model(blur=1.3), [Batch(x), Batch(x)], Noise(0)).distortion, 2)
    assert np.abs(a - b).min() > 1e-6


def test_levels_of_a_hierarchy(double):
    x = Noise(0).normal((40, 1)) * 3**0.5
    found = elbo(Chain(), cut(x, 16), Noise(1), draws=400)
    exact = torch.distributions.Normal(0.0, 3**0.5).log_prob(x[:, 0]).numpy()
    assert np.abs(bound_of(found) - exact).max() < 0.4
    assert abs((bound_of(found) - exact).mean()) < 0.03
    assert found.rates is not None and len(found.rates) == 2
    # KL(N(x/3, 2/3) ‖ N(0, 1)), in closed form
    top = 0.5 * (2 / 3 + (x[:, 0].numpy() / 3) ** 2 - 1 - np.log(2 / 3))
    assert np.allclose(found.rates[0], top, atol=1e-12)
    assert [kl.shape for kl in found.kl_per_latent if kl is not None] == [(1,), (1,)]


def test_a_model_without_latents_has_its_likelihood_as_bound(double):
    x = (Noise(0).uniform((30, 4)) < 0.5).to(torch.float64)

    class Fixed(StandardNormal):
        def forward(self, c: Tensor | None = None) -> DiagonalGaussian:
            return DiagonalGaussian(torch.zeros(4), torch.zeros(4))

    model = Direct(Fixed(4)).eval()
    found = elbo(model, cut(x, 8), Noise(0))
    exact = DiagonalGaussian(torch.zeros(4), torch.zeros(4)).log_prob(x).numpy()
    assert np.allclose(bound_of(found), exact, atol=1e-12)
    assert found.exact and found.estimator == "exact, no latents"
    assert (found.rate == 0).all()


def test_a_point_has_a_distortion_but_no_bound():
    likelihood = LinearBernoulli(torch.ones(3, 2), torch.zeros(3))
    model = VAE(FirstTwo(), StandardNormal(2), likelihood).eval()
    x = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    found = elbo(model, cut(x, 1), Noise(0))
    assert found.elbo is None and found.rate is None and not found.exact
    assert found.reason is not None and "Point has no density" in found.reason
    logits = x[:, :2].sum(1, keepdim=True).expand(2, 3)
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
    assert np.allclose(found.distortion, wanted.numpy(), atol=1e-6)
    assert found.squared_error is not None
    assert np.allclose(found.squared_error, (x - logits.sigmoid()).square().mean(1).numpy(), atol=1e-6)


@pytest.mark.parametrize("batched", [False, True])
def test_what_is_masked_out_does_not_count(double, batched: bool):
    case = Exact.make()
    x = case.data(12)
    mask = torch.tensor([1.0, 1.0, 0.0, 0.0, 1.0])
    worse = x.clone()
    worse[:, 2:4] += 100.0
    model = case.model()
    model.posterior.a[:, 2:4] = 0  # so that the posterior does not see them either
    given = mask.expand(12, 5) if batched else mask
    a, b = (elbo(model, [Batch(data, mask=given)], Noise(0)) for data in (x, worse))
    assert np.array_equal(bound_of(a), bound_of(b))
    assert (a.dims == 3).all()
    assert not np.allclose(bound_of(a), bound_of(elbo(model, [Batch(x)], Noise(0))))


def test_the_seed_decides_and_the_global_generator_does_not():
    case = Exact.make()
    batches = cut(case.data(20), 10)
    state = torch.get_rng_state()
    first = elbo(case.model(), batches, Noise(0))
    assert torch.get_rng_state().equal(state)
    assert np.array_equal(bound_of(first), bound_of(elbo(case.model(), batches, Noise(0))))
    assert not np.array_equal(bound_of(first), bound_of(elbo(case.model(), batches, Noise(1))))


def test_what_is_refused():
    case = Exact.make()
    with pytest.raises(ValueError, match=r"elbo: the model is in training mode. Call model.eval\(\)"):
        elbo(case.model().train(), cut(case.data(4), 2), Noise(0))
    with pytest.raises(ValueError, match="elbo: there are no data"):
        elbo(case.model(), [], Noise(0))
    with pytest.raises(ValueError, match="elbo: draws must be an integer of at least 1"):
        elbo(case.model(), cut(case.data(4), 2), Noise(0), draws=0)
