"""Importance sampling on models whose evidence is known; its memory; its refusals."""

import weakref

import numpy as np
import pytest
import torch
from exact_models import Batch, Chain, Exact, FirstTwo, LinearBernoulli, Shifted, cut
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fourfold.conditional import Condition
from fourfold.distributions import DiagonalGaussian
from fourfold.evaluation import Sampling, elbo, log_weights, nll_importance
from fourfold.models import VAE, Direct
from fourfold.noise import Noise
from fourfold.posteriors import FromPrior
from fourfold.priors import StandardNormal

BOTH = pytest.mark.parametrize("proposal", ["posterior", "prior"])


def nll_by_quadrature(model: VAE, x: Tensor, c: Tensor | None = None) -> np.ndarray:
    """−log ∫ p(x | z) p(z) dz on a grid of one latent, one datum at a time."""
    grid = torch.linspace(-9, 9, 4001)[:, None, None]
    answers = []
    for i in range(len(x)):
        trace = model.at(x[i : i + 1], (grid,), None if c is None else c[i : i + 1], q=False)
        answers.append(-(trace.log_joint[:, 0].logsumexp(0) + np.log(18 / 4000)).item())
    return np.array(answers)


def one_latent(condition: Condition | None = None) -> VAE:
    """A Bernoulli model with one latent, whose integral is no closed form; its posterior is merely reasonable."""
    prior = StandardNormal(1) if condition is None else Shifted()
    likelihood = LinearBernoulli(torch.tensor([[1.5], [-1.0], [0.5]]), torch.tensor([0.2, -0.4, 0.0]))

    class Rough(FromPrior):
        def forward(self, context, c=None):
            loc = 0.8 * (context @ torch.tensor([[1.0], [-0.7], [0.3]]))
            return DiagonalGaussian(loc, torch.zeros_like(loc))

    return VAE(Rough(prior), prior, likelihood, condition).eval()


ALL_X = torch.tensor([[a, b, c] for a in (0.0, 1.0) for b in (0.0, 1.0) for c in (0.0, 1.0)])


def test_it_climbs_to_the_evidence_and_never_exceeds_it(double):
    case = Exact.make()
    x = case.data(300)
    model, batches = case.model(blur=1.4, shift=0.2), cut(x, 100)
    truth = -case.log_evidence(x).numpy()
    bound = elbo(model, batches, Noise(0)).elbo
    assert bound is not None
    gaps = [-bound - truth] + [nll_importance(model, batches, Noise(0), Sampling(k)) - truth for k in (5, 50, 2000)]
    means, errors = [gap.mean() for gap in gaps], [gap.std() / 300**0.5 for gap in gaps]
    assert means[0] > means[1] + errors[1] > means[2] + errors[2] > means[3]
    assert all(mean > -3 * error for mean, error in zip(means, errors, strict=True))
    assert abs(means[3]) < 0.01


def test_with_the_exact_posterior_every_weight_is_the_evidence(double):
    case = Exact.make()
    x = case.data(20)
    for chunk in log_weights(case.model(), Batch(x), Noise(0), Sampling(30, rows_per_chunk=100)):
        assert (chunk - case.log_evidence(x)).abs().max() < 1e-10


@BOTH
def test_the_stream_is_the_one_shot_answer(double, proposal: str):
    case = Exact.make()
    model, batch = case.model(blur=1.5), Batch(case.data(9))
    sampling = Sampling(101, proposal, rows_per_chunk=40)
    chunks = list(log_weights(model, batch, Noise(5).fork("0"), sampling))
    assert [len(chunk) for chunk in chunks] == [7] * 14 + [3]
    once = np.log(101) - torch.cat(chunks).logsumexp(0).numpy()
    assert np.abs(nll_importance(model, [batch], Noise(5), sampling) - once).max() < 1e-10


@BOTH
@pytest.mark.parametrize("hierarchy", [False, True])
def test_the_size_of_the_chunks_changes_nothing(double, proposal: str, hierarchy: bool):
    model = Chain(blur=1.2) if hierarchy else Exact.make(1, 1).model(blur=1.5)
    batches = cut(Noise(0).normal((13, 1)), 5)
    answers = [nll_importance(model, batches, Noise(0), Sampling(64, proposal, rows)) for rows in (1, 5, 33, 10_000)]
    assert all(np.abs(answer - answers[0]).max() < 1e-12 for answer in answers[1:])


def test_weights_far_below_the_range_of_exp_do_no_harm(double):
    case = Exact.make()
    x = case.data(5) + 1e4
    found = nll_importance(case.model(blur=1.01), [Batch(x)], Noise(0), Sampling(50))
    assert np.allclose(found, -case.log_evidence(x).numpy(), rtol=1e-6)


@BOTH
def test_one_latent_against_quadrature(double, proposal: str):
    model = one_latent()
    found = nll_importance(model, cut(ALL_X.double(), 3), Noise(0), Sampling(40_000, proposal))
    assert np.abs(found - nll_by_quadrature(model, ALL_X.double())).max() < 0.02
    assert np.isclose(np.exp(-found).sum(), 1, atol=0.02)


@BOTH
def test_one_latent_given_c_against_quadrature(double, proposal: str):
    c = 0.3 * Noise(7).normal((8, 3))
    model = one_latent(Condition((3,)))
    found = nll_importance(model, cut(ALL_X.double(), 3, c), Noise(0), Sampling(40_000, proposal))
    assert np.abs(found - nll_by_quadrature(model, ALL_X.double(), c)).max() < 0.03


def test_if_the_posterior_is_the_prior_both_proposals_are_one(double):
    model = one_latent()
    same = VAE(FromPrior(model.prior), model.prior, model.likelihood).eval()
    a, b = (nll_importance(same, [Batch(ALL_X.double())], Noise(0), Sampling(50, p)) for p in ("posterior", "prior"))
    assert np.abs(a - b).max() < 1e-12


@BOTH
def test_a_hierarchy(double, proposal: str):
    x = Noise(0).normal((6, 1)) * 2
    exact = -torch.distributions.Normal(0.0, 3**0.5).log_prob(x[:, 0]).numpy()
    found = nll_importance(Chain(blur=1.2), cut(x, 4), Noise(0), Sampling(20_000, proposal, rows_per_chunk=5000))
    assert np.abs(found - exact).max() < 0.06
    c = Noise(1).normal((6, 1)) * 50  # shifts x: wrong if c or x were repeated in another order than z
    shifted = nll_importance(Chain(Condition((1,)), 1.2), cut(x + c, 4, c), Noise(0), Sampling(20_000, proposal))
    assert np.abs(shifted - exact).max() < 0.06


def test_the_encoder_runs_once_a_batch_where_it_can():
    case = Exact.make()
    model = case.model()
    nll_importance(model, cut(case.data(30), 10), Noise(0), Sampling(100, rows_per_chunk=50))
    assert model.posterior.calls == 3
    chain = Chain()
    nll_importance(chain, cut(Noise(0).normal((30, 1)), 10), Noise(0), Sampling(100, rows_per_chunk=60))
    assert chain.calls == 3 * (1 + 17)


@BOTH
@pytest.mark.parametrize("batched", [False, True])
def test_a_mask_leaves_the_evidence_of_the_rest(double, proposal: str, batched: bool):
    case = Exact.make()
    x, mask = case.data(40), torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0])
    batch = Batch(x, mask=mask.expand(40, 5) if batched else mask)
    # The posterior given all of x is no longer exact, but any proposal will do.
    found = nll_importance(case.model(blur=1.8), [batch], Noise(0), Sampling(20_000, proposal, 40_000))
    gap = found + case.log_evidence(x, kept=2).numpy()
    assert abs(np.median(gap)) < 0.05


def test_a_mask_in_a_hierarchy(double):
    x = Noise(0).normal((4, 1))
    batch = Batch(x, mask=torch.zeros(1))
    assert np.allclose(nll_importance(Chain(), [batch], Noise(0), Sampling(10, "prior")), 0)


@BOTH
def test_a_model_without_latents_is_exact(double, proposal: str):
    class Fixed(StandardNormal):
        def forward(self, c=None):
            return DiagonalGaussian(torch.zeros(4), torch.zeros(4))

    x = Noise(0).normal((7, 4))
    found = nll_importance(Direct(Fixed(4)).eval(), cut(x, 3), Noise(0), Sampling(1000, proposal))
    assert np.allclose(found, -DiagonalGaussian(torch.zeros(4), torch.zeros(4)).log_prob(x).numpy(), atol=1e-12)


def test_an_autoencoder_has_weights_only_from_its_prior():
    likelihood = LinearBernoulli(torch.ones(3, 2), torch.zeros(3))
    model = VAE(FirstTwo(), StandardNormal(2), likelihood).eval()
    with pytest.raises(ValueError, match="Point has no density"):
        nll_importance(model, [Batch(ALL_X)], Noise(0), Sampling(10))
    found = nll_importance(model, [Batch(ALL_X)], Noise(0), Sampling(20_000, "prior"))
    assert np.isclose(np.exp(-found).sum(), 1, atol=0.02)


class Living(TorchDispatchMode):
    """The most numbers that were alive at once in tensors made under it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and out.dtype.is_floating_point and not any(out is given for given in args):
            self.now += out.numel()
            self.most = max(self.most, self.now)
            weakref.finalize(out, self.gone, out.numel())
        return out

    def gone(self, numbers: int) -> None:
        self.now -= numbers


@BOTH
def test_memory_does_not_grow_with_the_number_of_samples(proposal: str):
    model, batch = Exact.make(3, 2).model(blur=1.3), Batch(Noise(0).normal((4, 3)))
    peaks = []
    for samples in (100, 2000):
        with Living() as seen:
            nll_importance(model, [batch], Noise(0), Sampling(samples, proposal, rows_per_chunk=40))
        peaks.append(seen.most)
    assert 64 * 3 < peaks[0] == peaks[1] < 4 * 2000


def test_no_gradient_is_recorded_and_inference_mode_ends_with_the_chunk():
    case = Exact.make()
    model = case.model()
    model.likelihood.a.requires_grad_()
    weights = log_weights(model, Batch(case.data(3)), Noise(0), Sampling(4, rows_per_chunk=3))
    assert not next(weights).requires_grad
    assert not torch.is_inference_mode_enabled()
    assert (model.likelihood.a * 2).requires_grad


def test_progress_and_iterators():
    case = Exact.make()
    told: list[tuple[int, int | None]] = []
    batches = iter(cut(case.data(25), 10))
    found = nll_importance(case.model(), batches, Noise(0), Sampling(3), lambda done, all: told.append((done, all)))
    assert len(found) == 25 and told == [(10, None), (20, None), (25, None)]


def test_what_is_refused(unchecked):
    case = Exact.make()
    with pytest.raises(ValueError, match="log_weights: the model is in training mode"):
        nll_importance(case.model().train(), [Batch(case.data(4))], Noise(0))
    with pytest.raises(ValueError, match="nll_importance: there are no data"):
        nll_importance(case.model(), [], Noise(0))
    with pytest.raises(ValueError, match="Sampling: samples must be an integer of at least 1, got 0"):
        Sampling(0)
    with pytest.raises(ValueError, match="Did you mean 'posterior'"):
        Sampling(10, "postrior")
