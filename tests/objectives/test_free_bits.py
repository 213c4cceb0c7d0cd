"""Free bits: tables worked out by hand, the gradient that is not there, and the controller of the soft kind."""

from math import sqrt
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import fourfold as ff
from fourfold.conditional import Prior
from fourfold.distributions import Bernoulli, DiagonalGaussian, Distribution
from fourfold.noise import Noise, NoiseSource
from fourfold.objectives import ELBO, FREE_BITS, FreeBits, Linear, SoftFreeBits
from fourfold.priors import StandardNormal
from fourfold.runs import resume
from fourfold.trace import Level, Trace
from fourfold.training import load_tensors

EXACT = {"rtol": 1e-10, "atol": 1e-10}
DIGITS = ff.data.digits()
SPLITS = ("train", "validation")


def made(loc: Tensor, prior: Prior | None = None, draws: int = 1, q: Distribution | None = None) -> Trace:
    """A pass with the posterior N(loc, 1), and so KLs of loc²/2."""
    event = loc.shape[1:]
    q = q or DiagonalGaussian(loc, torch.zeros_like(loc), len(event))
    p = (prior or StandardNormal(tuple(event)))()
    x = torch.ones(len(loc), 3)
    p_x = Bernoulli(loc.flatten(1).sum(1, keepdim=True).expand(draws, len(loc), 3), 1)
    z, recorded = q.sample_with_log_prob(Noise(0), draws)
    return Trace(x, p_x, p_x.log_prob(x), (Level(z, q, p, recorded if q.log_prob_with_draw else None),))


def with_kl(table: list[object]) -> Tensor:
    """Means that give these KLs, element by element."""
    return (2 * torch.tensor(table)).sqrt().requires_grad_()


TABLE = [[0.0, 1.0, 3.0], [0.4, 0.2, 1.0]]  # means 0.2, 0.6, 2.0; sums 4.0, 1.6


@pytest.mark.parametrize(
    ("kind", "nats", "charged"),
    [
        ("per_dim_batchmean", 0.5, [3.1, 3.1]),  # 0.5 + 0.6 + 2.0; clipped before the mean it would be 3.25
        ("per_dim_batchmean", 0.0, [2.8, 2.8]),
        ("per_dim_batchmean", 9.0, [27.0, 27.0]),
        ("per_group_batchmean", 2.0, [2.8, 2.8]),  # clipped before the mean it would be 3.0
        ("per_group_batchmean", 5.0, [5.0, 5.0]),
        ("per_sample", 2.0, [4.0, 2.0]),
        ("per_sample", 0.0, [4.0, 1.6]),
    ],
)
def test_what_is_charged(double: None, kind: str, nats: float, charged: list[float]) -> None:
    trace = made(with_kl(TABLE))
    terms = FreeBits(nats, kind)(trace)
    assert_close(terms.parts["clipped_rate"].value, torch.tensor(charged), **EXACT)
    assert_close(terms.parts["rate"].value, torch.tensor([4.0, 1.6]), **EXACT)  # never clipped
    assert {name: float(part.weight) for name, part in terms.parts.items()} == {
        "log_likelihood": 1,
        "clipped_rate": -1,
        "rate": 0,
    }
    assert_close(terms.total, trace.log_likelihood[0] - torch.tensor(charged), **EXACT)
    assert_close(terms.parts["log_likelihood"].value, ELBO()(trace).parts["log_likelihood"].value)


def test_groups_are_channels_where_there_are_channels(double: None) -> None:
    table = [[[[0.1, 0.2]], [[1.0, 2.0]]], [[[0.3, 0.0]], [[3.0, 4.0]]]]  # (2, 2, 1, 2); channel sums .3 3 / .3 7
    trace = made(with_kl(table))
    charged = {kind: FreeBits(0.5, kind)(trace).parts["clipped_rate"].value for kind in FREE_BITS}
    assert_close(charged["per_group_batchmean"], torch.tensor([5.5, 5.5]), **EXACT)  # .5 + 5
    assert_close(charged["per_dim_batchmean"], torch.tensor([6.0, 6.0]), **EXACT)  # .5 + .5 + 2 + 3
    assert_close(charged["per_sample"], torch.tensor([3.5, 7.5]), **EXACT)
    assert_close(FreeBits(0.5)(trace).parts["rate"].value, torch.tensor([3.3, 7.3]), **EXACT)


def test_below_the_free_rate_there_is_no_gradient(double: None) -> None:
    def gradient(kind: str, nats: float) -> Tensor:
        loc = with_kl(TABLE)
        terms = FreeBits(nats, kind)(made(loc))
        (charged,) = torch.autograd.grad(terms.parts["clipped_rate"].weighted.mean(), loc, retain_graph=True)
        (whole,) = torch.autograd.grad(terms.total.mean(), loc)
        (reconstruction,) = torch.autograd.grad(made(loc).log_likelihood.mean(), loc)
        assert_close(whole - reconstruction, charged)  # what is only reported pulls at nothing
        return charged

    loc = with_kl(TABLE).detach()
    by_dim = gradient("per_dim_batchmean", 0.5)
    assert (by_dim[:, 0] == 0).all()
    assert_close(by_dim[:, 1:], -loc[:, 1:] / 2, **EXACT)  # of −mean(m²/2), also where the datum itself is below λ
    assert (gradient("per_group_batchmean", 3.0) == 0).all()
    assert_close(gradient("per_group_batchmean", 2.5), -loc / 2, **EXACT)
    by_sample = gradient("per_sample", 2.0)
    assert (by_sample[1] == 0).all()
    assert_close(by_sample[0], -loc[0] / 2, **EXACT)


def test_with_no_free_rate_it_is_the_elbo(double: None) -> None:
    trace = made(with_kl(TABLE))
    for kind in FREE_BITS:
        assert_close(FreeBits(0.0, kind)(trace).total.mean(), ELBO()(trace).total.mean(), **EXACT)
    assert_close(FreeBits(0.0, "per_sample")(trace).total, ELBO()(trace).total, **EXACT)


def test_every_level_has_groups_of_its_own(double: None) -> None:
    one, other = made(with_kl(TABLE)), made(with_kl([[1.0], [2.0]]))
    both = Trace(one.x, one.p_x, one.log_likelihood, (*one.levels, *other.levels))
    assert_close(FreeBits(2.0)(both).parts["clipped_rate"].value, torch.tensor([4.8, 4.8]), **EXACT)  # 2.8 + 2
    assert_close(FreeBits(2.0)(both).parts["rate"].value, torch.tensor([5.0, 3.6]), **EXACT)


class _Flow(Prior):
    """Stands for a prior without a closed form: a standard normal that nobody recognises."""

    class _Unknown(Distribution):
        def __init__(self, inner: DiagonalGaussian) -> None:
            self.inner = inner

        lead_shape = property(lambda self: self.inner.lead_shape)
        event_shape = property(lambda self: self.inner.event_shape)
        mean = property(lambda self: self.inner.mean)

        def log_prob(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
            return self.inner.log_prob(x)

        def sample(self, noise: NoiseSource, draws: int | None = None) -> Tensor:
            return self.inner.sample(noise, draws)

        def expand(self, lead: tuple[int, ...]) -> "Distribution":
            return type(self)(self.inner.expand(lead))

    def __init__(self, event: tuple[int, ...]) -> None:
        super().__init__()
        self.event, self.inner = event, StandardNormal(event)

    def forward(self, c: Tensor | None = None) -> Distribution:
        return self._Unknown(self.inner(c))


def test_without_a_closed_form_all_latents_together_are_one_group(double: None) -> None:
    trace = made(with_kl(TABLE), _Flow((3,)), draws=4)
    drawn = trace.log_ratio.mean(0)
    terms = FreeBits(0.1)(trace)
    assert_close(terms.parts["clipped_rate"].value, drawn.mean().expand(2), **EXACT)
    assert_close(terms.parts["rate"].value, drawn, **EXACT)
    assert_close(FreeBits(50.0, "per_sample")(trace).parts["clipped_rate"].value, torch.tensor([50.0, 50.0]))
    with pytest.raises(ValueError, match=r"FreeBits: per_dim_batchmean needs a rate for every group .*_Unknown.*Soft"):
        FreeBits(0.1, "per_dim_batchmean")(trace)
    channels = made(with_kl([[[0.1, 0.2]], [[1.0, 2.0]]]), _Flow((1, 2)))
    for kind in ("per_group_batchmean", "per_sample"):
        with pytest.raises(ValueError, match=f"FreeBits: {kind} needs a rate for every group"):
            FreeBits(0.1, kind)(channels)


def test_bad_arguments_are_named(unchecked: None) -> None:
    with pytest.raises(ValueError, match=r"FreeBits: nats must be a finite number of at least 0, got -1"):
        FreeBits(-1.0)
    with pytest.raises(ValueError, match=r"FreeBits: kind: unknown value 'per_dim'.*per_dim_batchmean"):
        FreeBits(1.0, "per_dim")
    with pytest.raises(ValueError, match=r"SoftFreeBits: nats must be a finite number"):
        SoftFreeBits(float("nan"))
    for wrong in (1.0, 0.5, -2.0):
        with pytest.raises(ValueError, match=r"SoftFreeBits: factor must be "):
            SoftFreeBits(1.0, factor=wrong)


def test_a_schedule_moves_the_free_rate(double: None) -> None:
    objective, trace = FreeBits(Linear(4.0, 0.0, 10)), made(with_kl(TABLE))
    assert objective(trace).parts["clipped_rate"].value[0] == 4
    objective.advance(10)
    assert_close(objective(trace).parts["clipped_rate"].value[0], torch.tensor(2.8), **EXACT)


def test_only_means_over_the_batch_belong_to_the_batch(tmp_path: Path) -> None:
    assert [FreeBits(1.0, kind).batch_statistic for kind in FREE_BITS] == [True, True, False]
    assert not SoftFreeBits(1.0).batch_statistic
    with pytest.raises(ValueError, match="accumulate: FreeBits is a statistic of the whole batch"):
        ff.fit(ff.recipes.free_bits_vae(), DIGITS, accumulate=2, out=tmp_path / "r", quiet=True)


# Soft free bits.


def test_the_weight_of_the_rate_is_steered() -> None:
    objective = SoftFreeBits(10.0, factor=1.1)

    def after(kl: float) -> float:
        objective.after_step({"free_bits_rate": torch.tensor(kl)})
        return objective.gamma.item()

    assert after(99.0) == 1  # never above 1
    assert after(9.99) == pytest.approx(1 / 1.1)
    assert after(9.0) == pytest.approx(1 / 1.1**2)
    assert after(10.0) == after(10.49) == pytest.approx(1 / 1.1**2)  # just above is where it is to be
    assert after(10.51) == pytest.approx(1 / 1.1)
    for _ in range(200):
        after(0.0)
    assert objective.gamma.item() == pytest.approx(1e-4)
    assert after(99.0) > 1e-4  # and finds back


def test_its_value_and_what_it_tells(double: None) -> None:
    objective, trace = SoftFreeBits(10.0), made(with_kl(TABLE), draws=3)
    assert_close(objective(trace).total, ELBO()(trace).total, **EXACT)
    objective.gamma.fill_(0.25)
    terms = objective(trace)
    assert_close(terms.total, ELBO(beta=0.25)(trace).total, **EXACT)
    assert_close(terms.parts["rate"].value, torch.tensor([4.0, 1.6]), **EXACT)
    assert_close(terms.summary["free_bits_rate"], torch.tensor(2.8), **EXACT)
    assert not terms.summary["free_bits_rate"].requires_grad
    assert objective.gamma == 0.25  # forward changes nothing
    assert [objective.settled(step, 10) for step in (0, 9, 10)] == [False, False, True]  # γ moves to the end


def test_the_controller_settles_just_above_its_target(double: None) -> None:
    """One latent that obeys the gradient 8 − (4 + γ) m: its rate m²/2 is 1.28 by itself, and can be 2."""
    objective = SoftFreeBits(1.6)
    loc = nn.Parameter(torch.full((1, 1), 0.5))
    optimiser, rates = torch.optim.SGD([loc], lr=0.05), []
    x = torch.full((1, 1), 4.0)
    for _ in range(600):
        p_x = DiagonalGaussian(2 * loc[None], torch.zeros(()))
        level = Level(loc[None], DiagonalGaussian(loc, torch.zeros(1, 1)), StandardNormal(1)())
        terms = objective(Trace(x, p_x, p_x.log_prob(x), (level,)))
        optimiser.zero_grad()
        (-terms.total.mean()).backward()
        optimiser.step()
        objective.after_step(terms.summary)
        rates.append(terms.parts["rate"].value.item())
    assert all(1.6 * 0.99 < rate < 1.6 * 1.06 for rate in rates[-200:])
    assert 8 / sqrt(2 * 1.6 * 1.06) - 4 < objective.gamma.item() < 8 / sqrt(2 * 1.6 * 0.99) - 4


def test_its_state_is_saved_and_resumed(tmp_path: Path) -> None:
    plan = ff.recipes.free_bits_vae(kind="soft", nats=8.0, latent=4, hidden=(16,))
    whole = ff.fit(plan, DIGITS, epochs=4, out=tmp_path / "whole", quiet=True)
    ff.fit(plan, DIGITS, epochs=2, out=tmp_path / "cut", quiet=True)
    cut = resume(tmp_path / "cut", epochs=4, quiet=True)
    saved = [load_tensors(tmp_path / name / "checkpoints" / "last.safetensors")[0] for name in ("whole", "cut")]
    assert saved[0]["weights/objective.gamma"] < 0.9
    assert [name for name in saved[0] if not torch.equal(saved[0][name], saved[1][name])] == []
    other = SoftFreeBits(8.0)
    other.load_state_dict({"gamma": saved[0]["weights/objective.gamma"]})
    assert other.gamma == saved[0]["weights/objective.gamma"]
    row = whole.metrics[-1]
    weights = [row[f"{split}/rate weighted [nats]"] / row[f"{split}/rate raw [nats]"] for split in SPLITS]
    assert weights[1] == pytest.approx(-saved[0]["weights/objective.gamma"].item(), rel=1e-5)  # the last one
    assert weights[0] == pytest.approx(weights[1], rel=0.2)  # the mean over an interval that led there
    assert whole.outcome.best_step == whole.outcome.step == cut.outcome.best_step  # nothing before is comparable


@pytest.mark.parametrize(("kind", "promised"), [("per_dim_batchmean", 6.0), ("per_group_batchmean", 6.0)])
def test_the_promised_rate_is_kept_on_digits(tmp_path: Path, kind: str, promised: float) -> None:
    nats = promised / (6 if kind == "per_dim_batchmean" else 1)
    plan = ff.recipes.free_bits_vae(nats=nats, kind=kind, latent=6, hidden=(64,))
    row = ff.fit(plan, DIGITS, epochs=15, lr=1e-2, out=tmp_path / "r", quiet=True).metrics[-1]
    plain = ff.fit(
        ff.recipes.vae(latent=6, hidden=(64,)), DIGITS, epochs=15, lr=1e-2, out=tmp_path / "p", quiet=True
    ).metrics[-1]
    assert row["train/rate raw [nats]"] > 0.95 * promised > plain["train/rate raw [nats]"] + 0.3
    for split in SPLITS:
        assert row[f"{split}/clipped_rate raw [nats]"] >= promised - 1e-4
        assert row[f"{split}/rate weighted [nats]"] == 0 and row[f"{split}/clipped_rate weighted [nats]"] < 0
        found = row[f"{split}/log_likelihood raw [nats]"] - row[f"{split}/rate raw [nats]"]
        assert row[f"{split}/elbo [nats]"] == pytest.approx(found)  # the bound is that of the unclipped rate
        clipped = row[f"{split}/log_likelihood raw [nats]"] - row[f"{split}/clipped_rate raw [nats]"]
        assert row[f"{split}/objective [nats]"] == pytest.approx(clipped, rel=1e-5)
