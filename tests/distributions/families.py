"""The table of distributions that the laws are tested on."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from fourfold.distributions import (
    Bernoulli,
    BetaBinomial,
    Categorical,
    ContinuousBernoulli,
    DiagonalGaussian,
    DiscretisedLogistic,
    DiscretisedLogisticMixture,
    Factorised,
)
from fourfold.noise import Noise

__all__ = ["FAMILIES", "Family"]


@dataclass(frozen=True)
class Family:
    """How to make a distribution, parameters for it, and data that it can score."""

    make: Callable[..., Factorised]
    centres: tuple[float, ...]  # one for each parameter, which lies around it
    outcomes: str
    classes: int | None = None  # size of the dimension before the event
    closed: bool = True  # entropy and KL have closed forms

    @property
    def draws(self) -> int:
        """How many draws tell the moments: fewer where each costs a sum over all levels."""
        return 20_000 if self.classes == 256 else 100_000

    def parameters(self, lead: tuple[int, ...], event: tuple[int, ...], seed: int = 0) -> tuple[Tensor, ...]:
        """Parameters as the default dtype has them."""
        noise = Noise(seed, stream="parameters")
        inner = () if self.classes is None else (self.classes,)
        return tuple(0.7 * noise.normal((*lead, *inner, *event)) + centre for centre in self.centres)

    def example(self, lead: tuple[int, ...] = (5,), event: tuple[int, ...] = (4,), seed: int = 0) -> Factorised:
        """A distribution."""
        return self.make(*self.parameters(lead, event, seed), event_ndim=len(event))

    def data(self, shape: tuple[int, ...], seed: int = 0) -> Tensor:
        """Data that it can score."""
        noise = Noise(seed, stream="data")
        if self.outcomes == "real":
            return noise.normal(shape)
        unit = noise.uniform(shape)
        top = {"binary": 1, "levels": 255, "unit": None}[self.outcomes]
        return unit if top is None else (unit * top).round() / top


FAMILIES = {
    "bernoulli": Family(Bernoulli, (0.3,), "binary"),
    "beta_binomial": Family(BetaBinomial, (0.3, 0.8), "levels", closed=False),
    "categorical": Family(Categorical, (0.0,), "levels", classes=256),
    "continuous_bernoulli": Family(ContinuousBernoulli, (0.5,), "unit"),
    "discretised_logistic": Family(DiscretisedLogistic, (0.2, -2.0), "levels", closed=False),
    "gaussian": Family(DiagonalGaussian, (0.4, -0.5), "real"),
    "mixture": Family(DiscretisedLogisticMixture, (0.0, 0.1, -2.5), "levels", classes=3, closed=False),
}
