"""What a distribution is: a log-probability, a way to turn noise into a draw, and a mean."""

__all__ = ["Conditionals", "Distribution", "Factorised", "at_least_float32", "sum_events"]

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from typing import ClassVar, Self

import torch
from torch import Tensor

from .._shapes import Shape
from ..noise import NoiseSource


def sum_events(value: Tensor, event_ndim: int) -> Tensor:
    """Sums the last ``event_ndim`` dimensions: log-probabilities add over the elements of an event."""
    return value.flatten(value.ndim - event_ndim).sum(-1) if event_ndim else value


def at_least_float32(value: Tensor) -> Tensor:
    """Densities are computed in float32 or better, also under autocast."""
    return value.to(torch.promote_types(value.dtype, torch.float32))


#: Yields p(x_J | the elements before) and J, a slice of the flattened event; is sent x_J.
Conditionals = Generator[tuple["Factorised", slice], Tensor, None]


class Distribution(ABC):
    """A distribution over events of shape ``event_shape``, one for each index of the leading ``lead_shape``.

    Leading dimensions are ``()``, ``(B,)`` or ``(S, B)``: S draws, B batch. Draws are transformed noise, so they are
    differentiable in the parameters wherever the family allows it.
    """

    #: ``True`` for a probability mass (discrete), ``False`` for a density: nats of the two are not comparable.
    mass: bool = False
    #: ``False`` for a point, which has no density: then there is neither a rate nor a bound.
    has_density: ClassVar[bool] = True
    #: ``False`` where the mean has no closed form (a flow): ``mean`` then refuses, and ``centre`` is what there is.
    has_mean: ClassVar[bool] = True
    #: ``True`` where one event has all probability (a one-hot): every draw is the same, and one of them says it all.
    certain: ClassVar[bool] = False
    #: ``True`` for a flow: log q of its own draw comes with the draw, and is many times dearer afterwards.
    log_prob_with_draw: bool = False

    @property
    @abstractmethod
    def lead_shape(self) -> Shape:
        """Leading dimensions of the parameters."""

    @property
    @abstractmethod
    def event_shape(self) -> Shape:
        """Shape of one event."""

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """The mean, of shape ``(*lead, *event)``."""

    @property
    def centre(self) -> Tensor:
        """One representative event, ``(*lead, *event)``: the mean; for a flow, the image of its base's mean."""
        return self.mean

    @abstractmethod
    def log_prob(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Log-probability in nats, of shape ``(*lead,)``; with a mask, only elements where it is 1 count."""

    def log_prob_fed(self, x: Tensor, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Σ log p(x_i | inputs_<i) in nats: x, where the elements before are shown as these inputs have them.

        It is no log-probability of x unless they are x; training with inputs that were corrupted maximises it.
        """
        raise ValueError(
            f"{type(self).__name__}: its elements do not look at those before, so there are no inputs to corrupt. "
            "Leave decoder_inputs out."
        )

    @abstractmethod
    def sample(self, noise: NoiseSource, draws: int | None = None) -> Tensor:
        """One draw of shape ``(*lead, *event)``, or ``draws`` of them stacked in front."""

    @abstractmethod
    def expand(self, lead: Shape) -> Self:
        """The same distribution with its leading dimensions expanded."""

    def sample_with_log_prob(self, noise: NoiseSource, draws: int | None = None) -> tuple[Tensor, Tensor | None]:
        """A draw and its log-probability in one pass; ``None`` where there is none (a point has no density)."""
        z = self.sample(noise, draws)
        return z, self.log_prob(z)

    def entropy(self) -> Tensor:
        """Entropy in nats, of shape ``(*lead,)``, where it has a closed form."""
        raise ValueError(f"{type(self).__name__} has no closed-form entropy: estimate it as −mean(log_prob(sample)).")

    def kl_by_element(self, other: "Distribution") -> Tensor | None:
        """KL(self ‖ other) in nats for each element of the event, or ``None`` where there is no closed form."""
        return None

    def kl(self, other: "Distribution") -> Tensor | None:
        """KL(self ‖ other) in nats, ``(*lead,)``, or ``None`` where there is no closed form."""
        by_element = self.kl_by_element(other)
        return None if by_element is None else sum_events(by_element, len(self.event_shape))

    def detached(self) -> Self:
        """The same distribution, through whose parameters no gradient flows; a density at z still has one in z."""
        raise ValueError(
            f"{type(self).__name__}: its log q(z) at fixed parameters is not to be had at the price of one pass, so "
            "estimators that leave the score out (sticking the landing, DReG) do not suit it. Take IWAE or the ELBO."
        )

    def conditionals(self) -> Conditionals:
        r"""The same distribution as a product of one-dimensional ones, a few elements of the event at a time.

        .. math:: p(x) = \prod_J p(x_J \mid x_{<J}), \qquad x_J \text{ independent of each other}

        It yields the piece ``p(x_J | x_<J)`` and J, a slice of the flattened event, and is sent x_J in the shape of the
        piece: known values, to score them one after the other, or values that were just drawn from the piece. Both
        ways it makes the same calculation, which is what a lossless code needs; ``log_prob`` may be parallel instead.

        Raises:
            ValueError: where the conditionals are not known (a flow of several steps, a mixture).
        """
        raise ValueError(f"{type(self).__name__}: its elements, one given those before, have no closed form.")


class Factorised(Distribution):
    """A product of one-dimensional distributions, one for each element of the event.

    Attributes:
        event_ndim: how many trailing dimensions are one event.
    """

    event_ndim: int

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """``(*lead, *event)``."""

    @property
    def lead_shape(self) -> Shape:
        return self.shape[: len(self.shape) - self.event_ndim]

    @property
    def event_shape(self) -> Shape:
        return self.shape[len(self.shape) - self.event_ndim :]

    @abstractmethod
    def log_prob_by_element(self, x: Tensor) -> Tensor:
        """Log-probability in nats of each element, of shape ``(*lead, *event)``."""

    @property
    def levels(self) -> int:
        """Of a mass: over how many evenly spaced values from 0 to 1."""
        return 256

    def log_prob_by_level(self) -> Iterator[Tensor]:
        """Of a mass: log-probabilities in nats of level 0, then of level 1, …, each of shape ``(*lead, *event)``."""
        like = torch.zeros_like(self.mean, dtype=torch.float64)
        for level in range(self.levels):
            yield self.log_prob_by_element(like + level / (self.levels - 1))

    def at_level(self, level: Tensor) -> Tensor:
        """Of a mass: the values with these numbers, counted as ``log_prob_by_level`` counts them."""
        return level.to(self.mean) / (self.levels - 1)

    def conditionals(self) -> Conditionals:
        yield self, slice(None)

    def log_prob(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        terms = self.log_prob_by_element(x)
        return sum_events(terms if mask is None else terms * mask, len(self.event_shape))

    def _noise_shape(self, draws: int | None) -> tuple[Shape, int]:
        """The shape of the noise one draw needs, and which of its dimensions is the batch."""
        front = () if draws is None else (draws,)
        batch = len(front) + len(self.lead_shape) - 1
        return (*front, *self.lead_shape, *self.event_shape), max(batch, 0)
