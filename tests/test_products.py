"""The law page over the whole table, posterior × prior × likelihood × objective: every one alone, products at random.

The latents are two numbers, so the evidence is known: an integral over a grid. No bound may exceed it, whatever was
picked from each room; what makes no sense is refused, and says why.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import log

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from fourfold import objectives as goals
from fourfold.conditional import Conditional, Prior
from fourfold.likelihoods import LIKELIHOODS
from fourfold.models import VAE
from fourfold.networks import Dense
from fourfold.noise import Noise, NoiseSource, Recorder, Replay, Request
from fourfold.objectives import Objective
from fourfold.posteriors import FromPrior, full_gaussian, gaussian, iaf, mixture, point, spline
from fourfold.priors import AR1, AutoregressiveFlow, CouplingFlow, GaussianMixture, StandardNormal, VampPrior
from fourfold.trace import Trace

L, B, DATA = 2, 4, (1, 3, 2)
NET = partial(Dense, hidden=(6,), activation="tanh")

#: Posterior, given the model's prior or ``None``.
POSTERIORS: dict[str, Callable[[Prior | None], Conditional]] = {
    "gaussian": lambda _: gaussian(NET, DATA, L),
    "full_gaussian": lambda _: full_gaussian(NET, DATA, L),
    "mixture": lambda _: mixture(NET, DATA, L, components=3),
    "iaf": lambda _: iaf(NET, DATA, L),
    "spline": lambda _: spline(NET, DATA, L),
    "point": lambda _: point(NET, DATA, L),
    "from_prior": lambda prior: FromPrior(prior) if prior is not None else pytest.skip("circular"),
}
#: Prior, given the model's posterior or ``None``.
PRIORS: dict[str, Callable[[Conditional | None], Prior]] = {
    "standard": lambda _: StandardNormal(L),
    "mixture": lambda _: GaussianMixture(L, components=4),
    "vamp": lambda q: VampPrior(q, DATA, components=3) if q is not None else pytest.skip("circular"),
    "autoregressive": lambda _: AutoregressiveFlow(L, hidden=(8,)),
    "coupling": lambda _: CouplingFlow(L, hidden=(8,)),
    "ar1": lambda _: AR1(L, rate=0.2),
}


@dataclass(frozen=True)
class Goal:
    """An objective of the table.

    Args:
        make: it.
        bound: whether its mean is a lower bound on log p(x).
        rate: whether it needs log q, so that a point does not do.
    """

    make: Callable[[], Objective]
    bound: bool = False
    rate: bool = True


def judge() -> nn.Module:
    """A small discriminator."""
    return goals.discriminator(L, (8,))


OBJECTIVES: dict[str, Goal] = {
    "elbo": Goal(goals.ELBO, bound=True),
    "elbo_monte_carlo": Goal(lambda: goals.ELBO(kl="monte_carlo", draws=2), bound=True),
    "beta": Goal(lambda: goals.ELBO(4.0), bound=True),
    "reconstruction": Goal(goals.Reconstruction, rate=False),
    "iwae": Goal(lambda: goals.IWAE(5), bound=True),
    "dreg": Goal(lambda: goals.IWAE(5, estimator="dreg"), bound=True),
    "rws": Goal(lambda: goals.IWAE(5, estimator="rws"), bound=True),
    "stl": Goal(lambda: goals.IWAE(1, estimator="stl"), bound=True),
    "miwae": Goal(lambda: goals.MIWAE(2, 3), bound=True),
    "ciwae": Goal(lambda: goals.CIWAE(0.3, 4), bound=True),
    "capacity": Goal(lambda: goals.Capacity(10.0, 1.0)),
    "decomposed": Goal(lambda: goals.Decomposed(1.0, 1.0, 1.0, data_size=10_000), bound=True),
    "tc_vae": Goal(lambda: goals.Decomposed(1.0, 6.0, 1.0, data_size=10_000)),
    "factor": Goal(lambda: goals.FactorVAE(3.0, judge())),
    "discrimination": Goal(lambda: goals.Discrimination(judge())),
    "dip_i": Goal(goals.DIP, bound=True),
    "dip_ii": Goal(lambda: goals.DIP(kind="ii"), bound=True),
    "info": Goal(lambda: goals.InfoVAE(0.5, 10.0)),
    "mmd": Goal(lambda: goals.InfoVAE(1.0, 10.0)),
    "wae": Goal(lambda: goals.InfoVAE(1.0, 10.0, deterministic=True), rate=False),
    "free_bits": Goal(lambda: goals.FreeBits(0.5), bound=True),
    "free_bits_by_dim": Goal(lambda: goals.FreeBits(0.5, "per_dim_batchmean"), bound=True),
    "free_bits_by_sample": Goal(lambda: goals.FreeBits(0.5, "per_sample"), bound=True),
    "soft_free_bits": Goal(lambda: goals.SoftFreeBits(0.5), bound=True),
    "l1": Goal(goals.L1Sparsity, rate=False),
    "contractive": Goal(goals.Contractive, rate=False),
}

FLOWS = {"iaf", "spline"}
#: FromPrior and VampPrior each need the other first; a flow's density away from its own draws takes too long.
ODD = {(q, "vamp") for q in ("from_prior", *FLOWS)}


def family(q: str, p: str) -> str:
    """Of what kind the posterior is: a diagonal Gaussian, a flow, or what its name says."""
    if q == "from_prior":
        q = {"standard": "gaussian", "autoregressive": "flow", "coupling": "flow"}.get(p, p)
    return "flow" if q in FLOWS else q


def refusal(q: str, p: str, o: str) -> str | None:
    """What the error says of a combination that makes no sense; ``None`` for one that does."""
    kind = family(q, p)
    if kind == "point":
        if p == "vamp":
            return "VampPrior: this posterior gives a Point, which has no density"
        return "no density|posterior is a point" if OBJECTIVES[o].rate else None
    closed = kind == "gaussian" and p in ("standard", "ar1")
    reasons: dict[str, str | None] = {
        "wae": "deterministic=True is for a point posterior",
        "decomposed": "no density of a single latent" if kind != "gaussian" else "is not one product over the latents",
        "dip_i": "no closed-form mean" if kind == "flow" else None,
        "dip_ii": None if kind == "gaussian" else "needs the variances of a diagonal Gaussian|no closed-form mean",
        "free_bits_by_dim": None if closed else "needs a rate for every group of latents",
        "dreg": "at fixed parameters is not to be had" if kind == "flow" else None,
        "contractive": "does not depend on x|no gradient" if q == "from_prior" else None,
    }
    if kind == "gaussian" and p == "standard":
        reasons["decomposed"] = None
    return reasons.get({"tc_vae": "decomposed", "stl": "dreg"}.get(o, o))


@dataclass(frozen=True)
class Pick:
    """One thing from each room, by name."""

    posterior: str = "gaussian"
    prior: str = "standard"
    likelihood: str = "bernoulli"
    objective: str = "elbo"

    def model(self) -> VAE:
        """The model, with the same weights at every call."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return self._made()

    def _made(self) -> VAE:
        if self.posterior == "from_prior":
            prior = PRIORS[self.prior](None)
            q = POSTERIORS[self.posterior](prior)
        else:
            q = POSTERIORS[self.posterior](None)
            prior = PRIORS[self.prior](q)
        return VAE(q, prior, LIKELIHOODS[self.likelihood](NET, (L,), DATA))

    @property
    def name(self) -> str:
        return f"{self.posterior}-{self.prior}-{self.likelihood}-{self.objective}"


def singles() -> Iterator[Pick]:
    """Everything of each room once, the rest the ordinary."""
    yield from (Pick(posterior=name) for name in POSTERIORS)
    yield from (Pick(prior=name) for name in PRIORS)
    yield from (Pick(likelihood=name) for name in LIKELIHOODS)
    yield from (Pick(objective=name) for name in OBJECTIVES)


def products(n: int) -> list[Pick]:
    """Combinations, the same in every run."""
    every = [Pick(*names) for names in product(POSTERIORS, PRIORS, LIKELIHOODS, OBJECTIVES)]
    return random.Random(0).sample([one for one in every if (one.posterior, one.prior) not in ODD], n)


PICKS = list(dict.fromkeys([*singles(), *products(100)]))
SENSIBLE = [one for one in PICKS if refusal(one.posterior, one.prior, one.objective) is None]
SENSELESS = [one for one in PICKS if one not in SENSIBLE]


def data(n: int = B) -> Tensor:
    """Rows of 0 and 1, which every likelihood can score."""
    return Noise(0, stream="x").uniform((B, *DATA)).round().repeat(n // B, *[1] * len(DATA))


def passed(pick: Pick, n: int = B, seed: int = 1) -> tuple[VAE, Objective, Trace, Noise]:
    """Model, objective and trace, and the noise that the objective is to go on with."""
    model, goal = pick.model(), OBJECTIVES[pick.objective].make()
    x = data(n).requires_grad_(goal.input_gradient)
    noise = Noise(seed)
    return model, goal, model(x, draws=goal.draws, noise=noise), noise


@pytest.mark.parametrize("pick", SENSIBLE, ids=lambda pick: pick.name)
def test_values_parts_and_gradients(pick: Pick, double: None) -> None:
    model, goal, trace, noise = passed(pick)
    terms = goal(trace, noise)
    total = terms.total
    assert total.shape == (B,) and total.dtype == torch.float64 and total.isfinite().all()
    parts = terms.parts
    assert_close(sum(part.weight * part.value for part in parts.values()), total)
    assert_close(parts["log_likelihood"].value, trace.log_likelihood.mean(0))
    if trace.levels[0].q.has_density:
        closed = trace.levels[0].q.kl(trace.levels[0].p)
        wanted = trace.log_ratio.mean(0) if closed is None or pick.objective == "elbo_monte_carlo" else closed
        assert_close(parts["rate"].value, wanted.expand(B))  # the plain KL, whatever is done to it elsewhere
    found = goal.surrogate(model, trace, terms)
    assert_close(found, total)  # the value is the objective's, whatever its gradient
    (-found.mean()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name
    if pick.objective != "discrimination":
        reached = [parameter.grad for parameter in model.likelihood.parameters() if parameter.grad is not None]
        assert any((gradient != 0).any() for gradient in reached)


@pytest.mark.parametrize("pick", SENSIBLE, ids=lambda pick: pick.name)
def test_a_model_built_in_float32_and_turned_double_is_the_same(pick: Pick) -> None:
    """The same numbers for noise, the same value to the digits of float32, in the type that was asked for."""
    found = []
    heard = Recorder(Noise(1))
    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(0)
        model, goal = pick.model().to(dtype), OBJECTIVES[pick.objective].make().to(dtype)
        x = data().to(dtype).requires_grad_(goal.input_gradient)
        noise = Cast(Replay(heard.tensors)) if found else heard
        found.append(goal(model(x, draws=goal.draws, noise=noise), noise).total)
        assert found[-1].dtype == dtype
    assert_close(found[0].double(), found[1], rtol=2e-4, atol=2e-3)


class Cast(NoiseSource):
    """Hands the same numbers out in float64, whatever was asked for."""

    def __init__(self, source: NoiseSource) -> None:
        self.source = source

    def draw(self, request: Request) -> Tensor:
        return self.source.draw(request).double()


LINE = torch.linspace(-12, 12, 241, dtype=torch.float64)
GRID, CELL = torch.cartesian_prod(LINE, LINE), 2 * log(float(LINE[1] - LINE[0]))


def log_joint(model: VAE, x: Tensor) -> Tensor:
    """log p(x, z) + log of a cell's size for each z of a grid that reaches far beyond every prior here, and datum."""
    log_p = model.prior(None).log_prob(GRID) + CELL
    assert abs(float(log_p.exp().sum()) - 1) < 2e-3, "the prior is not on the grid"
    return log_p[:, None] + model.likelihood(GRID[:, None], None).log_prob(x)


def evidence(model: VAE, x: Tensor) -> Tensor:
    """log p(x) of each datum."""
    return log_joint(model, x).logsumexp(0)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("posterior", ["gaussian", "full_gaussian", "mixture", "from_prior"])
def test_the_elbo_is_the_evidence_less_the_divergence_from_the_posterior(
    posterior: str, prior: str, double: None
) -> None:
    """Both sides by themselves: draws on one, an integral over z on the other."""
    if (posterior, prior) in ODD:
        pytest.skip("each needs the other first")
    repeats = 1000
    pick = Pick(posterior, prior)
    with torch.no_grad():
        model, goal, trace, noise = passed(pick, B * repeats)
        values = goal(trace, noise).total.view(repeats, B)
        log_q = model.posterior(data(), None).log_prob(GRID[:, None]) + CELL
        wanted = (log_q.exp() * (log_joint(model, data()) - log_q)).sum(0)
        assert ((log_q.exp().sum(0) - 1).abs() < 5e-3).all(), "the posterior is not on the grid"
    assert ((values.mean(0) - wanted).abs() <= 5 * values.std(0) / repeats**0.5 + 2e-2).all()


@pytest.mark.parametrize("pick", [p for p in SENSIBLE if OBJECTIVES[p.objective].bound], ids=lambda pick: pick.name)
def test_no_bound_exceeds_the_evidence(pick: Pick, double: None) -> None:
    repeats = 200
    with torch.no_grad():
        model, goal, trace, noise = passed(pick, B * repeats)
        values = goal(trace, noise).total.view(repeats, B)
        truth = evidence(model, data())
    error = values.std(0) / repeats**0.5
    assert (values.mean(0) <= truth + 4 * error + 2e-3).all()
    if pick.objective == "iwae" and pick.posterior not in FLOWS:
        assert (values.mean(0) > truth - 3.0).all()  # and it is a bound on this evidence, not on something far above


@pytest.mark.parametrize("pick", SENSELESS, ids=lambda pick: pick.name)
def test_what_makes_no_sense_is_refused_with_the_reason(pick: Pick, double: None) -> None:
    with pytest.raises(ValueError, match=refusal(pick.posterior, pick.prior, pick.objective)):
        model, goal, trace, noise = passed(pick)
        goal.surrogate(model, trace, goal(trace, noise))


@pytest.mark.parametrize("prior", [lambda: StandardNormal(1), lambda: StandardNormal(3), lambda: AR1((2, 2), rate=1.0)])
def test_a_prior_of_another_size_is_refused_even_where_shapes_broadcast(prior: Callable[[], Prior]) -> None:
    model = VAE(gaussian(NET, DATA, L), prior(), LIKELIHOODS["bernoulli"](NET, (L,), DATA))
    with pytest.raises(ValueError, match=r"VAE: the posterior is of z of shape \(2,\), the prior .* the same latent"):
        model(data())
