"""A posterior of each datum's own: the flow is invertible and knows its volume; slopes are those of the bound."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from exact_models import Exact
from torch import Tensor

from fourfold.distributions import (
    DiagonalGaussian,
    Distribution,
    FlowHead,
    FullGaussianHead,
    GaussianHead,
    Head,
    MixtureHead,
)
from fourfold.evaluation import Sampling, log_weights
from fourfold.evaluation.batches import Part
from fourfold.evaluation.bend import Bend
from fourfold.evaluation.local import Ascent, Local, climb, log_weight, weights
from fourfold.networks import gated
from fourfold.noise import Noise, NoiseSource

SHAPES = pytest.mark.parametrize("latent", [(1,), (2,), (5,), (2, 2, 2)], ids=str)


def bent(latent: tuple[int, ...], size: int = 3) -> Bend:
    """A map far from the identity."""
    draws = 2 * Noise(0).normal((50, size, *latent)) + 1
    bend = Bend.identity(draws, Noise(1))
    key = Noise(2)
    return bend.at(tuple(one + 0.5 * key.normal(tuple(one.shape)) for one in bend.parameters))


@SHAPES
def test_a_bend_starts_at_the_identity(double: None, latent: tuple[int, ...]) -> None:
    z = Noise(3).normal((4, 3, *latent))
    made, log_det = Bend.identity(2 * Noise(0).normal((50, 3, *latent)) + 1, Noise(1))(z)
    torch.testing.assert_close(made, z)
    assert log_det.shape == (4, 3) and not log_det.any()


@SHAPES
def test_a_bend_is_inverted_and_knows_its_volume(double: None, latent: tuple[int, ...]) -> None:
    bend, z = bent(latent), Noise(3).normal((4, 3, *latent))
    made, log_det = bend(z)
    assert (made - z).abs().mean() > 0.1
    back, again = bend.inverse(made)
    torch.testing.assert_close(back, z)
    torch.testing.assert_close(again, log_det)

    def of_one(flat: Tensor) -> Tensor:
        return bend(torch.cat([flat.reshape(1, 1, *latent), z[:1, 1:]], 1))[0][0, 0].flatten()

    jacobian = torch.autograd.functional.jacobian(of_one, z[0, 0].flatten())
    assert isinstance(jacobian, Tensor)
    torch.testing.assert_close(jacobian.slogdet().logabsdet, log_det[0, 0])


def test_each_datum_has_a_map_of_its_own(double: None) -> None:
    bend, z = bent((4,)), Noise(3).normal((1, 3, 4))
    before = bend(z)[0]
    z[:, 1] += 1
    after = bend(z)[0]
    assert after[:, [0, 2]].equal(before[:, [0, 2]]) and not after[:, 1].equal(before[:, 1])


def test_very_many_latents_go_without_the_matrix() -> None:
    few, many = (Bend.identity(Noise(0).normal((2, 1, n)), Noise(1)) for n in (512, 513))
    assert len(few.parameters) == 9 and len(many.parameters) == 8
    z = Noise(2).normal((2, 1, 513))
    torch.testing.assert_close(many.inverse(many(z)[0])[0], z)


HEADS: dict[str, Callable[[], Head]] = {
    "diagonal": lambda: GaussianHead(2),
    "full": lambda: FullGaussianHead(2),
    "mixture": lambda: MixtureHead(2, 2),
    "flow": lambda: FlowHead(2, gated(2, 3, hidden=(8,)), 3),
}


@pytest.mark.parametrize("with_bend", [False, True], ids=["plain", "bent"])
@pytest.mark.parametrize("name", list(HEADS))
def test_a_draw_and_its_density_are_the_same_along_the_path(double: None, name: str, with_bend: bool) -> None:
    head = HEADS[name]()
    q = Local.of(head(0.5 * Noise(0).normal((3, *head.raw_shape))), bent((2,)) if with_bend else None)
    for one, other in zip(q.draw(Noise(1), 6), q.along_the_path(Noise(1), 6), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("with_bend", [False, True], ids=["plain", "bent"])
@pytest.mark.parametrize("name", list(HEADS))
def test_slopes_along_the_path_are_those_of_the_bound_on_average(double: None, name: str, with_bend: bool) -> None:
    """Both estimators of ∇ E_q[log p(x, z) − log q(z)], for the raw numbers and for those of the bend."""
    torch.manual_seed(0)
    case, head = Exact.make(), HEADS[name]()
    batch, draws = Part(case.data(1), None, None), 20_000
    raw = (0.3 * Noise(0).normal((1, *head.raw_shape))).requires_grad_()
    bend = bent((2,), 1)
    more = tuple(one.detach().requires_grad_() for one in bend.parameters) if with_bend else ()

    def slopes(draw: Callable[[Local], tuple[Tensor, Tensor]]) -> Tensor:
        value = log_weight(case.model(), batch, *draw(Local.of(head(raw), bend.at(more) if more else None))).mean()
        return torch.cat([slope.flatten() for slope in torch.autograd.grad(value, (raw, *more))])

    exact, path = (slopes(lambda q: q.draw(Noise(1), draws)), slopes(lambda q: q.along_the_path(Noise(2), draws)))
    assert exact.norm() > 0.3
    assert (exact - path).norm() < 0.06 * exact.norm() + 0.05


def test_at_the_exact_posterior_the_slope_has_no_variance(double: None) -> None:
    case = Exact.make()
    q = case.model().posterior(case.data(4))
    assert isinstance(q, DiagonalGaussian)
    raw = torch.cat([q.loc, q.log_scale], -1).requires_grad_()
    batch = Part(case.data(4), None, None)
    for name, small in (("along_the_path", True), ("draw", False)):
        local = Local.of(GaussianHead(2)(raw))
        value = log_weight(case.model(), batch, *getattr(local, name)(Noise(0), 1)).sum()
        (slope,) = torch.autograd.grad(value, raw)
        assert (slope.abs().max() < 1e-10) == small


class Untold(DiagonalGaussian):
    """A family that does not tell its density at fixed parameters."""

    detached = Distribution.detached  # pyright: ignore


def test_a_family_without_a_density_at_fixed_parameters_takes_the_whole_slope(double: None) -> None:
    raw = torch.zeros(1, 2, requires_grad=True)
    q = Local.of(Untold(raw, raw))
    z, log_q = q.along_the_path(Noise(0), 5)
    assert log_q.equal(q.draw(Noise(0), 5)[1]) and log_q.requires_grad and z.requires_grad


def test_weights_are_those_of_importance_sampling_however_they_are_cut(double: None) -> None:
    case = Exact.make()
    model, batch = case.model(blur=1.3), Part(case.data(3), None, None)
    q = Local.of(model.posterior(batch.x))
    whole = torch.cat(list(weights(model, batch, q, Noise(0), 100, 10_000)))
    parts = list(weights(model, batch, q, Noise(0), 100, 64))
    assert whole.shape == (100, 3) and len(parts) > 1
    torch.testing.assert_close(torch.cat(parts), whole)
    sampled = list(log_weights(model, batch, Noise(5), Sampling(100)))
    torch.testing.assert_close(
        torch.cat(sampled), torch.cat(list(weights(model, batch, q, Noise(5).fork("z"), 100, 64)))
    )


def test_the_climb_finds_the_top_datum_by_datum_and_tells_how_it_still_rose(double: None) -> None:
    """−½ (p − t)² for three data, one of which starts at its top."""
    top, told = torch.tensor([[0.0], [1.0], [-2.0]]), []

    def bound(parameters: tuple[Tensor, ...], noise: NoiseSource) -> Tensor:
        epsilon = noise.normal((4, 3, 1), 1)
        assert epsilon.sum(0).abs().max() < 1e-12  # pairs
        return -0.5 * (parameters[0] - top).square().sum(-1) + 0.1 * epsilon[..., 0]

    ascent = Ascent(steps=400, draws=4, lr=0.05)
    (end,), rise = climb(bound, (torch.zeros(3, 1),), Noise(0), ascent, told.append)
    torch.testing.assert_close(end, top, atol=1e-3, rtol=0)
    assert abs(rise).max() < 1e-3 and told == [12] * 400
    _, rise = climb(bound, (torch.zeros(3, 1),), Noise(0), Ascent(steps=20, draws=4, lr=0.01), told.append)
    # At 0.01 a step: from the mean of steps 8 and 9 to that of 10 and 11, p moves by 0.02 from about 0.09.
    np.testing.assert_allclose(rise, [0.0, 0.02 * 0.9, 0.02 * 1.9], atol=2e-3)
