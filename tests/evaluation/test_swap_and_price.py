"""Two small measurements in models where the answer is known: latents swapped, and what a nat of rate buys."""

import numpy as np
import pytest
import torch
from exact_models import Batch, Linear, cut

import fourfold as ff
from fourfold.evaluation.price import Unpriced, price
from fourfold.evaluation.swap import swap
from fourfold.models import VAE, BottomUp
from fourfold.noise import Noise
from fourfold.plan import Plan
from fourfold.posteriors import point
from fourfold.priors import StandardNormal

DIGITS = ff.data.digits()
SLOPES, SCALE = torch.tensor([1.5, 0.5, 0.0]), 0.6


def scaled(beta: float) -> VAE:
    """x_d = w_d z_d + noise, with the q that is best for E log p(x|z) − β KL."""
    w = SLOPES.to(torch.get_default_dtype())
    variance = 1 / (1 + w**2 / (beta * SCALE**2))
    q = Linear(torch.diag(variance * w / (beta * SCALE**2)), torch.zeros(3), variance.sqrt())
    return VAE(q, StandardNormal(3), Linear(torch.diag(w), torch.zeros(3), torch.full((3,), SCALE))).eval()


def data(n: int, seed: int = 0) -> torch.Tensor:
    noise = Noise(seed)
    w = SLOPES.to(torch.get_default_dtype())
    return noise.normal((n, 3)) * w + SCALE * noise.normal((n, 3))


@pytest.mark.parametrize("beta", [0.2, 1.0, 5.0])
def test_at_the_best_posterior_the_price_is_beta(beta: float, double: None) -> None:
    found = price(scaled(beta), cut(data(2000), 700), Noise(1), draws=8, step=0.02)
    assert found.moves and found.error < 0.05 * beta
    assert found.value == pytest.approx(beta, abs=4 * found.error + 0.01 * beta)


def test_the_rate_that_is_moved_is_that_of_the_formula(double: None) -> None:
    model, h = scaled(1.0), 0.1
    found = price(model, cut(data(5), 5), Noise(0), step=h)
    variance = model.posterior.scale.square()
    exact = 6 * h + 0.5 * (np.exp(-2 * h) - np.exp(2 * h)) * float(variance.sum())
    np.testing.assert_allclose(found.rate, exact, rtol=1e-12)


def test_a_chain_has_a_price_too(double: None) -> None:
    """z₂ → z₁ → x, all Gaussian with exact posteriors: both levels get narrower together, and the price is 1."""
    one = torch.ones(1, 1)
    q1 = Linear(one * 2 / 3, torch.zeros(1), torch.tensor([(2 / 3) ** 0.5]))  # of z₁ ~ N(0, 2) given x = z₁ + N(0, 1)
    q2 = Linear(one / 2, torch.zeros(1), torch.tensor([0.5**0.5]))
    p1, p_x = Linear(one, torch.zeros(1), torch.ones(1)), Linear(one, torch.zeros(1), torch.ones(1))
    model = BottomUp([q1, q2], StandardNormal(1), [p1], p_x, [(1,), (1,)]).eval()
    x = 3**0.5 * Noise(0).normal((4000, 1))
    found = price(model, cut(x, 4000), Noise(1), draws=4, step=0.02)
    assert found.value == pytest.approx(1, abs=4 * found.error) and found.error < 0.05


def test_a_collapsed_posterior_has_no_price() -> None:
    q = Linear(torch.zeros(3, 3), torch.zeros(3), torch.ones(3))
    p = Linear(torch.zeros(3, 3), torch.zeros(3), torch.ones(3))
    found = price(VAE(q, StandardNormal(3), p).eval(), cut(data(50), 50), Noise(0))
    assert not found.moves and np.isnan(found.value) and np.isnan(found.error)


def built(plan: Plan) -> ff.models.Model:
    return plan.build(DIGITS.spec).model.eval()


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (ff.recipes.autoencoder(latent=2, hidden=(4,)), "Point has no scale"),
        (ff.recipes.iaf_vae(latent=2, hidden=(4,)), "has no scale of its own"),
        (ff.recipes.pixel_cnn(layers=1, filters=2, kernel=3), "no latents"),
    ],
)
def test_others_say_why_they_have_no_price(plan: Plan, said: str) -> None:
    with pytest.raises(Unpriced, match=said):
        price(built(plan), [Batch(torch.ones(3, 1, 8, 8))], Noise(0))


def test_each_datum_is_given_the_latents_of_one_other_in_one_cycle(double: None) -> None:
    model = scaled(1.0)
    model.posterior = point(torch.nn.Linear(3, 3), (3,), 3).double()
    x = data(40)
    found = swap(model, lambda: cut(x, 15), Noise(3))
    z = model.posterior(x).mean
    every = model.likelihood(z).log_prob(x[:, None].expand(40, 40, 3)).detach().numpy()  # row: whose x, column: whose z
    np.testing.assert_allclose(found.own, np.diag(every), rtol=1e-12)
    partner = np.abs(every - found.other[:, None]).argmin(1)
    np.testing.assert_allclose(every[np.arange(40), partner], found.other, rtol=1e-12)
    seen, at = set(), 0
    while at not in seen:
        seen.add(at)
        at = int(partner[at])
    assert len(seen) == 40
    assert found.mean == pytest.approx((found.own - found.other).mean())
    assert swap(model, lambda: cut(x, 40), Noise(3)).drop.shape == (40,)


def test_with_the_exact_posterior_the_drop_is_the_information_both_ways(double: None) -> None:
    """E log p(x|z)/p(x) over p(x, z), less the same over p(x) p(z): I, and the lautum information of x and z."""
    x = data(4000)
    found = swap(scaled(1.0), lambda: cut(x, 4000), Noise(1))
    ratio = (SLOPES.double() / SCALE).square()  # of each dimension: signal to noise
    both = float(ratio.sum())  # ½ log(1 + r) and −½ log(1 + r) + r
    assert found.mean == pytest.approx(both, abs=4 * found.error) and found.error < 0.2


def test_a_decoder_that_is_deaf_loses_nothing_and_a_label_stays_with_its_datum() -> None:
    p = Linear(torch.zeros(3, 3), torch.zeros(3), torch.ones(3))
    model = scaled(1.0)
    model.likelihood = p
    found = swap(model, lambda: cut(data(30), 10), Noise(0))
    assert (found.drop == 0).all() and found.error == 0
    labelled = built(ff.recipes.cvae(latent=2, hidden=(4,)))
    batch = Batch(torch.ones(6, 1, 8, 8), torch.arange(6))
    assert swap(labelled, lambda: [batch], Noise(0), draws=3).drop.shape == (6,)


def test_levels_are_swapped_together_and_pixels_are_scored_too() -> None:
    x = Batch((Noise(0).uniform((8, 1, 8, 8)) < 0.5).float())
    for plan in (
        ff.recipes.hvae(latents=(3, 2), hidden=(8, 4)),
        ff.recipes.pixel_vae(latent=2, layers=1, filters=2, kernel=3, network="dense", hidden=(4,)),
        ff.recipes.autoencoder(latent=2, hidden=(4,)),
    ):
        assert np.isfinite(swap(built(plan), lambda: [x], Noise(0)).drop).all()


def test_what_cannot_be_swapped_is_refused() -> None:
    batch = Batch(torch.ones(3, 1, 8, 8))
    with pytest.raises(ValueError, match="nothing to swap"):
        swap(built(ff.recipes.pixel_cnn(layers=1, filters=2, kernel=3)), lambda: [batch], Noise(0))
    with pytest.raises(ValueError, match="at least 2 data"):
        swap(built(ff.recipes.vae(latent=2, hidden=(4,))), lambda: [Batch(torch.ones(1, 1, 8, 8))], Noise(0))
