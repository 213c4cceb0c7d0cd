"""The learned mixture and the VampPrior."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from fourfold.conditional import Conditional, NetworkConditional
from fourfold.distributions import GaussianHead, Mixture
from fourfold.likelihoods import bernoulli
from fourfold.models import VAE
from fourfold.networks import Dense
from fourfold.noise import Noise
from fourfold.objectives import ELBO
from fourfold.posteriors import full_gaussian, gaussian, iaf, mixture, point
from fourfold.priors import GaussianMixture, VampPrior
from fourfold.training.checkpoint import module_tensors, restore_module

DATA, L, K = (1, 4, 3), 2, 7
NETWORK = partial(Dense, hidden=(8,), activation="tanh")
POSTERIORS = {"diagonal": gaussian, "full": full_gaussian, "mixture": partial(mixture, components=3), "iaf": iaf}


@pytest.fixture(autouse=True)
def seeded():
    """The same weights in every run."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def model(kind: str = "diagonal") -> VAE:
    q = POSTERIORS[kind](NETWORK, DATA, L)
    return VAE(q, VampPrior(q, DATA, K), bernoulli(NETWORK, (L,), DATA))


def images(n: int = 5) -> Tensor:
    return Noise(0).uniform((n, *DATA)).round()


@pytest.mark.parametrize("kind", POSTERIORS)
def test_one_pseudo_input_is_the_posterior_there(kind, double):
    q = POSTERIORS[kind](NETWORK, DATA, L)
    prior, z = VampPrior(q, DATA, components=1), Noise(1).normal((3, 5, L))
    assert_close(prior().log_prob(z), q(prior.pseudo_inputs).expand((3, 5)).log_prob(z), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", POSTERIORS)
def test_the_density_is_the_mean_over_pseudo_inputs(kind, double):
    q = POSTERIORS[kind](NETWORK, DATA, L)
    prior, z = VampPrior(q, DATA, K), Noise(1).normal((3, 5, L))
    each = torch.stack([q(u[None]).expand((3, 5)).log_prob(z) for u in prior.pseudo_inputs])
    assert_close(prior().log_prob(z), each.exp().mean(0).log(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["diagonal", "full", "mixture"])
def test_its_density_integrates_to_one(kind, double):
    """So 2π is in it."""
    prior = VampPrior(POSTERIORS[kind](NETWORK, DATA, 1), DATA, K, spread=1.0)
    line = torch.linspace(-15, 15, 4001)
    with torch.no_grad():
        total = prior().log_prob(line[:, None]).exp().sum() * (line[1] - line[0])
    assert_close(total, torch.ones(()), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", POSTERIORS)
def test_a_model_trains_samples_and_scores_with_it(kind):
    vae = model(kind)
    trace = vae(images(), draws=3, noise=Noise(1))
    assert trace.log_weight.shape == (3, 5) and trace.log_weight.isfinite().all()
    (-ELBO()(trace).total.mean()).backward()
    for name, parameter in vae.named_parameters():
        assert parameter.grad is not None and (parameter.grad != 0).any(), name
    assert vae.sample(6, noise=Noise(2)).shape == (6, *DATA)
    again = vae.at(images(), (trace.levels[0].z,))
    assert_close(again.log_weight, trace.log_weight, rtol=1e-3, atol=1e-3)


def test_the_posterior_is_shared_and_counted_once():
    vae = model()
    assert vae.prior.posterior is vae.posterior
    alone = sum(p.numel() for part in (vae.posterior, vae.likelihood) for p in part.parameters())
    assert sum(p.numel() for p in vae.parameters()) == alone + K * 12
    kept = module_tensors(vae)
    assert sum(v.numel() for v in kept.values()) == alone + K * 12
    assert not any(name.startswith("prior.posterior") for name in kept)
    torch.manual_seed(1)
    other = model()
    restore_module(other, kept, "here")
    assert other.prior.posterior is other.posterior
    x = images()
    assert other(x, noise=Noise(1)).log_weight.equal(vae(x, noise=Noise(1)).log_weight)


def test_pseudo_inputs_stay_within_their_bounds_and_begin_near_the_mean():
    q = gaussian(NETWORK, DATA, L)
    mean = torch.linspace(0, 1, 12).reshape(DATA)
    prior = VampPrior(q, DATA, 100, mean)
    assert_close(prior.pseudo_inputs.mean(0), mean.clamp(0.05, 0.95), atol=0.01, rtol=0)
    assert 0.005 < prior.pseudo_inputs.std(0).mean() < 0.02
    assert_close(VampPrior(q, DATA, 100).pseudo_inputs.mean(), torch.tensor(0.05), atol=0.01, rtol=0)
    with torch.no_grad():
        prior.free[0], prior.free[1] = 3.0, -3.0
    assert (prior.pseudo_inputs[0] == 1).all() and (prior.pseudo_inputs[1] == 0).all()
    free = VampPrior(q, DATA, 100, spread=1.0, bounds=None)
    assert free.pseudo_inputs.min() < -1 and free.pseudo_inputs.std() > 0.7
    rows = Noise(4).uniform((3, *DATA))
    own = VampPrior(q, DATA, 3, rows, spread=1e-6, bounds=None)
    assert_close(own.pseudo_inputs, rows, atol=1e-5, rtol=0)


class Moody(Conditional):
    """An encoder with dropout and batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        body = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2 * L))
        self.inner = NetworkConditional(body, GaussianHead(L), DATA)

    def forward(self, context: Tensor, c: Tensor | None = None):
        return self.inner(context)


def test_pseudo_inputs_are_seen_as_in_evaluation():
    prior = VampPrior(Moody(), DATA, K).train()
    before = {name: value.clone() for name, value in prior.state_dict().items()}
    z = Noise(0).normal((5, L))
    trained = prior().log_prob(z)
    assert trained.equal(prior().log_prob(z)) and trained.equal(prior.eval()().log_prob(z))
    assert all(value.equal(before[name]) for name, value in prior.state_dict().items())
    assert not any(m.training for m in prior.modules())
    prior.train()()
    assert all(m.training for m in prior.modules())


def test_what_is_wrong_is_said():
    with pytest.raises(ValueError, match="VampPrior: this posterior gives a Point, which has no density"):
        VampPrior(point(NETWORK, DATA, L), DATA, K)
    with pytest.raises(ValueError, match="VampPrior: this posterior looks at c"):
        VampPrior(gaussian(NETWORK, DATA, L, (3,)), DATA, K)
    with pytest.raises(ValueError, match=r"VampPrior: bounds must be \(least, greatest\)"):
        VampPrior(gaussian(NETWORK, DATA, L), DATA, K, bounds=(1.0, 0.0))
    with pytest.raises(ValueError, match=r"VampPrior: mean must be one datum \(1, 4, 3\).*got \(12,\)"):
        VampPrior(gaussian(NETWORK, DATA, L), DATA, K, torch.zeros(12))
    with pytest.raises(ValueError, match="VampPrior: components must be an integer of at least 1"):
        VampPrior(gaussian(NETWORK, DATA, L), DATA, 0)
    with pytest.raises(ValueError, match="NetworkConditional: wanted a context ending in"):
        VampPrior(gaussian(NETWORK, DATA, L), (12,), K)
    with pytest.raises(ValueError, match="GaussianMixture: spread must be at least 0 and below 1"):
        GaussianMixture(L, K, spread=1.0)


def test_the_learned_mixture_begins_with_the_moments_of_the_standard_normal():
    prior = GaussianMixture(3, components=500, spread=0.6)
    p = prior()
    assert isinstance(p, Mixture) and p.event_shape == (3,) and p.lead_shape == ()
    z = p.expand((5000,)).sample(Noise(0))
    assert_close(z.mean(0), torch.zeros(3), atol=0.15, rtol=0)
    assert_close(z.var(0), torch.ones(3), atol=0.15, rtol=0)
    (-p.log_prob(torch.randn(5, 3, generator=torch.Generator().manual_seed(0))).mean()).backward()
    assert all(v.grad is not None and (v.grad != 0).any() for v in prior.parameters())
    assert GaussianMixture((2, 2), 3)().sample(Noise(0), 5).shape == (5, 2, 2)


def test_the_learned_mixture_finds_two_groups():
    """Fitted to draws of ½ N(−3, 0.25) + ½ N(3, 0.25): the entropy is that of one group and a coin flip."""
    prior = GaussianMixture(1, components=2)
    sign = Noise(0).uniform((2000, 1)).round() * 2 - 1
    z = 3 * sign + 0.5 * Noise(1).normal((2000, 1))
    optimiser = torch.optim.Adam(prior.parameters(), lr=0.05)
    for _ in range(300):
        optimiser.zero_grad()
        loss = -prior().log_prob(z).mean()
        loss.backward()
        optimiser.step()
    wanted = 0.5 * torch.tensor(2 * torch.pi * torch.e * 0.25).log() + torch.tensor(2.0).log()
    assert abs(loss.item() - wanted.item()) < 0.05
    assert sorted(prior.loc.flatten().round().tolist()) == [-3, 3]


def test_pseudo_inputs_go_where_the_data_are():
    """Under q(z | x) = N(x, 0.25), codes of data at −3 and 3 are most likely if the pseudo-inputs are at −3 and 3."""
    q = NetworkConditional(nn.Linear(1, 1), GaussianHead(1, 0.5), 1)
    assert isinstance(q.network, nn.Linear)
    with torch.no_grad():
        q.network.weight.fill_(1.0)
        q.network.bias.zero_()
    prior = VampPrior(q, 1, components=2, spread=1.0, bounds=None)
    z = 3 * (Noise(0).uniform((2000, 1)).round() * 2 - 1) + 0.5 * Noise(1).normal((2000, 1))
    optimiser = torch.optim.Adam([prior.free], lr=0.1)
    for _ in range(100):
        optimiser.zero_grad()
        (-prior().log_prob(z).mean()).backward()
        optimiser.step()
    assert_close(prior.pseudo_inputs.flatten().sort().values, torch.tensor([-3.0, 3.0]), atol=0.05, rtol=0)
