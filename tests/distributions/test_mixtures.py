"""Mixtures against torch's own, and the gradient of their draws against closed forms and finite differences."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal
from torch.testing import assert_close

from fourfold.distributions import DiagonalGaussian, FullGaussian, Mixture, MixtureHead, Point
from fourfold.distributions import mixture as module
from fourfold.distributions.implicit import implicit_draw
from fourfold.noise import Noise, Recorder

K, D = 3, 2


def parameters(lead: tuple[int, ...] = ()) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of the weights, means and log-scales."""
    draw = Noise(0, stream="parameters").normal
    return draw((*lead, K)), 1.5 * draw((*lead, K, D)), 0.3 * draw((*lead, K, D)) - 0.3


def of(logits: Tensor, loc: Tensor, log_scale: Tensor) -> Mixture:
    return Mixture(logits, DiagonalGaussian(loc, log_scale))


def torchs(logits: Tensor, loc: Tensor, log_scale: Tensor) -> MixtureSameFamily:
    parts = Independent(Normal(loc, log_scale.exp(), validate_args=False), 1, validate_args=False)
    return MixtureSameFamily(Categorical(logits=logits, validate_args=False), parts, validate_args=False)


@pytest.mark.parametrize("lead", [(), (5,), (2, 5)], ids=str)
@pytest.mark.parametrize("at_once", [1, 40, 1 << 22])
def test_the_density_is_torchs(lead, at_once, double, monkeypatch):
    monkeypatch.setattr(module, "_AT_ONCE", at_once)
    given = parameters(lead)
    p, wanted = of(*given), torchs(*given)
    assert p.lead_shape == lead and p.event_shape == (D,)
    for front in ((), (4,), (3, 4)):
        x = 2 * Noise(1).normal((*front, *lead, D))
        assert_close(p.log_prob(x), wanted.log_prob(x), rtol=1e-12, atol=1e-12)
    assert_close(p.mean, wanted.mean)
    assert p.centre.equal(p.mean)


def test_expanding_repeats_it(double):
    p, x = of(*parameters((5,))), Noise(1).normal((5, D))
    wide = p.expand((7, 5))
    assert wide.lead_shape == (7, 5) and wide.sample(Noise(0)).shape == (7, 5, D)
    assert_close(wide.log_prob(x), p.log_prob(x).expand(7, 5))
    assert_close(wide.mean, p.mean.expand(7, 5, D))
    alone = of(*parameters())
    assert_close(alone.expand((5,)).log_prob(x), alone.log_prob(x))


def test_other_families_and_masks_sum_over_components(double):
    logits, loc, log_scale = parameters()
    full = Mixture(logits, FullGaussian(loc, torch.diag_embed(log_scale.exp())))
    p, x = of(logits, loc, log_scale), Noise(1).normal((4, 5, D))
    assert_close(full.log_prob(x), p.log_prob(x), rtol=1e-12, atol=1e-12)
    mask = torch.tensor([1.0, 0.0])
    first = of(logits, loc[:, :1], log_scale[:, :1])
    assert_close(p.log_prob(x, mask), first.log_prob(x[..., :1]))
    assert_close(p.log_prob(x, torch.ones(5, D)), p.log_prob(x))
    assert p.kl(p) is None and p.kl(p.components) is None
    with pytest.raises(ValueError, match="no closed-form entropy"):
        p.entropy()


def test_far_from_the_origin_nothing_cancels():
    """σ = 10⁻³ at 100: the expanded square has 10¹⁰ in it."""
    loc, log_scale = torch.full((K, D), 100.0), torch.full((K, D), -6.9)
    p, x = of(torch.zeros(K), loc, log_scale), torch.full((1, D), 100.0005)
    assert_close(p.log_prob(x), DiagonalGaussian(loc[0], log_scale[0]).log_prob(x), rtol=1e-5, atol=1e-4)


def test_memory_does_not_grow_with_the_number_of_events(monkeypatch):
    seen: list[int] = []
    score = Mixture._scored

    def watched(self: Mixture, x: Tensor, mask: Tensor | None) -> Tensor:
        seen.append(len(x))
        return score(self, x, mask)

    monkeypatch.setattr(Mixture, "_scored", watched)
    monkeypatch.setattr(module, "_AT_ONCE", 60)
    of(*parameters()).log_prob(torch.zeros(7, 9, D))
    assert sum(seen) == 63 and max(seen) == 10


@pytest.mark.parametrize("family", ["diagonal", "full", "all"])
def test_draws_have_the_moments(family, double):
    logits, loc, log_scale = parameters((2,))
    p = of(logits, loc, log_scale)
    if family == "full":
        p = Mixture(logits, FullGaussian(loc, torch.diag_embed(log_scale.exp())))
    if family == "all":
        p = Mixture(logits, _Whole(loc, log_scale))
    z, wanted = p.sample(Noise(2), 200_000), torchs(logits, loc, log_scale)
    assert_close(z.mean(0), wanted.mean, atol=0.02, rtol=0)
    assert_close(z.var(0), wanted.variance, atol=0.05, rtol=0.02)
    inside = Normal(loc, log_scale.exp()).cdf(torch.tensor(0.4)).prod(-1)  # P(z₁, z₂ < 0.4): the joint, not marginals
    assert_close((z < 0.4).all(-1).double().mean(0), (logits.softmax(-1) * inside).sum(-1), atol=0.01, rtol=0)
    assert p.sample(Noise(3)).shape == (2, D) and p.sample(Noise(3), 4).equal(p.sample(Noise(3), 4))


class _Whole(DiagonalGaussian):
    """A family that offers no single components, as a flow."""

    chosen = None  # type: ignore[assignment]


@pytest.mark.parametrize("whole", [False, True])
def test_noise_is_cut_along_the_batch(whole):
    def made(part: slice) -> Mixture:
        logits, loc, log_scale = (v[part] for v in parameters((6,)))
        return Mixture(logits, (_Whole if whole else DiagonalGaussian)(loc, log_scale))

    p = made(slice(None))
    assert made(slice(3, 6)).sample(Noise(3, shard=(1, 2)), 2).equal(p.sample(Noise(3), 2)[:, 3:])
    source = Recorder(Noise(0))
    p.sample(source, 2)
    assert {request.batch for request in source.requests} == {1}
    prior = Mixture(torch.zeros(K), (_Whole if whole else DiagonalGaussian)(torch.zeros(K, D), torch.zeros(K, D)))
    assert prior.sample(Noise(0)).shape == (D,) and prior.sample(Noise(0), 4).shape == (4, D)
    assert prior.expand((5,)).sample(Noise(0), 4).shape == (4, 5, D)


# -- the gradient of a draw ------------------------------------------------------------------------------------------


def through(function: Callable[[Tensor], Tensor], given: tuple[Tensor, ...]) -> list[Tensor]:
    """Means over groups of draws of the gradient of E_q[f(z)], ``(groups, …)`` for each parameter."""
    made = []
    for i in range(60):
        value = function(of(*given).sample(Noise(1, step=i), 5000)).mean()
        made.append(torch.autograd.grad(value, given))
    return [torch.stack(values) for values in zip(*made, strict=True)]


def test_the_gradient_of_a_mean_over_draws_is_unbiased_for_weights_means_and_scales(double):
    """E cos(aᵀz + b) is known for a mixture of Gaussians."""
    given = tuple(value.requires_grad_() for value in parameters())
    a, b = torch.tensor([0.8, -0.6]), 0.5
    logits, loc, log_scale = given
    exact = (logits.softmax(-1) * torch.cos(loc @ a + b) * (-0.5 * (a * log_scale.exp()).square().sum(-1)).exp()).sum()
    wanted = torch.autograd.grad(exact, given)
    for found, value in zip(through(lambda z: torch.cos(z @ a + b), given), wanted, strict=True):
        error = found.std(0) / len(found) ** 0.5
        assert ((found.mean(0) - value).abs() < 4.5 * error).all()
        assert (value.abs() > 5 * error).any(), "this test would not see a gradient of 0"


def inverse(uniform: Tensor, logits: Tensor, loc: Tensor, log_scale: Tensor) -> Tensor:
    """z with F_d(z_d | z_<d) = u_d, by bisection: what a draw is a function of, and has a plain derivative."""
    weights, z = logits.softmax(-1), []
    for d in range(loc.shape[-1]):
        part = Normal(loc[:, d], log_scale[:, d].exp())
        low, high = torch.tensor(-30.0), torch.tensor(30.0)
        for _ in range(80):
            middle = 0.5 * (low + high)
            above = (weights * part.cdf(middle)).sum() > uniform[d]
            low, high = (low, middle) if above else (middle, high)
        z.append(0.5 * (low + high))
        weights = weights * part.log_prob(z[-1]).exp()
        weights = weights / weights.sum()
    return torch.stack(z)


def test_a_draw_moves_as_the_inverse_of_its_distribution_function_does(double):
    given = tuple(torch.cat((v, v[..., :1] - 0.4), -1) if v.ndim > 1 else v for v in parameters())  # three elements
    for value in given:
        value.requires_grad_()
    z = of(*given).sample(Noise(5))
    size = z.numel()
    with torch.no_grad():  # the uniforms of this very draw
        weights, uniform = given[0].softmax(-1), []
        for d in range(size):
            part = Normal(given[1][:, d], given[2][:, d].exp())
            uniform.append((weights * part.cdf(z[d])).sum())
            weights = weights * part.log_prob(z[d]).exp()
            weights = weights / weights.sum()
        assert_close(inverse(torch.stack(uniform), *given), z, rtol=1e-9, atol=1e-9)
    rows = [torch.autograd.grad(z[d], given, retain_graph=True) for d in range(size)]
    step = 1e-5
    with torch.no_grad():
        for i, value in enumerate(given):
            for j in range(value.numel()):
                flat = value.view(-1)
                kept = flat[j].item()
                moved = []
                for sign in (1, -1):
                    flat[j] = kept + sign * step
                    moved.append(inverse(torch.stack(uniform), *given))
                flat[j] = kept
                numeric = (moved[0] - moved[1]) / (2 * step)
                assert_close(torch.stack([row[i].reshape(-1)[j] for row in rows]), numeric, rtol=1e-5, atol=1e-6)


def test_one_component_moves_as_a_gaussian(double):
    loc, log_scale = Noise(0).normal((5, 1, D)).requires_grad_(), (0.2 * Noise(1).normal((5, 1, D))).requires_grad_()
    logits = torch.zeros(5, 1, requires_grad=True)
    z = of(logits, loc, log_scale).sample(Noise(2), 3)
    epsilon = ((z - loc[:, 0]) / log_scale[:, 0].exp()).detach()
    plain = loc[:, 0] + log_scale[:, 0].exp() * epsilon
    weights = Noise(3).normal(tuple(z.shape))
    found, wanted = (torch.autograd.grad((weights * value).sum(), (loc, log_scale)) for value in (z, plain))
    assert_close(found, wanted, rtol=1e-9, atol=1e-9)


def test_the_gradient_has_the_gradient_of_finite_differences(double):
    given, uniform = parameters(), torch.tensor([0.3, 0.8])

    def slope(*at: Tensor) -> Tensor:
        """Gradient of Σ z³ by the weights, means and scales, at the draw that has these uniforms."""
        own = tuple(value.requires_grad_() for value in at)
        p = of(*own)
        z = implicit_draw(inverse(uniform, *own).detach(), p.log_weights, p.components)
        return torch.cat([g.flatten() for g in torch.autograd.grad((z**3).sum(), own, create_graph=True)])

    shapes = [value.shape for value in given]
    start = torch.cat([value.flatten() for value in given])

    def cut(flat: Tensor) -> list[Tensor]:
        parts = flat.split([shape.numel() for shape in shapes])
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    at = start.clone().requires_grad_()
    found = slope(*cut(at))
    second = torch.stack([torch.autograd.grad(value, at, retain_graph=True)[0] for value in found])
    assert_close(second, second.T, rtol=1e-9, atol=1e-9)
    for i in range(len(start)):
        step = torch.zeros_like(start)
        step[i] = 1e-5
        numeric = (slope(*cut(start + step)) - slope(*cut(start - step))).detach() / 2e-5
        assert_close(second[:, i], numeric, rtol=1e-4, atol=1e-5)


def test_a_gradient_that_cannot_be_right_is_refused(double):
    given = tuple(value.requires_grad_() for value in parameters())
    full = Mixture(given[0], FullGaussian(given[1], torch.diag_embed(given[2].exp())))
    with pytest.raises(ValueError, match="FullGaussian has no gradient in the weights"):
        full.sample(Noise(0))
    with torch.no_grad():
        assert full.sample(Noise(0)).shape == (D,)
    fixed = Mixture(torch.zeros(K), FullGaussian(given[1], torch.diag_embed(given[2].exp())))
    assert fixed.sample(Noise(0)).requires_grad


def test_events_of_several_dimensions_and_extreme_draws_have_finite_gradients():
    logits, loc = torch.zeros(5, K, requires_grad=True), (30 * Noise(0).normal((5, K, 2, 3))).requires_grad_()
    log_scale = (Noise(1).normal((5, K, 2, 3)) - 5).requires_grad_()
    p = Mixture(logits, DiagonalGaussian(loc, log_scale, event_ndim=2))
    z, log_q = p.sample_with_log_prob(Noise(2), 50)
    assert z.shape == (50, 5, 2, 3) and log_q is not None and log_q.shape == (50, 5)
    gradients = torch.autograd.grad((log_q - z.square().sum((-2, -1))).mean(), (logits, loc, log_scale))
    assert all(g.isfinite().all() for g in gradients)


def test_detached_parameters_leave_the_gradient_in_z(double):
    given = tuple(value.requires_grad_() for value in parameters((5,)))
    p = of(*given)
    z = p.sample(Noise(0))
    assert_close(p.detached().log_prob(z), p.log_prob(z))
    assert p.detached().log_prob(z).requires_grad and not p.detached().log_prob(z.detach()).requires_grad


def test_the_head_gives_weights_means_and_scales():
    head = MixtureHead((2, 2), components=3)
    assert head.raw_shape == (27,)
    raw = Noise(0).normal((7, 5, 27), dtype=torch.bfloat16)
    p = head(raw)
    assert p.lead_shape == (7, 5) and p.event_shape == (2, 2) and p.log_weights.dtype == torch.float32
    assert_close(p.log_weights, raw[..., :3].float().log_softmax(-1))
    assert isinstance(p.components, DiagonalGaussian)
    assert p.components.loc[0, 0, 1].equal(raw[0, 0, 7:11].float().reshape(2, 2))
    with pytest.raises(ValueError, match="see raw_shape"):
        _ = head.per_element
    with pytest.raises(ValueError, match="MixtureHead: components must be an integer of at least 1"):
        MixtureHead(2, 0)


def test_what_is_wrong_is_said():
    with pytest.raises(ValueError, match="Mixture: wanted components with a density, got Point"):
        Mixture(torch.zeros(K), Point(torch.zeros(K, D)))
    with pytest.raises(ValueError, match=r"log_weights must have the shape.*\(3,\), got \(2,\)"):
        of(torch.zeros(2), torch.zeros(K, D), torch.zeros(K, D))


@pytest.mark.parametrize("lead", [(), (5,)], ids=str)
def test_densities_draws_and_their_gradients_are_in_single_precision_under_autocast(lead):
    found = []
    for enabled in (True, False):
        given = tuple(value.requires_grad_() for value in parameters(lead))
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            p = of(*given)
            z = p.sample(Noise(1), 3)
            log_q = p.log_prob(z)
            found.append((z, log_q, *torch.autograd.grad(log_q.sum() + z.square().sum(), given)))
    assert all(value.dtype == torch.float32 for value in found[0])
    for under, exact in zip(*found, strict=True):
        assert_close(under, exact, rtol=0, atol=0)
