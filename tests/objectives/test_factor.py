"""FactorVAE: what each of the two players learns, and from what."""

from math import log

import pytest
import torch
from latents import passed, posterior, told
from torch import Tensor
from torch.testing import assert_close

import fourfold as ff
from fourfold.distributions import DiagonalGaussian
from fourfold.noise import Noise
from fourfold.objectives import ELBO, Discrimination, FactorVAE, discriminator


@pytest.fixture(autouse=True)
def seeded():
    """The same weights in every run."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def correlated(n: int, seed: int, rho: float) -> Tensor:
    """Draws of a Gaussian with unit variances, ``(1, n, 2)``."""
    e = Noise(seed, stream="z").normal((n, 2))
    return torch.stack((e[:, 0], rho * e[:, 0] + (1 - rho**2) ** 0.5 * e[:, 1]), -1)[None]


def test_a_taught_discriminator_tells_the_total_correlation_of_a_gaussian() -> None:
    rho, critic = 0.8, discriminator(2, (64, 64))
    teacher, asker = Discrimination(critic), FactorVAE(1.0, critic)
    optimiser = torch.optim.Adam(critic.parameters(), 2e-3, betas=(0.5, 0.9))
    for step in range(700):
        z = correlated(512, step, rho)
        terms = teacher(told(z, DiagonalGaussian(z[0], torch.zeros_like(z[0]))), Noise(0, stream="order", step=step))
        optimiser.zero_grad()
        (-terms.total.mean()).backward()
        optimiser.step()
    z = correlated(20_000, 10_000, rho)
    trace = told(z, DiagonalGaussian(z[0], torch.zeros_like(z[0])))
    found = asker(trace).parts["tc_ratio"].value.mean().item()
    assert found == pytest.approx(-0.5 * log(1 - rho**2), abs=0.05)  # 0.511
    parts = teacher(trace, Noise(1)).parts
    assert 0.6 < parts["accuracy"].value.mean() < 0.8
    assert -log(2) < parts["discrimination"].value.mean() < -0.5


def test_only_the_last_validation_is_judged_as_the_measure_moves_with_the_discriminator() -> None:
    objective = FactorVAE(5.0, discriminator(3, (16,)))
    assert [objective.settled(step, 10) for step in (0, 9, 10)] == [False, False, True]


def test_each_player_teaches_its_own_network_only() -> None:
    model = ff.recipes.vae(latent=3, hidden=(8,)).build(ff.data.digits().spec).model
    critic = discriminator(3, (16,))
    x = torch.ones(6, 1, 8, 8)
    (-FactorVAE(5.0, critic)(model(x, noise=Noise(0))).total.mean()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    assert all(p.grad is None for p in critic.parameters())
    model.zero_grad(set_to_none=True)
    (-Discrimination(critic)(model(x, noise=Noise(0)), Noise(1)).total.mean()).backward()
    assert all(p.grad is None or p.grad.abs().sum() == 0 for p in model.parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in critic.parameters())


def test_the_encoder_is_led_by_the_discriminator() -> None:
    q = posterior(5, 2)
    loc, log_scale = q.loc.float().requires_grad_(), q.log_scale.float()
    trace = passed(DiagonalGaussian(loc, log_scale))
    critic = discriminator(2, (8,))
    terms = FactorVAE(3.0, critic)(trace)
    logits = critic(trace.levels[0].z[0])
    assert_close(terms.total, ELBO()(trace).total - 3 * (logits[:, 0] - logits[:, 1]))
    with_tc, without = (torch.autograd.grad(o(trace).total.sum(), loc)[0] for o in (FactorVAE(3.0, critic), ELBO()))
    assert not torch.allclose(with_tc, without)


class Seen(torch.nn.Module):
    """Keeps what a discriminator was asked."""

    def forward(self, z: Tensor) -> Tensor:
        self.z = z
        return torch.stack((z[:, 0], -z[:, 0]), -1)


def test_each_latent_is_permuted_by_itself_over_the_batch() -> None:
    z = torch.arange(2 * 40 * 3.0).reshape(2, 40, 3)
    trace = told(z, DiagonalGaussian(torch.zeros(40, 3), torch.zeros(40, 3)))
    seen = Seen()
    Discrimination(seen, draws=2)(trace, Noise(0))
    joint, mixed = seen.z.reshape(2, 2, 40, 3)
    assert torch.equal(joint, z)
    assert torch.equal(mixed.sort(1).values, z)  # within each draw and latent, the same numbers
    moved = ((mixed - z) / 3).round()  # by how many rows each number was moved
    assert (moved != 0).float().mean() > 0.9
    assert not torch.equal(moved[..., 0], moved[..., 1]) and not torch.equal(moved[..., 1], moved[..., 2])
    assert not torch.equal(moved[0], moved[1])
    Discrimination(seen, draws=2)(trace, Noise(0))
    assert torch.equal(seen.z.reshape(2, 2, 40, 3)[1], mixed)  # the noise decides


def test_the_discrimination_is_written_out() -> None:
    trace = passed(DiagonalGaussian(torch.zeros(6, 2), torch.zeros(6, 2)))
    seen = Seen()
    terms = Discrimination(seen)(trace, Noise(0))
    joint, mixed = seen.z.reshape(2, 6, 2)
    right = torch.stack((torch.sigmoid(2 * joint[:, 0]), torch.sigmoid(-2 * mixed[:, 0])))
    assert_close(terms.total, right.log().mean(0))
    assert_close(terms.parts["accuracy"].value, (right > 0.5).float().mean(0))
    assert {"log_likelihood", "rate"} <= terms.parts.keys()
    assert all(terms.parts[name].weight == 0 for name in ("log_likelihood", "rate", "accuracy"))


def test_validation_has_the_weights_of_training() -> None:
    trace, critic = passed(DiagonalGaussian(torch.zeros(6, 2), torch.zeros(6, 2))), discriminator(2, (8,))
    for objective in (FactorVAE(5.0, critic), Discrimination(critic)):
        assert torch.equal(objective.train()(trace, Noise(0)).total, objective.eval()(trace, Noise(0)).total)


def test_the_paper_has_six_layers_of_a_thousand() -> None:
    layers = [m for m in discriminator(10) if isinstance(m, torch.nn.Linear)]
    assert [m.out_features for m in layers] == [1000] * 6 + [2]
