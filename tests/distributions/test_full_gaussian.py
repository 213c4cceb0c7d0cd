"""The Gaussian with a full covariance matrix, against torch's own and against sums over draws."""

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal
from torch.testing import assert_close

from fourfold.distributions import Bernoulli, DiagonalGaussian, FullGaussian, FullGaussianHead
from fourfold.noise import Noise, Recorder

D = 4


def factor(lead: tuple[int, ...] = (), seed: int = 0) -> Tensor:
    """A lower triangular matrix with a positive diagonal."""
    raw = Noise(seed, stream="factor").normal((*lead, D, D))
    return raw.tril(-1) + torch.diag_embed(raw.diagonal(dim1=-2, dim2=-1).exp())


def example(lead: tuple[int, ...] = (5,), seed: int = 0) -> FullGaussian:
    return FullGaussian(Noise(seed, stream="loc").normal((*lead, D)), factor(lead, seed))


def torchs(p: FullGaussian) -> MultivariateNormal:
    return MultivariateNormal(p.loc, scale_tril=p.scale_tril.expand(*p.lead_shape, D, D), validate_args=False)


@pytest.mark.parametrize("lead", [(), (5,), (2, 5)], ids=str)
def test_the_density_is_torchs(lead, double):
    p = example(lead)
    for front in ((), (3,), (2, 3)):
        x = Noise(1).normal((*front, *lead, D))
        assert_close(p.log_prob(x), torchs(p).log_prob(x), rtol=1e-12, atol=1e-12)
    assert_close(p.entropy(), torchs(p).entropy(), rtol=1e-12, atol=1e-12)
    assert_close(p.covariance, torchs(p).covariance_matrix)
    assert p.entropy().shape == lead and p.mean.shape == (*lead, D)


def test_one_factor_serves_all_means_and_the_other_way_round(double):
    loc, shared, x = Noise(0).normal((5, D)), factor(), Noise(1).normal((3, 5, D))
    p = FullGaussian(loc, shared)
    wide = FullGaussian(loc, shared.expand(5, D, D))
    assert_close(p.log_prob(x), wide.log_prob(x))
    assert_close(p.sample(Noise(2), 3), wide.sample(Noise(2), 3))
    assert p.entropy().shape == (5,) and p.covariance.shape == (5, D, D)
    assert_close(p.kl(example()), wide.kl(example()))
    one = example(())
    assert_close(one.log_prob(x), one.expand((3, 5)).log_prob(x))


def test_an_event_of_any_shape_is_flattened_inside(double):
    flat = example((5,))
    square = FullGaussian(flat.loc.unflatten(-1, (2, 2)), flat.scale_tril, event_ndim=2)
    assert square.event_shape == (2, 2) and square.lead_shape == (5,)
    x = Noise(1).normal((3, 5, D))
    assert_close(square.log_prob(x.unflatten(-1, (2, 2))), flat.log_prob(x))
    assert_close(square.sample(Noise(2), 3).flatten(-2), flat.sample(Noise(2), 3))
    assert_close(square.sample_with_log_prob(Noise(2), 3)[1], flat.sample_with_log_prob(Noise(2), 3)[1])
    wide = square.expand((7, 5))
    assert wide.lead_shape == (7, 5) and wide.event_shape == (2, 2)
    assert_close(wide.entropy(), flat.entropy().expand(7, 5))
    diagonal = DiagonalGaussian(torch.zeros(2, 2), torch.full((2, 2), 0.3), event_ndim=2)
    assert_close(square.kl(diagonal), flat.kl(DiagonalGaussian(torch.zeros(4), torch.full((4,), 0.3))))
    assert_close(diagonal.kl(square), DiagonalGaussian(torch.zeros(4), torch.full((4,), 0.3)).kl(flat))


def test_draws_have_mean_and_covariance(double):
    p = example((2,))
    z = p.sample(Noise(3), 200_000)
    for i in range(2):
        assert_close(z[:, i].mean(0), p.mean[i], atol=0.05, rtol=0)
        assert_close(z[:, i].T.cov(), p.covariance[i], atol=0.05, rtol=0.05)


def test_a_draw_comes_with_its_own_log_probability(double):
    loc, scale_tril = example().loc.requires_grad_(), factor((5,)).requires_grad_()
    p = FullGaussian(loc, scale_tril)
    z, log_q = p.sample_with_log_prob(Noise(2), 3)
    assert z.equal(p.sample(Noise(2), 3)) and log_q is not None
    assert_close(log_q, p.log_prob(z), rtol=1e-12, atol=1e-12)
    weights = torch.linspace(0.5, 2, 15).reshape(3, 5)
    given = torch.autograd.grad((weights * log_q).sum(), scale_tril, retain_graph=True)
    direct = torch.autograd.grad((weights * p.log_prob(z)).sum(), scale_tril, retain_graph=True)
    assert_close(given[0].tril(), direct[0].tril(), rtol=1e-9, atol=1e-9)
    source = Recorder(Noise(0))
    p.sample(source, 2)
    assert [(r.batch, r.shape) for r in source.requests] == [(1, (2, 5, D))]


def test_the_divergence_is_torchs(double):
    p, q = example((5,)), example((5,), seed=1)
    assert_close(p.kl(q), torch.distributions.kl_divergence(torchs(p), torchs(q)), rtol=1e-11, atol=1e-11)
    alone = example((), seed=1)
    assert_close(p.kl(alone), p.kl(alone.expand((5,))))
    assert_close(p.kl(p), torch.zeros(5))
    for diagonal in (
        DiagonalGaussian(torch.zeros(D), torch.zeros(D), standard=True),
        DiagonalGaussian(q.loc, 0.5 * Noise(4).normal((5, D))),
        DiagonalGaussian(q.loc, torch.tensor(0.3)),
    ):
        full = FullGaussian(diagonal.loc.expand(5, D), torch.diag_embed(diagonal.scale).expand(5, D, D))
        assert_close(p.kl(diagonal), p.kl(full), rtol=1e-11, atol=1e-11)
        assert_close(diagonal.kl(p), full.kl(p), rtol=1e-11, atol=1e-11)
        assert diagonal.kl_by_element(p) is None and p.kl_by_element(diagonal) is None
    assert p.kl(Bernoulli(torch.zeros(D))) is None


def test_the_divergence_is_the_mean_log_ratio(double):
    p, q = example((1,)), DiagonalGaussian(Noise(5).normal((1, D)), 0.3 * Noise(6).normal((1, D)))
    for a, b in ((p, q), (q, p)):
        z = a.sample(Noise(7), 200_000)
        ratio = a.log_prob(z) - b.log_prob(z)
        kl = a.kl(b)
        assert kl is not None and abs(ratio.mean() - kl) < 4.5 * ratio.std() / len(ratio) ** 0.5


def test_gradients_are_those_of_finite_differences(double):
    loc, scale_tril = example((2,)).loc.requires_grad_(), factor((2,)).requires_grad_()
    x = Noise(1).normal((3, 2, D)).requires_grad_()

    def lower(value: Tensor) -> Tensor:
        return value.tril()

    assert torch.autograd.gradcheck(lambda m, f, y: FullGaussian(m, lower(f)).log_prob(y), (loc, scale_tril, x))
    other = DiagonalGaussian(torch.ones(D), torch.ones(D))
    assert torch.autograd.gradcheck(lambda m, f: FullGaussian(m, lower(f)).kl(other), (loc, scale_tril))
    assert torch.autograd.gradcheck(lambda m, f: FullGaussian(m, lower(f)).sample(Noise(0), 2), (loc, scale_tril))


def test_detached_parameters_leave_the_gradient_in_z(double):
    loc, scale_tril = example((2,)).loc.requires_grad_(), factor((2,)).requires_grad_()
    p = FullGaussian(loc, scale_tril)
    z = p.sample(Noise(0))
    fixed = p.detached().log_prob(z)
    assert_close(fixed, p.log_prob(z))
    assert not p.detached().log_prob(z.detach()).requires_grad and fixed.requires_grad


def test_components_are_chosen_by_index():
    p, index = example((5, 3)), torch.tensor([[0, 2, 1, 1, 0], [1, 1, 2, 0, 0]])
    some = p.chosen(index)
    assert some.lead_shape == (2, 5)
    assert some.loc[1, 2].equal(p.loc[2, 2]) and some.scale_tril[0, 1].equal(p.scale_tril[1, 2])
    few = example((3,)).chosen(torch.tensor([2, 2]))
    assert few.loc[1].equal(example((3,)).loc[2]) and few.lead_shape == (2,)


@pytest.mark.parametrize("event", [(1,), (3,), (2, 2)], ids=str)
def test_the_head_makes_a_factor(event):
    head = FullGaussianHead(event, floor=0.01)
    raw = Noise(0).normal((7, 5, *head.raw_shape), dtype=torch.bfloat16)
    p = head(raw)
    numbers = p.scale_tril.shape[-1]
    assert head.raw_shape == (numbers * (numbers + 3) // 2,)
    assert p.lead_shape == (7, 5) and p.event_shape == event and p.loc.dtype == torch.float32
    assert p.scale_tril.equal(p.scale_tril.tril())
    assert_close(p.scale_tril.diagonal(dim1=-2, dim2=-1), 0.01 + raw[..., numbers : 2 * numbers].float().exp())
    least = head(torch.full(head.raw_shape, -200.0))
    assert_close(least.scale_tril.diagonal(dim1=-2, dim2=-1), torch.full((numbers,), 0.01))


def test_what_is_wrong_is_said():
    with pytest.raises(ValueError, match=r"FullGaussian: scale_tril must end in \(3, 3\).*got \(2, 2\)"):
        FullGaussian(torch.zeros(3), torch.eye(2))
    with pytest.raises(ValueError, match=r"FullGaussian: elements of a correlated event.*mask"):
        example().log_prob(torch.zeros(5, D), torch.ones(5, D))
    with pytest.raises(ValueError, match="floor must be a finite number above 0"):
        FullGaussianHead(3, floor=0.0)
    with pytest.raises(ValueError, match="see raw_shape"):
        _ = FullGaussianHead(3).per_element


@pytest.mark.parametrize("lead", [(), (5,), (2, 5)], ids=str)
def test_a_draw_and_its_density_belong_together_under_autocast(lead):
    p, other = example(lead), example(lead, 1)
    with torch.autocast("cpu", torch.bfloat16):
        z, log_q = p.sample_with_log_prob(Noise(2), 3)
        again, covariance, kl = p.log_prob(z), p.covariance, p.kl(other)
    assert log_q is not None and z.dtype == log_q.dtype == torch.float32
    assert_close(log_q, again, rtol=0, atol=1e-4)
    assert z.equal(p.sample(Noise(2), 3)) and covariance.equal(p.covariance)
    assert_close(kl, p.kl(other), rtol=0, atol=0)
