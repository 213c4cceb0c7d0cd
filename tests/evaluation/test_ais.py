"""Annealing against evidence that is known: linear-Gaussian models, flat and with two levels."""

from functools import partial
from math import log, pi
from typing import Any

import numpy as np
import pytest
import torch
from exact_models import Batch, Chain, Exact, FirstTwo, Shifted
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from fourfold.conditional import Condition, NetworkConditional
from fourfold.distributions import BernoulliHead, FullGaussianHead, GaussianHead, Mixture
from fourfold.evaluation import Annealing, Pilot, Sandwich, ais, bdmc
from fourfold.evaluation.ais import Counter, log_mean_exp, path_of, step_sizes
from fourfold.evaluation.hmc import Place, leapfrog, transition
from fourfold.evaluation.paths import EncoderPath, PriorPath
from fourfold.models import VAE, BottomUp, Direct
from fourfold.networks.flows import gated
from fourfold.noise import Noise
from fourfold.posteriors import iaf, mixture
from fourfold.priors import StandardNormal

SMALL = Pilot(temperatures=8, rounds=3, chains=4, data=16)
SMALL_FLOW = partial(gated, steps=2, hidden=(8,))
# Thousands of small passes: annotations are checked in TestPaths, where there are few.
quick = pytest.mark.usefixtures("unchecked")
double = pytest.mark.usefixtures("double")


def options(temperatures: int = 60, **more: Any) -> Annealing:
    return Annealing(**{"temperatures": temperatures, "chains": 8, "leapfrog": 3, "pilot": SMALL, **more})


def from_zero(values: np.ndarray) -> float:
    """How many of its standard errors a mean is from zero."""
    return float(values.mean() / (values.std(ddof=1) / np.sqrt(len(values))))


def off(log_weight: np.ndarray, truth: Tensor) -> float:
    """E[w] = p(x): how many standard errors the mean of w / p(x) is from 1."""
    return from_zero(np.exp(log_weight - truth.numpy()).mean(0) - 1)


def chain_evidence(x: Tensor) -> Tensor:
    return (-0.5 * (x.square() / 3 + log(3 * 2 * pi))).sum(1)


class TestTrajectories:
    """One transition of Hamiltonian Monte Carlo."""

    @pytest.fixture
    def posterior(self, double: None) -> tuple[PriorPath, Exact, Tensor]:
        exact = Exact.make(5, 2)
        return PriorPath(exact.model(), Batch(exact.data(1)), 10_000), exact, exact.data(1)

    def test_it_goes_back_where_it_came_from(self, posterior: tuple[PriorPath, Exact, Tensor]) -> None:
        path, step = posterior[0], torch.tensor(0.3)
        start = path(Noise(1).normal((6, 1, 2)))
        momentum = Noise(2).normal((6, 1, 2))
        end, there = leapfrog(path, start, momentum, 0.7, step, 5)
        back, again = leapfrog(path, end, -there, 0.7, step, 5)
        assert not torch.allclose(end.z, start.z, atol=0.1)
        torch.testing.assert_close(back.z, start.z, rtol=0, atol=1e-10)
        torch.testing.assert_close(again, -momentum, rtol=0, atol=1e-10)

    def test_it_preserves_volume(self, posterior: tuple[PriorPath, Exact, Tensor]) -> None:
        path, h = posterior[0], 1e-5
        point = torch.cat((torch.tensor([[0.3, -0.4]]), torch.tensor([[0.9, 0.2]])), 1)  # z and momentum
        moved = torch.cat([point + sign * h * torch.eye(4) for sign in (1, -1)])  # one chain each
        end, there = leapfrog(path, path(moved[:, None, :2]), moved[:, None, 2:], 0.7, torch.tensor(0.4), 4)
        ends = torch.cat((end.z[:, 0], there[:, 0]), 1)
        jacobian = (ends[:4] - ends[4:]) / (2 * h)
        assert abs(float(torch.linalg.det(jacobian)) - 1) < 1e-6

    def test_energy_is_kept_better_by_smaller_steps(self, posterior: tuple[PriorPath, Exact, Tensor]) -> None:
        path, errors = posterior[0], []
        start, momentum = path(Noise(1).normal((200, 1, 2))), Noise(2).normal((200, 1, 2))
        for count in (8, 16, 32):
            end, there = leapfrog(path, start, momentum, 1.0, torch.tensor(1.2 / count), count)
            change = end.log_density(1.0) - start.log_density(1.0)
            change = change - 0.5 * (there.square() - momentum.square()).sum(-1)
            errors.append(float(change.abs().mean()))
        assert 3 < errors[0] / errors[1] < 5 and 3 < errors[1] / errors[2] < 5  # of second order

    def test_it_leaves_a_gaussian_as_it_is(self, posterior: tuple[PriorPath, Exact, Tensor]) -> None:
        path, exact, x = posterior
        precision = 1 + exact.w.square().sum(0) / exact.sigma**2
        mean = ((x - exact.b) @ exact.w / exact.sigma**2 / precision)[0]
        chains, noise, step = 20_000, Noise(3), torch.tensor(0.5)
        path = PriorPath(exact.model(), Batch(x), 1)
        place = path(mean + noise.normal((chains, 1, 2)) / precision.sqrt())
        accepted = []
        for _ in range(6):
            place, accept = transition(path, place, 1.0, step, 3, noise)
            accepted.append(float(accept.mean()))
        assert 0.4 < np.mean(accepted) < 0.8  # coarse steps: without the decision the moments would not stay
        white = ((place.z[:, 0] - mean) * precision.sqrt()).numpy()
        for power in (white, white**2 - 1, white**4 - 3, white[:, :1] * white[:, 1:]):
            assert np.abs([from_zero(column) for column in power.T]).max() < 4

    def test_the_change_of_energy_is_one_on_average(self, posterior: tuple[PriorPath, Exact, Tensor]) -> None:
        # E exp(H − H') = 1 where chains start from the density: a map that is reversible and preserves volume.
        path, exact, x = posterior
        precision = 1 + exact.w.square().sum(0) / exact.sigma**2
        mean = ((x - exact.b) @ exact.w / exact.sigma**2 / precision)[0]
        start = path(mean + Noise(3).normal((20_000, 1, 2)) / precision.sqrt())
        momentum = Noise(4).normal((20_000, 1, 2))
        end, there = leapfrog(path, start, momentum, 1.0, torch.tensor(0.4), 3)
        change = end.log_density(1.0) - start.log_density(1.0)
        change = change - 0.5 * (there.square() - momentum.square()).sum(-1)
        assert float(change.abs().mean()) > 0.1
        assert abs(from_zero(np.expm1(change[:, 0].numpy()))) < 4

    def test_no_density_no_move(self) -> None:
        def field(z: Tensor) -> Place:
            log_density = torch.full(z.shape[:2], float("nan"))
            return Place(z, log_density, log_density, log_density, torch.ones_like(z), torch.ones_like(z))

        start, zero = torch.zeros(2, 3, 1), torch.zeros(2, 3)
        here = Place(start, zero, zero, zero, torch.ones_like(start), torch.ones_like(start))
        place, accept = transition(field, here, 1.0, torch.tensor(0.1), 2, Noise(0))
        assert place.z.equal(start) and accept.eq(0).all()


@quick
class TestWeights:
    """E[w] = p(x) and E[1/w] = 1/p(x), exactly, for few temperatures too."""

    @pytest.mark.parametrize("start", ["prior", "encoder"])
    @pytest.mark.parametrize("kind", [torch.float64, torch.float32])
    def test_flat(self, start: str, kind: torch.dtype, double: None) -> None:
        torch.set_default_dtype(kind)
        exact = Exact.make(5, 3)
        model, x = exact.model(blur=0.7, shift=0.3), exact.data(300)
        found = ais(model, Batch(x), Noise(1), options(40, start=start))
        truth = exact.log_evidence(x).double()
        assert found.log_weight.dtype == np.float64 and found.log_weight.shape == (8, 300)
        assert abs(off(found.log_weight, truth)) < 4
        below = found.bound - truth.numpy()
        assert -0.5 < below.mean() < 0
        both = bdmc(model, 300, Noise(2), options(40, start=start))
        truth = exact.log_evidence(both.data.x).double()
        assert abs(off(both.forward.log_weight, truth)) < 4
        assert abs(off(-both.reverse.log_weight, -truth)) < 4
        np.testing.assert_allclose(both.upper, -np.log(np.exp(-both.reverse.log_weight).mean(0)))
        assert from_zero(both.upper - truth.numpy()) > -3 and from_zero(both.lower - truth.numpy()) < 3

    @double
    @pytest.mark.parametrize("start", ["prior", "encoder"])
    @pytest.mark.parametrize("condition", [None, Condition((1,))])
    def test_two_levels(self, start: str, condition: Condition | None) -> None:
        model, x = Chain(condition, blur=1.4), Noise(5).normal((400, 1)) * 2
        c = None if condition is None else Noise(6).normal((400, 1))
        inner = x if c is None else x - c
        found = ais(model, Batch(x, c), Noise(1), options(12, start=start))
        assert abs(off(found.log_weight, chain_evidence(inner))) < 4
        both = bdmc(model, 400, Noise(2), options(12, start=start), None if c is None else Batch(x, c))
        inner = both.data.x if c is None else both.data.x - c
        assert abs(inner.std() - 3**0.5) < 0.3 and not both.data.x.equal(x)
        assert abs(off(both.forward.log_weight, chain_evidence(inner))) < 4
        assert abs(off(-both.reverse.log_weight, -chain_evidence(inner))) < 4

    @double
    @pytest.mark.parametrize("start", ["prior", "encoder"])
    def test_of_the_modelled_part(self, start: str) -> None:
        exact = Exact.make(5, 3)
        x, mask = exact.data(300), torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0])
        for given in (mask, mask.expand(300, 5)):
            found = ais(exact.model(blur=1.3), Batch(x, None, given), Noise(1), options(20, start=start))
            assert abs(off(found.log_weight, exact.log_evidence(x, kept=3))) < 4

    @double
    def test_a_prior_that_is_given_c(self) -> None:
        likelihood = Exact.make(2, 1)
        flat = likelihood.model()
        model = VAE(flat.posterior, Shifted(), flat.likelihood, Condition((2,))).eval()
        x, c = likelihood.data(300), Noise(9).normal((300, 2))
        found = ais(model, Batch(x, c), Noise(1), options(30))
        w, noise = likelihood.w, likelihood.sigma**2 * torch.eye(2)
        mean = c.sum(1, keepdim=True) @ w.T + likelihood.b
        truth = MultivariateNormal(mean, 0.25 * w @ w.T + noise).log_prob(x)
        assert abs(off(found.log_weight, truth)) < 4

    @double
    def test_a_flow_anneals_in_its_noise(self) -> None:
        exact = Exact.make(5, 3)
        torch.manual_seed(0)
        flow = iaf(nn.Linear(5, 6 + 4), (5,), 3, flow=SMALL_FLOW, context=4)
        model = VAE(flow, StandardNormal(3), exact.model().likelihood).eval()
        x = exact.data(200)
        found = ais(model, Batch(x), Noise(1), options(20, start="encoder"))
        assert abs(off(found.log_weight, exact.log_evidence(x))) < 4
        both = bdmc(model, 200, Noise(2), options(20, start="encoder"))
        assert from_zero(both.upper - exact.log_evidence(both.data.x).numpy()) > -3

    @double
    def test_running_weights_tell_every_normaliser(self) -> None:
        exact = Exact.make(5, 3)
        x = exact.data(300)
        found = ais(exact.model(), Batch(x), Noise(1), options(40, keep=5))
        assert found.kept_betas[[0, -1]].tolist() == [0, 1] and len(found.kept_betas) == 5
        assert (found.running[0] == 0).all() and (found.running[-1] == found.log_weight).all()
        for beta, running, likelihood in list(zip(found.kept_betas, found.running, found.log_likelihood, strict=True))[
            1:
        ]:
            noise = exact.sigma**2 / beta * torch.eye(5)
            gauss = MultivariateNormal(exact.b, exact.w @ exact.w.T + noise).log_prob(x)
            constant = -0.5 * 5 * (beta * log(2 * pi * exact.sigma**2) - log(2 * pi * exact.sigma**2 / beta))
            assert abs(off(running, gauss + constant)) < 4
            # d log Z / dβ = E log p(x|z): of the exact density at β.
            precision = torch.eye(3) + beta / exact.sigma**2 * exact.w.T @ exact.w
            mean = beta / exact.sigma**2 * (x - exact.b) @ exact.w @ torch.linalg.inv(precision)
            spread = torch.einsum("ij,jk,ik->", exact.w, torch.linalg.inv(precision), exact.w)
            squares = (x - exact.b - mean @ exact.w.T).square().sum(1) + spread
            wanted = -0.5 * (squares / exact.sigma**2 + 5 * log(2 * pi * exact.sigma**2))
            weights = np.exp(running - (gauss + constant).numpy())
            assert abs(from_zero((weights * (likelihood - wanted.numpy())).mean(0))) < 4


@quick
class TestSandwich:
    @double
    def test_it_closes_around_the_truth(self) -> None:
        exact, gaps = Exact.make(5, 3), []
        for temperatures in (10, 40, 160):
            both = bdmc(exact.model(), 60, Noise(2), options(temperatures, chains=4))
            truth = exact.log_evidence(both.data.x).numpy()
            assert from_zero(both.lower - truth) < 3 and from_zero(both.upper - truth) > -3
            gaps.append(float(both.gap.mean()))
        assert gaps[0] > 2 * gaps[1] > 4 * gaps[2] > 0 and gaps[2] < 0.3

    @double
    @pytest.mark.nightly
    def test_two_thousand_temperatures(self) -> None:
        exact = Exact.make(5, 5)
        for start, shift in (("prior", 0.0), ("encoder", 0.5)):
            model = exact.model(blur=1.5, shift=shift)
            both = bdmc(model, 60, Noise(2), Annealing(2000, 16, start=start))
            truth = exact.log_evidence(both.data.x).numpy()
            assert from_zero(both.lower - truth) < 3 and from_zero(both.upper - truth) > -3
            assert abs(both.gap.mean()) < 0.1
            real = exact.data(60)
            found = ais(model, Batch(real), Noise(3), Annealing(2000, 16, start=start))
            assert abs(from_zero(found.bound - exact.log_evidence(real).numpy())) < 3

    @double
    def test_step_sizes_that_follow_their_own_chain_are_wrong(self) -> None:
        """The same runs with a step size for each chain, which grows when it moved and shrinks when it did not."""
        exact, how, n = Exact.make(5, 5), options(100, chains=16, leapfrog=2), 300
        noise = Noise(7)
        z = noise.normal((n, 5))
        x = z @ exact.w.T + exact.b + exact.sigma * noise.normal((n, 5))
        batch, truth, model = Batch(x), exact.log_evidence(x).numpy(), exact.model()
        table = step_sizes(model, batch, Noise(1), how, Counter(None, 1))
        path, betas = path_of(model, batch, how), how.betas

        def run(adapted: bool, backwards: bool) -> np.ndarray:
            moves = Noise(11 + backwards)
            place = path(z.expand(16, n, 5) if backwards else path.draw(16, moves))
            weight, step = torch.zeros(16, n), torch.full((16, n, 1), table[-1 if backwards else 0])
            for t in range(100, 0, -1) if backwards else range(1, 101):
                before = place
                size = step if adapted else torch.tensor(table[t - 1])
                place, _ = transition(path, place, float(betas[t]), size, 2, moves)
                weight += (betas[t] - betas[t - 1]) * (place if backwards else before).ratio
                moved = (place.z != before.z).any(-1, keepdim=True)
                step = torch.where(moved, step * 1.5, step / 1.5)
            return -log_mean_exp(-weight.numpy()) if backwards else log_mean_exp(weight.numpy())

        assert from_zero(run(False, True) - truth) > -3 and from_zero(run(False, False) - truth) < 3
        upper, lower = run(True, True), run(True, False)
        assert from_zero(upper - truth) < -5  # the upper bound is below log p(x)
        assert lower.mean() < upper.mean()  # though the sandwich looks tight

    def test_a_conditional_model_must_be_told_what_c_is(self) -> None:
        with pytest.raises(ValueError, match=r"bdmc: this model is conditioned: .*like="):
            bdmc(Chain(Condition((1,))), 5, Noise(0), options(5))
        with pytest.raises(ValueError, match="n is 5, but `like` has 3"):
            bdmc(Chain(Condition((1,))), 5, Noise(0), options(5), Batch(torch.zeros(3, 1), torch.zeros(3, 1)))


class TestPaths:
    @double
    @pytest.mark.parametrize("family", ["gaussian", "full", "flow"])
    def test_the_noise_of_an_encoder_is_its_latents_in_other_coordinates(self, family: str) -> None:
        torch.manual_seed(1)
        exact = Exact.make(5, 3)
        posterior = {
            "gaussian": NetworkConditional(nn.Linear(5, 6), GaussianHead(3), 5),
            "full": NetworkConditional(nn.Linear(5, 9), FullGaussianHead(3), 5),
            "flow": iaf(nn.Linear(5, 10), (5,), 3, flow=SMALL_FLOW, context=4),
        }[family]
        model = VAE(posterior, StandardNormal(3), exact.model().likelihood).eval()
        x, z = exact.data(7), Noise(3).normal((7, 3))
        with torch.no_grad():
            path = EncoderPath(model, Batch(x), 3)
            place = path(path.coordinates((z,)))
            trace = model.at(x, (z[None],))
        torch.testing.assert_close(place.ratio, trace.log_weight, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(place.log_likelihood, trace.log_likelihood, rtol=1e-6, atol=1e-6)

    @double
    def test_so_it_is_in_every_level(self) -> None:
        model, x = Chain(blur=1.3), Noise(4).normal((7, 1))
        z = (Noise(5).normal((7, 1)), Noise(6).normal((7, 1)))
        path = EncoderPath(model, Batch(x), 3)
        place = path(path.coordinates(z))
        torch.testing.assert_close(place.ratio, model.at(x, (z[0][None], z[1][None])).log_weight)

    @double
    @pytest.mark.parametrize("kind", [PriorPath, EncoderPath])
    def test_levels_that_are_drawn_from_the_bottom_keep_their_places(self, kind: Any) -> None:
        def linear(a: int, b: int) -> NetworkConditional:
            return NetworkConditional(nn.Linear(a, 2 * b), GaussianHead(b), a)

        torch.manual_seed(2)
        ways = [linear(5, 3), linear(3, 2), linear(2, 1)], [linear(1, 2), linear(2, 3)]
        model = BottomUp(ways[0], StandardNormal(1), ways[1], linear(3, 5), [(1,), (2,), (3,)]).eval()
        x, z = Noise(3).normal((7, 5)), tuple(Noise(i).normal((7, i)) for i in (1, 2, 3))
        with torch.no_grad():
            path = kind(model, Batch(x), 3)
            place, trace = path(path.coordinates(z)), model.at(x, tuple(level[None] for level in z))
        wanted = trace.log_weight if kind is EncoderPath else trace.log_likelihood
        torch.testing.assert_close(place.ratio, wanted)
        if kind is PriorPath:
            torch.testing.assert_close(place.log_density(1.0), trace.log_joint)

    @double
    @pytest.mark.parametrize("kind", [PriorPath, EncoderPath])
    def test_slopes_are_gradients(self, kind: Any) -> None:
        path = kind(Chain(blur=1.3), Batch(Noise(4).normal((2, 1))), 1)
        z, h = Noise(1).normal((1, 2, 2)), 1e-6
        for d in range(2):
            step = h * torch.eye(2)[d]
            up, down, here = path(z + step), path(z - step), path(z)
            wanted = (up.log_density(0.3) - down.log_density(0.3)) / (2 * h)
            torch.testing.assert_close(here.slope(0.3)[..., d], wanted, rtol=1e-5, atol=1e-6)

    @double
    def test_of_one_level_too(self) -> None:
        exact = Exact.make(5, 2)
        path = EncoderPath(exact.model(0.2, 1.4), Batch(exact.data(3)), 3)
        z, h = Noise(1).normal((4, 3, 2)), 1e-6
        for d in range(2):
            step = h * torch.eye(2)[d]
            wanted = (path(z + step).log_density(0.3) - path(z - step).log_density(0.3)) / (2 * h)
            torch.testing.assert_close(path(z).slope(0.3)[..., d], wanted, rtol=1e-5, atol=1e-6)

    @double
    @pytest.mark.parametrize("start", ["prior", "encoder"])
    def test_how_many_rows_at_once_changes_nothing(self, start: str) -> None:
        exact = Exact.make(5, 3)
        batch = Batch(exact.data(23))
        one, few = (
            ais(exact.model(blur=1.2), batch, Noise(1), options(5, start=start, rows_per_chunk=rows))
            for rows in (10_000, 60)
        )
        np.testing.assert_allclose(one.log_weight, few.log_weight, atol=1e-8)

    def test_the_key_alone_says_what_is_drawn(self) -> None:
        model, batch = Exact.make(5, 3).model(), Batch(Exact.make(5, 3).data(4))
        state = torch.get_rng_state()
        with torch.inference_mode():
            first = ais(model, batch, Noise(1), options(5, start="encoder"))
        again, other = (ais(model, batch, Noise(seed), options(5, start="encoder")) for seed in (1, 2))
        assert np.array_equal(first.log_weight, again.log_weight)
        assert not np.array_equal(first.log_weight, other.log_weight)
        assert torch.get_rng_state().equal(state)

    @double
    @quick
    def test_the_pilot_finds_steps_that_are_accepted_as_wanted(self) -> None:
        exact = Exact.make(25, 20)
        told: list[tuple[int, int | None]] = []
        for wanted in (0.6, 0.8):
            pilot = Pilot(temperatures=20, acceptance=wanted)
            told.clear()
            found = ais(
                exact.model(), Batch(exact.data(30)), Noise(1), options(60, pilot=pilot), lambda *at: told.append(at)
            )
            for part in np.split(found.acceptance, 4):
                assert abs(part.mean() - wanted) < 0.1
            assert told[-1][0] == told[-1][1] == len(told)
            assert found.step_sizes[0] > found.step_sizes[-1]


class TestRefusals:
    def vae(self, posterior: nn.Module) -> VAE:
        likelihood = NetworkConditional(nn.Linear(2, 6), BernoulliHead(6), 2)
        return VAE(posterior, StandardNormal(2), likelihood).eval()  # type: ignore[arg-type]

    def test_an_encoder_with_jumps(self) -> None:
        model = self.vae(mixture(nn.Linear(6, 15), (6,), 2, components=3))
        assert isinstance(model.believed(torch.zeros(2, 6)), Mixture)
        with pytest.raises(ValueError, match=r"Mixture\) draws z not from normal noise alone.*Start from the prior"):
            ais(model, Batch(torch.ones(2, 6)), Noise(0), options(5, start="encoder"))
        assert ais(model, Batch(torch.ones(2, 6)), Noise(0), options(5)).log_weight.shape == (8, 2)

    def test_a_point(self) -> None:
        with pytest.raises(ValueError, match=r"Point has no density\. Start from the prior"):
            ais(self.vae(FirstTwo()), Batch(torch.ones(2, 6)), Noise(0), options(5, start="encoder"))

    def test_no_latents(self) -> None:
        class One(StandardNormal):
            support = "real"

        with pytest.raises(ValueError, match="no latents"):
            ais(Direct(One(3)).eval(), Batch(torch.ones(2, 3)), Noise(0), options(5))

    def test_a_model_that_trains(self) -> None:
        with pytest.raises(ValueError, match="training mode"):
            ais(Chain().train(), Batch(torch.ones(2, 1)), Noise(0), options(5))

    def test_what_is_no_budget(self, unchecked: None) -> None:
        with pytest.raises(ValueError, match="Annealing: temperatures must be an integer of at least 1"):
            Annealing(temperatures=0)
        with pytest.raises(ValueError, match=r"Annealing: start: unknown value 'posterior'"):
            Annealing(start="posterior")
        with pytest.raises(ValueError, match="Pilot: acceptance"):
            Pilot(acceptance=1.0)


def test_temperatures_are_spaced_by_a_sigmoid() -> None:
    betas = Annealing(temperatures=8).betas
    raw = 1 / (1 + np.exp(-4 * (2 * np.arange(9) / 8 - 1)))
    np.testing.assert_allclose(betas, (raw - raw[0]) / (raw[-1] - raw[0]))
    assert betas[0] == 0 and betas[-1] == 1 and abs(betas[4] - 0.5) < 1e-12


def test_the_mean_of_weights_stands_infinities() -> None:
    values = np.array([[-np.inf, -np.inf, -1000.0], [-np.inf, 0.0, -1000.0]])
    np.testing.assert_allclose(log_mean_exp(values), [-np.inf, -log(2), -1000.0])


def test_effective_chains_count() -> None:
    found = ais(Chain(), Batch(torch.zeros(3, 1)), Noise(0), options(5, start="encoder"))
    np.testing.assert_allclose(found.effective_chains, 8, rtol=1e-4)  # the encoder is exact: all weights are equal
    assert isinstance(bdmc(Chain(), 3, Noise(0), options(5)), Sandwich)
