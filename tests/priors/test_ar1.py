"""The prior of the δ-VAE: its promise, checked against dense matrices, minimisation and random posteriors."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import MultivariateNormal
from torch.testing import assert_close

from fourfold.distributions import AutoregressiveGaussian, DiagonalGaussian, FullGaussian
from fourfold.noise import Noise, Recorder
from fourfold.priors import AR1, StandardNormal, alpha_for, committed_rate

TABLE = [(2, 0.5, 0.1438), (16, 0.7, 3.1281), (64, 0.9, 19.2235)]
STEPS, ALPHA = 6, (0.3, 0.9)


def dense(alpha: float, steps: int) -> Tensor:
    """The covariance α^|s−t| of the process."""
    at = torch.arange(steps, dtype=torch.float64)
    return alpha ** (at[:, None] - at).abs()


def as_full(p: AutoregressiveGaussian) -> FullGaussian:
    """The same distribution over (n·d,) latents, as a dense matrix."""
    blocks = torch.zeros(p.steps, len(p.alpha), p.steps, len(p.alpha), dtype=torch.float64)
    for k, a in enumerate(p.alpha.tolist()):
        blocks[:, k, :, k] = dense(a, p.steps)
    size = p.steps * len(p.alpha)
    return FullGaussian(torch.zeros(size), torch.linalg.cholesky(blocks.reshape(size, size)))


def example() -> AutoregressiveGaussian:
    return AutoregressiveGaussian(torch.tensor(ALPHA), STEPS)


@pytest.mark.parametrize("steps, alpha, printed", TABLE)
def test_the_table(steps, alpha, printed, double):
    promised = committed_rate(alpha, steps)
    assert round(promised, 4) == printed
    # The least KL of a factorised Gaussian: ½ (Σ log P_tt − log det P), at σ_t² = 1 / P_tt.
    precision = torch.linalg.inv(dense(alpha, steps))
    least = 0.5 * (precision.diagonal().log().sum() + torch.linalg.slogdet(dense(alpha, steps))[1])
    assert abs(least.item() - promised) < 1e-12
    best = DiagonalGaussian(torch.zeros(steps, 1), -0.5 * precision.diagonal().log()[:, None], event_ndim=2)
    kl = best.kl(AR1((steps, 1), alpha=alpha)())
    assert kl is not None and abs(kl.item() - promised) < 1e-12


def test_minimising_finds_the_promise_and_nothing_below(double):
    prior = AR1((STEPS, 2), alpha=ALPHA)
    loc, log_scale = (0.5 * Noise(i).normal((STEPS, 2)) for i in range(2))
    parameters = [loc.requires_grad_(), log_scale.requires_grad_()]
    optimiser = torch.optim.LBFGS(parameters, max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-16)

    def loss() -> Tensor:
        optimiser.zero_grad()
        kl = DiagonalGaussian(loc, log_scale, event_ndim=2).kl(prior())
        assert kl is not None
        kl.backward()
        return kl

    optimiser.step(loss)  # type: ignore[arg-type]
    found = DiagonalGaussian(loc, log_scale, event_ndim=2).kl(prior())
    assert found is not None and abs(found.item() - prior.rate) < 1e-9
    assert loc.abs().max() < 1e-5


@given(
    alpha=st.floats(0.01, 0.99),
    steps=st.integers(2, 12),
    seed=st.integers(0, 10_000),
    spread=st.floats(0.0, 3.0),
)
def test_no_factorised_posterior_gets_below_it(alpha, steps, seed, spread):
    loc, log_scale = (spread * Noise(seed).fork(n).normal((steps, 1), dtype=torch.float64) for n in "ms")
    kl = DiagonalGaussian(loc, log_scale - 0.3, event_ndim=2).kl(AR1((steps, 1), alpha=alpha).double()())
    assert kl is not None and kl >= committed_rate(alpha, steps) - 1e-12


@given(rate=st.floats(0.01, 30.0), steps=st.integers(2, 200), channels=st.integers(5, 40))
def test_alpha_is_solved_for_the_rate(rate, steps, channels):
    alpha = alpha_for(rate, steps, channels)
    assert 0 < alpha < 1
    assert committed_rate(alpha, steps, channels) == pytest.approx(rate, rel=1e-9)
    for prior in (AR1((steps, channels), rate=rate), AR1(steps * channels, rate=rate, channels=channels)):
        assert prior.rate == pytest.approx(rate, rel=1e-9) and prior.alphas == (alpha,) * channels


def test_the_density_is_that_of_the_dense_gaussian_in_one_pass(double):
    p = example()
    whole = as_full(p)
    wanted = MultivariateNormal(whole.loc, scale_tril=whole.scale_tril, validate_args=False)
    z = Noise(1).normal((3, 5, STEPS, 2))
    assert_close(p.log_prob(z), wanted.log_prob(z.flatten(-2)), rtol=1e-11, atol=1e-11)
    flat = AutoregressiveGaussian(p.alpha, STEPS, flat=True)
    assert_close(flat.log_prob(z.flatten(-2)), p.log_prob(z))
    assert_close(p.entropy(), wanted.entropy(), rtol=1e-11, atol=1e-11)
    assert p.log_prob(z[0, 0]).shape == () and p.expand((3, 5)).log_prob(z[0, 0]).shape == (3, 5)


@pytest.mark.parametrize("flat", [False, True])
def test_the_divergence_is_that_of_the_dense_gaussian(flat, double):
    p = AutoregressiveGaussian(torch.tensor(ALPHA), STEPS, flat)
    loc, log_scale = Noise(0).normal((5, STEPS, 2)), 0.5 * Noise(1).normal((5, STEPS, 2))
    q = DiagonalGaussian(loc.flatten(-2), log_scale.flatten(-2)) if flat else DiagonalGaussian(loc, log_scale, 2)
    wanted = DiagonalGaussian(loc.flatten(-2), log_scale.flatten(-2)).kl(as_full(p))
    assert_close(q.kl(p), wanted, rtol=1e-11, atol=1e-11)
    by_element = q.kl_by_element(p)
    assert by_element is not None and by_element.shape == q.loc.shape and (by_element >= 0).all()
    assert_close(by_element.flatten(1).sum(1), wanted, rtol=1e-11, atol=1e-11)
    narrow = DiagonalGaussian(q.loc, torch.tensor(0.2), q.event_ndim)  # one scale for all
    assert_close(narrow.kl(p), DiagonalGaussian(q.loc, torch.full_like(q.loc, 0.2), q.event_ndim).kl(p))


def test_draws_are_of_the_process(double):
    p = example()
    z = p.sample(Noise(2), 100_000)
    for k, a in enumerate(ALPHA):
        assert_close(z[..., k].T.cov(), dense(a, STEPS), atol=0.02, rtol=0)
    assert_close(z[..., 0].T @ z[..., 1] / len(z), torch.zeros(STEPS, STEPS), atol=0.02, rtol=0)
    flat = AutoregressiveGaussian(p.alpha, STEPS, flat=True)
    assert flat.sample(Noise(2), 7).equal(p.sample(Noise(2), 7).flatten(-2))
    source = Recorder(Noise(0))
    p.expand((4,)).sample(source, 3)
    assert [(r.shape, r.batch) for r in source.requests] == [((3, 4, STEPS, 2), 1)]
    assert p.mean.shape == (STEPS, 2) and p.expand((3, 4)).mean.equal(torch.zeros(3, 4, STEPS, 2))


def test_gradients(double):
    alpha, z = torch.tensor(ALPHA).requires_grad_(), Noise(0).normal((3, STEPS, 2)).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, y: AutoregressiveGaussian(a, STEPS).log_prob(y), (alpha, z))
    assert torch.autograd.gradcheck(
        lambda a, y: DiagonalGaussian(y, 0.1 * y, 2).kl(AutoregressiveGaussian(a, STEPS)), (alpha, z)
    )
    fixed = AutoregressiveGaussian(alpha, STEPS).detached()
    assert fixed.log_prob(z).requires_grad and not fixed.log_prob(z.detach()).requires_grad


def test_the_prior_keeps_its_digits():
    prior = AR1((STEPS, 2), alpha=ALPHA).half().double()
    assert prior.alpha.dtype == torch.float64 and prior.alpha.tolist() == list(ALPHA)
    assert prior.state_dict() == {}
    assert AR1((STEPS, 2), alpha=0.5)().event_shape == (STEPS, 2)
    assert AR1(2 * STEPS, alpha=0.5, channels=2)().event_shape == (2 * STEPS,)
    assert AR1(2 * STEPS, alpha=0.5)().steps == 2 * STEPS


def test_what_is_wrong_is_said():
    for wrong in (0.0, 1.0, -0.5, float("nan"), (0.5,)):
        with pytest.raises(ValueError, match="AR1: alpha must be above 0 and below 1"):
            AR1((STEPS, 2), alpha=wrong)
    with pytest.raises(ValueError, match="no rate is promised"):
        AR1((1, 2), alpha=0.5)
    for one in ({}, {"rate": 1.0, "alpha": 0.5}):
        with pytest.raises(ValueError, match=r"AR1: give the committed rate.*not both"):
            AR1(STEPS, **one)
    for latent, channels in ((5, 2), ((4, 3, 2), 1), ((4, 3), 2)):
        with pytest.raises(ValueError, match=r"AR1: latent must be \(steps, channels\)"):
            AR1(latent, rate=1.0, channels=channels)
    with pytest.raises(ValueError, match="rate must be a finite number above 0"):
        AR1(STEPS, rate=0.0)
    with pytest.raises(ValueError, match="rate must be a finite number above 0"):
        alpha_for(0.0, 4)
    with pytest.raises(ValueError, match=r"100.0 nats in 2 steps of 1 channels.*more steps or channels"):
        alpha_for(100.0, 2)
    with pytest.raises(ValueError, match="AutoregressiveGaussian: a mask"):
        example().log_prob(torch.zeros(STEPS, 2), torch.ones(STEPS, 2))
    assert example().kl(StandardNormal(3)()) is None


@pytest.mark.parametrize("alpha", [1.0, 1.5, -1.0, float("nan")])
def test_no_rate_is_promised_by_a_process_that_is_not_stationary(alpha):
    with pytest.raises(ValueError, match="committed_rate: alpha must be above −1 and below 1"):
        committed_rate(alpha, 4)


@pytest.mark.parametrize("prior", [AR1((2, 1), rate=1.0), AR1(40, rate=5.0, channels=4), AR1((6, 2), alpha=ALPHA)])
def test_what_is_committed_latent_by_latent_sums_to_the_promise(prior: AR1):
    assert prior.committed.shape == prior.event
    assert_close(float(prior.committed.sum()), prior.rate, atol=1e-5, rtol=1e-5)
    variance = torch.ones(prior.event).log()  # another factorised posterior pays more
    paid = prior().kl_by_element_from(DiagonalGaussian(torch.zeros(prior.event), variance))
    assert paid is not None and paid.sum() > prior.rate
