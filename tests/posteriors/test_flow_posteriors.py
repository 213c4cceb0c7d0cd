"""Flow posteriors and priors in a model: every log σ, the gradient, the bound, and the theorem that joins the two."""

from collections.abc import Iterator
from functools import partial
from math import log, pi

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from zuko.transforms import AutoregressiveTransform

from fourfold.conditional import Conditional, NetworkConditional
from fourfold.distributions import Distribution, FlowHead, GaussianHead, PushForward
from fourfold.likelihoods import bernoulli
from fourfold.models import VAE
from fourfold.networks import Dense, gated, splines
from fourfold.noise import Noise
from fourfold.objectives import ELBO
from fourfold.posteriors import gaussian, iaf, spline
from fourfold.priors import AutoregressiveFlow, CouplingFlow, StandardNormal

D, B, X = 4, 5, 6
NETWORK = partial(Dense, hidden=(16,), activation="tanh")
SMALL = partial(gated, hidden=(16, 16))


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@torch.no_grad()
def stirred(module: nn.Module, by: float = 0.3) -> None:
    """Moves a flow far from the identity where it starts."""
    for i, parameter in enumerate(module.parameters()):
        parameter.add_(by * Noise(7, stream=str(i)).normal(tuple(parameter.shape), dtype=parameter.dtype))


def data(n: int = B) -> Tensor:
    return Noise(1, stream="x").uniform((n, X)).round()


def test_log_q_counts_the_scale_of_every_step_and_of_the_base(double):
    """The sum of Kingma et al. by hand: m and s from the networks themselves, with T = 3 and t = 0."""
    q = iaf(NETWORK, (X,), D, flow=partial(SMALL, steps=3), context=2)
    flow = q.head.flow
    stirred(flow)
    x, epsilon = data(), Noise(2).normal((7, B, D))
    raw = q.raw(x)
    loc, log_scale, h = raw.split((D, D, 2), -1)
    z, scales = loc + log_scale.exp() * epsilon, [log_scale.expand_as(epsilon)]
    for step in flow.transforms:
        m, s = step.hyper(torch.cat((z, h.expand(7, B, 2)), -1)).unflatten(-1, (D, 2)).unbind(-1)
        sigma = torch.sigmoid(s + 2)
        z = sigma * z + (1 - sigma) * m
        scales.append(sigma.log())
    by_hand = -(0.5 * epsilon.square() + 0.5 * log(2 * pi) + sum(scales)).sum(-1)
    found, log_q = q(x).sample_with_log_prob(Noise(2), 7)
    assert_close(found, z, rtol=1e-12, atol=1e-12)
    assert_close(log_q, by_hand, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("make", [iaf, spline])
def test_gradients_reach_the_encoder_and_every_step(make):
    model = VAE(make(NETWORK, (X,), D, context=3), StandardNormal(D), bernoulli(NETWORK, (D,), (X,)))
    ELBO()(model(data(), draws=2, noise=Noise(0))).total.sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and (parameter.grad != 0).any(), name
    last = model.posterior.network.layers[-1].weight.grad
    assert (last.abs().sum(1) > 0).all()  # μ, log σ, and every number of h


@pytest.mark.parametrize("make", [iaf, spline])
def test_a_conditional_encoder_and_a_module_of_ones_own(make):
    q = make(NETWORK, (X,), 3, (2,), context=5)
    assert q(data(), torch.ones(B, 2)).lead_shape == (B,)
    own = make(nn.Linear(X, 2 * 3 + 5), (X,), 3, context=5)
    assert own(data()).event_shape == (3,)
    with pytest.raises(ValueError, match=r"FlowHead needs \(11,\): 11 numbers"):
        make(nn.Linear(X, 6), (X,), 3, context=5)(data())
    with pytest.raises(ValueError, match="a flow maps vectors"):
        make(NETWORK, (X,), (3, 2))


@pytest.mark.parametrize("make", [iaf, spline])
def test_an_extreme_encoder_gives_finite_draws_in_single_precision(make):
    q = make(nn.Linear(X, 2 * D + 8), (X,), D, context=8)
    head = q.head
    for size in (-60.0, 60.0):
        for part in ("all", "h", "loc"):
            raw = torch.zeros(B, 2 * D + 8)
            where = {"all": slice(None), "h": slice(2 * D, None), "loc": slice(D)}[part]
            raw[:, where] = size if part == "all" else 1e4 * size
            raw.requires_grad_()
            z, log_q = head(raw).sample_with_log_prob(Noise(0), 3)
            assert z.isfinite().all() and log_q is not None and log_q.isfinite().all(), (size, part)
            log_q.sum().backward()
            assert raw.grad is not None and raw.grad.isfinite().all(), (size, part)


class Through(Conditional):
    """p(x | g(z₀)): a likelihood behind the inverse of a flow."""

    def __init__(self, likelihood: Conditional, flow: nn.Module) -> None:
        super().__init__()
        self.likelihood, self.flow = likelihood, flow

    def forward(self, context: Tensor, c: Tensor | None = None) -> Distribution:
        return self.likelihood(self.flow(None).inv(context), c)


@pytest.mark.parametrize(
    "made", [partial(AutoregressiveFlow, D, 2, (16,)), partial(CouplingFlow, D, 3, (16,))], ids=["AF", "coupling"]
)
@pytest.mark.parametrize("draws", [1, 3])
def test_an_autoregressive_prior_is_an_iaf_posterior_along_the_encoder(made, draws, double):
    """The lectures' theorem: f carries the prior's z to N(0, I), or the posterior's draw to z₀ = f(z).

    The model of the second decodes p(x | g(z₀)), g the inverse of f. With the decoder of the first it is another model.
    """
    prior = made()
    stirred(prior.flow)
    network, decoder, x = NETWORK((X,), (2 * D,)), bernoulli(NETWORK, (D,), (X,)), data()
    on_prior = VAE(gaussian(network, (X,), D), prior, decoder)
    q = NetworkConditional(network, FlowHead(D, prior.flow), (X,))
    on_posterior = VAE(q, StandardNormal(D), Through(decoder, prior.flow))
    one, other = (model(x, draws=draws, noise=Noise(3)) for model in (on_prior, on_posterior))
    assert not one.levels[0].z.allclose(other.levels[0].z)
    assert_close(prior.flow(None)(one.levels[0].z), other.levels[0].z, rtol=1e-12, atol=1e-12)
    assert_close(one.log_weight, other.log_weight, rtol=1e-10, atol=1e-10)
    values = [ELBO()(trace).total for trace in (one, other)]
    assert_close(values[0], values[1], rtol=1e-10, atol=1e-10)
    encoder = list(network.parameters())
    gradients = [torch.autograd.grad(value.sum(), encoder, retain_graph=True) for value in values]
    assert_close(gradients[0], gradients[1], rtol=1e-8, atol=1e-8)
    same_decoder = VAE(q, StandardNormal(D), decoder)(x, draws=draws, noise=Noise(3))
    assert (ELBO()(same_decoder).total - values[0]).abs().mean() > 0.1


def test_an_autoregressive_prior_scores_in_one_pass_and_draws_one_element_after_the_other(double, monkeypatch):
    prior = AutoregressiveFlow(D, 2, (16,))
    stirred(prior.flow)
    p, calls = prior(), []
    for step in prior.flow.transforms:
        step.hyper.register_forward_hook(lambda *_: calls.append(1))
    z = p.sample(Noise(4), 9)
    assert len(calls) == 2 * D
    calls.clear()
    monkeypatch.setattr(AutoregressiveTransform, "_inverse", None)
    log_p = p.log_prob(z)
    assert len(calls) == 2 and log_p.shape == (9,)
    assert_close(p.transform(z), Noise(4).normal((9, D)), rtol=1e-10, atol=1e-10)  # the noise is found again


@pytest.mark.parametrize("make", [iaf, spline])
def test_no_bound_with_a_flow_exceeds_the_evidence(make, double):
    """z ~ N(0, I), x | z ~ N(Wz, σ²I): log p(x) is known, and the flow's ELBO and IWAE stay below it on average."""
    weight = Noise(0, stream="w").normal((X, D))
    decoder = nn.Linear(D, X, bias=False)
    with torch.no_grad():
        decoder.weight.copy_(weight)
    p_x = NetworkConditional(decoder, GaussianHead(X, 3.0), D)
    q = make(NETWORK, (X,), D, flow=SMALL if make is iaf else partial(splines, hidden=(16, 16)), context=3)
    stirred(q.head.flow, 0.1)
    with torch.no_grad():
        q.network.layers[-1].bias[D : 2 * D] += 0.4  # as wide as a proposal must be
    x = (weight @ Noise(6).normal((D,))).expand(4000, X)
    covariance = weight @ weight.T + 9.0 * torch.eye(X)
    evidence = torch.distributions.MultivariateNormal(torch.zeros(X), covariance, validate_args=False).log_prob(x[0])
    with torch.no_grad():
        log_weight = VAE(q, StandardNormal(D), p_x)(x, draws=8, noise=Noise(5)).log_weight
    elbo, iwae = log_weight.mean(0), log_weight.logsumexp(0) - log(8)
    assert elbo.mean() < iwae.mean() < evidence + 4 * iwae.std() / 4000**0.5
    # the gap is real: w is an unbiased estimate of p(x), whatever the flow
    ratio = (log_weight - evidence).exp().mean(0)
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / 4000**0.5 < 0.1


def test_encoding_and_reconstructing_never_invert(monkeypatch):
    model = VAE(iaf(NETWORK, (X,), D, context=3), StandardNormal(D), bernoulli(NETWORK, (D,), (X,)))
    monkeypatch.setattr(AutoregressiveTransform, "_inverse", None)
    (z,) = model.encode(data())
    q = model.posterior(data())
    assert isinstance(q, PushForward) and z.equal(q.centre)
    assert model.reconstruct(data()).shape == (B, X)
    trace = model.infer(data(), None, lambda i, q: q.centre[None])
    assert trace.log_joint.isfinite().all()
    with pytest.raises(TypeError):  # only its log q would, and only when asked
        _ = trace.log_weight


def test_training_and_importance_weights_never_invert(monkeypatch):
    model = VAE(iaf(NETWORK, (X,), D, context=3), StandardNormal(D), bernoulli(NETWORK, (D,), (X,)))
    monkeypatch.setattr(AutoregressiveTransform, "_inverse", None)
    trace = model(data(), draws=3, noise=Noise(0))
    assert trace.levels[0].recorded is not None
    ELBO()(trace).total.sum().backward()
