"""Small models of every kind that can be coded, and data for them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fourfold import recipes
from fourfold.conditional import Condition, Conditional, NetworkConditional, Prior
from fourfold.data import DataSpec
from fourfold.distributions import (
    BernoulliHead,
    BetaBinomialHead,
    CategoricalHead,
    DiscretisedLogisticHead,
    DiscretisedLogisticMixtureHead,
    Distribution,
    FlowHead,
    FullGaussianHead,
    GaussianHead,
    Head,
    MixtureHead,
)
from fourfold.models import VAE, Direct, Generated, Model, Pick, Refinement, SemiAmortised
from fourfold.networks.flows import gated
from fourfold.noise import Noise, NoiseSource
from fourfold.plan import Plan
from fourfold.priors import AR1, AutoregressiveFlow, ConditionalPrior, GaussianMixture, StandardNormal, VampPrior
from fourfold.trace import Level, Trace

DATA, LATENT = (2, 3), 4


class Given(nn.Module):
    """A linear map of the context and of c beside it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return self.linear(torch.cat((x.flatten(1), c), -1))


def posterior(head: Head | None = None, given: int = 0) -> NetworkConditional:
    head = head or GaussianHead(LATENT)
    outputs = int(np.prod(head.raw_shape))
    if given:
        return NetworkConditional(Given(6 + given, outputs), head, DATA, (given,))
    return NetworkConditional(
        nn.Sequential(nn.Flatten(), nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, outputs)), head, DATA
    )


def likelihood(head: Head | None = None, given: int = 0, latent: int = LATENT) -> NetworkConditional:
    head = head or BernoulliHead(DATA)
    outputs = int(np.prod(head.raw_shape))
    if given:
        return NetworkConditional(Given(latent + given, outputs), head, latent, (given,))
    return NetworkConditional(nn.Linear(latent, outputs), head, latent)


def vae(head: Head | None = None, prior: Prior | None = None, q: Conditional | None = None, steep: float = 2.0) -> VAE:
    """A VAE whose likelihood is not uniform, and whose posterior is not that far from the truth."""
    p = likelihood(head)
    nn.init.normal_(p.network.weight, std=steep)
    return VAE(q or posterior(), prior or StandardNormal(LATENT), p)


def vamp() -> VAE:
    q = posterior()
    return vae(prior=VampPrior(q, DATA, components=7, spread=0.3), q=q)


def conditional() -> VAE:
    prior = ConditionalPrior(NetworkConditional(nn.Linear(3, 2 * LATENT), GaussianHead(LATENT), 3))
    return VAE(posterior(given=3), prior, likelihood(given=3), Condition.label(3))


def flow_prior() -> VAE:
    return vae(prior=AutoregressiveFlow(LATENT, steps=1, hidden=(8,)))


def flow_posterior() -> VAE:
    return vae(q=posterior(FlowHead(LATENT, gated(LATENT, 3, steps=1, hidden=(8,)), 3)))


class Coins(Prior):
    """p(x | c) without latents."""

    event, support = DATA, "binary"

    def __init__(self) -> None:
        super().__init__()
        self.logits, self.head = nn.Parameter(torch.randn(DATA)), BernoulliHead(DATA)

    def forward(self, c: Tensor | None = None) -> Distribution:
        return self.head(self.logits)


class Levels(Model):
    """Linear-Gaussian levels of given sizes, from top to bottom, above coins.

    p(z_i | z_{i−1}); and q either a chain from x upwards, or from the top down, every level of which sees x.
    """

    support = "binary"

    def __init__(self, sizes: tuple[int, ...], markov: bool) -> None:
        super().__init__()
        self.sizes, self.markov, last = sizes, markov, len(sizes) - 1

        def normal(inputs: int, i: int) -> NetworkConditional:
            return NetworkConditional(nn.Linear(inputs, 2 * sizes[i]), GaussianHead(sizes[i]), inputs)

        self.top, self.p_x = StandardNormal(sizes[0]), likelihood(latent=sizes[-1])
        self.p = nn.ModuleList(normal(sizes[i - 1], i) for i in range(1, len(sizes)))
        if markov:
            self.q = nn.ModuleList(normal(6 if i == last else sizes[i + 1], i) for i in range(len(sizes)))
        else:
            self.q = nn.ModuleList(normal(6 + (sizes[i - 1] if i else 0), i) for i in range(len(sizes)))

    @property
    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple((size,) for size in self.sizes)

    def _prior(self, i: int, z: dict[int, Tensor]) -> Distribution:
        return self.p[i - 1](z[i - 1]) if i else self.top()

    def _posterior(self, i: int, x: Tensor, z: dict[int, Tensor]) -> Distribution:
        x = x.flatten(1)
        below = i + 1
        if self.markov:
            return self.q[i](z[below]) if below in z else self.q[i](x)
        context = torch.cat((x.expand(*z[i - 1].shape[:-1], -1), z[i - 1]), -1) if i else x
        return self.q[i](context)

    def _trace(self, x: Tensor, z: dict[int, Tensor], q: dict[int, Distribution]) -> Trace:
        levels = tuple(Level(z[i], q[i], self._prior(i, z)) for i in range(len(self.sizes)))
        p_x = self.p_x(z[len(self.sizes) - 1])
        return Trace(x, p_x, p_x.log_prob(x), levels)

    def forward(
        self,
        x: Tensor,
        c: Tensor | None = None,
        draws: int = 1,
        noise: NoiseSource | None = None,
        mask: Tensor | None = None,
    ) -> Trace:
        source = noise or Noise()
        return self.infer(x, c, lambda i, q: q.sample(source, None if len(q.lead_shape) == 2 else draws))

    def infer(self, x: Tensor, c: Tensor | None, pick: Pick, mask: Tensor | None = None) -> Trace:
        z: dict[int, Tensor] = {}
        q: dict[int, Distribution] = {}
        order = range(len(self.sizes))
        for visit, i in enumerate(reversed(order) if self.markov else order):
            q[i] = self._posterior(i, x, z)
            z[i] = pick(visit, q[i])
        return self._trace(x, z, q)

    def at(
        self, x: Tensor, z: tuple[Tensor, ...], c: Tensor | None = None, q: bool = True, mask: Tensor | None = None
    ) -> Trace:
        given = dict(enumerate(z))
        used = {i: self._posterior(i, x, given) if q else self._prior(i, given) for i in given}
        return self._trace(x, given, used)

    def generate(self, n: int, c: Tensor | None, pick: Pick) -> Generated:
        z: dict[int, Tensor] = {}
        for i in range(len(self.sizes)):
            p = self._prior(i, z)
            z[i] = pick(i, p if i else p.expand((n,)))
        return Generated(tuple(z.values()), self.p_x(z[len(self.sizes) - 1]))


def hierarchy(make: Callable[..., Plan]) -> Model:
    """A recipe's own levels, with batch normalisation."""
    plan = make(latents=(4, 3, 2), hidden=(8, 8, 8), depth=1, batch_norm=True)
    return plan.build(DataSpec(DATA, 2, None), seed=int(torch.randint(10**6, ()))).model


@dataclass(frozen=True)
class Case:
    """A model, and how many values its data have."""

    make: Callable[[], Model]
    levels: int = 2
    classes: int | None = None

    def model(self, seed: int = 0) -> Model:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = self.make().eval()
        with torch.no_grad():  # near enough to N(0, 1) that no latent of q is unheard of under p
            for parameter in model.parameters():
                parameter.mul_(0.3)
        return model

    def data(self, n: int, seed: int = 0) -> tuple[np.ndarray, Tensor | None]:
        """Draws of the model itself, as whole numbers."""
        c = None if self.classes is None else torch.arange(n) % self.classes
        x = self.model().sample(n, c, Noise(seed), mean=False)
        return (x * (self.levels - 1)).round().to(torch.uint8).numpy(), c


CASES = {
    "binary": Case(vae),
    "categorical": Case(lambda: vae(CategoricalHead(DATA)), 256),
    "discretised_logistic": Case(lambda: vae(DiscretisedLogisticHead(DATA), steep=0.3), 256),
    "logistic_mixture": Case(lambda: vae(DiscretisedLogisticMixtureHead(DATA, 3), steep=0.3), 256),
    "beta_binomial": Case(lambda: vae(BetaBinomialHead(DATA), steep=0.3), 256),
    "two_levels": Case(lambda: Levels((2, 3), markov=False)),
    "chain": Case(lambda: Levels((2, 3), markov=True)),
    "long_chain": Case(lambda: Levels((2, 3, 4), markov=True)),
    "bottom_up": Case(lambda: hierarchy(recipes.hvae)),
    "ladder": Case(lambda: hierarchy(recipes.lvae)),
    "one_link": Case(lambda: Levels((2,), markov=True)),
    "conditional": Case(conditional, classes=3),
    "mixture_prior": Case(lambda: vae(prior=GaussianMixture(LATENT, 5))),
    "vamp": Case(vamp),
    "ar1": Case(lambda: vae(prior=AR1(LATENT, rate=0.2, channels=2))),
    "flow_prior": Case(flow_prior),
    "flow_posterior": Case(flow_posterior),
    "full_posterior": Case(lambda: vae(q=posterior(FullGaussianHead(LATENT)))),
    "mixture_posterior": Case(lambda: vae(q=posterior(MixtureHead(LATENT, 3)))),
    "semi_amortised": Case(
        lambda: SemiAmortised(posterior(), StandardNormal(LATENT), likelihood(), Refinement(steps=2))
    ),
    "no_latents": Case(lambda: Direct(Coins())),
}
