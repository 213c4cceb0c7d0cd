"""Heads for the pixels of grey and colour images."""

__all__ = [
    "BetaBinomialHead",
    "CategoricalHead",
    "ContinuousBernoulliHead",
    "DiscretisedLogisticHead",
    "DiscretisedLogisticMixtureHead",
]

from typing import ClassVar

from torch import Tensor

from .._checks import positive_int
from .._shapes import Shape
from .base import at_least_float32
from .beta_binomial import BetaBinomial
from .categorical import Categorical
from .continuous_bernoulli import ContinuousBernoulli
from .discretised_logistic import DiscretisedLogistic, DiscretisedLogisticMixture
from .heads import Head

_LEVELS = 256
#: The least log-scale of a discretised logistic, as in PixelCNN++: a tenth of the distance between two levels is wide
#: enough that one level holds nearly all mass, and gradients stay finite.
_LEAST_LOG_SCALE = -7.0
#: How far log α and log β of a beta-binomial go: at one end a pixel that is always black costs 10⁻⁵ nats, at the other
#: it is a binomial to five digits.
_MOST_LOG_SHAPE = 14.0


class ContinuousBernoulliHead(Head):
    """Logits of independent continuous Bernoullis: densities on [0, 1]."""

    support: ClassVar[str] = "unit"

    @property
    def per_element(self) -> int:
        return 1

    def forward(self, raw: Tensor) -> ContinuousBernoulli:
        return ContinuousBernoulli(raw, len(self.event))


class BetaBinomialHead(Head):
    """Log α and log β of independent beta-binomials over 256 levels; beyond ±14 they are held there."""

    support: ClassVar[str] = "levels"

    @property
    def per_element(self) -> int:
        return 2

    def forward(self, raw: Tensor) -> BetaBinomial:
        log_alpha, log_beta = self._split(at_least_float32(raw).clamp(-_MOST_LOG_SHAPE, _MOST_LOG_SHAPE))
        return BetaBinomial(log_alpha, log_beta, len(self.event))


class CategoricalHead(Head):
    """Logits of 256 levels for each element."""

    support: ClassVar[str] = "levels"

    @property
    def per_element(self) -> int:
        return _LEVELS

    def forward(self, raw: Tensor) -> Categorical:
        return Categorical(self._stacked(raw), len(self.event))


class DiscretisedLogisticHead(Head):
    """Places and log-scales of independent discretised logistics; log-scales below −7 are raised to it."""

    support: ClassVar[str] = "levels"

    @property
    def per_element(self) -> int:
        return 2

    def forward(self, raw: Tensor) -> DiscretisedLogistic:
        loc, log_scale = self._split(at_least_float32(raw))
        return DiscretisedLogistic(loc, log_scale.clamp(min=_LEAST_LOG_SCALE), len(self.event))


class DiscretisedLogisticMixtureHead(Head):
    """Weights, places and log-scales of mixtures of discretised logistics; log-scales below −7 are raised to it.

    Args:
        event: shape of one event.
        components: M, how many logistics each element mixes.
    """

    support: ClassVar[str] = "levels"

    def __init__(self, event: int | Shape, components: int = 5) -> None:
        super().__init__(event)
        self.components = positive_int(components, "DiscretisedLogisticMixtureHead: components")

    @property
    def per_element(self) -> int:
        return 3 * self.components

    def forward(self, raw: Tensor) -> DiscretisedLogisticMixture:
        dim = -len(self.event) - 1
        logits, loc, log_scale = self._stacked(at_least_float32(raw)).chunk(3, dim)
        return DiscretisedLogisticMixture(logits, loc, log_scale.clamp(min=_LEAST_LOG_SCALE), len(self.event))
