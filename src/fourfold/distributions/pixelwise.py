"""Images, or maps of real numbers, whose elements come one after the other, each given those before it."""

__all__ = ["PixelHead", "PixelSteps", "Pixels", "Pixelwise"]

from collections.abc import Callable
from math import prod
from typing import ClassVar, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from .._shapes import Shape, as_shape
from ..noise import NoiseSource
from .base import Conditionals, Distribution, Factorised, filled
from .heads import Head

# So many numbers of one layer at once, where draws need not be scored together: larger pieces wait for memory.
_AT_ONCE = 1 << 21


@runtime_checkable
class PixelSteps(Protocol):
    """Raw numbers of one element after the other, for a fixed number of images."""

    def numbers(self, row: int, column: int, colour: int) -> Tensor:
        """Of the next element, ``(rows, per_element)``."""
        ...

    def put(self, row: int, column: int, colour: int, value: Tensor) -> None:
        """Tells the element, ``(rows,)``."""
        ...


@runtime_checkable
class Pixels(Protocol):
    """A network that gives raw numbers for every element of an image from those before it, and from what is given.

    ``fourfold.networks.GatedPixelCNN`` is one. An order is fixed: row by row, and within a pixel colour by colour.
    """

    @property
    def numbers(self) -> int:
        """The most numbers that any layer has for one image."""
        ...

    def seen(self, x: Tensor) -> tuple[Tensor, ...]:
        """What is of x alone, ``(*lead, …)``."""
        ...

    def finish(self, seen: tuple[Tensor, ...], given: Tensor | None) -> Tensor:
        """The raw numbers of every element, ``(*lead, k · C, H, W)``, k stacked before the channels."""
        ...

    def walk(self, given: Tensor | None, rows: int) -> PixelSteps:
        """The same numbers one element after the other; ``given`` is ``(rows, …)``."""
        ...


class Pixelwise(Distribution):
    r"""An image, pixel after pixel in rows: a probability mass or, of real numbers, a density, in nats per image.

    .. math:: \log p(x) = \sum_i \log p(x_i \mid x_{<i}, \text{what is given})

    ``log_prob`` is one parallel pass; what the network makes of x alone it makes once, for any number of draws of what
    is given. Drawing goes element by element, and keeps what was made of those before; it has no gradient.

    There is no mean in closed form. ``centre`` takes the most probable value of each element given those already taken:
    neither a mean nor the most probable image, and blander than any draw. Pictures show draws.

    Args:
        head: the network, and the family of each element.
        given: what is given, ``(*lead, *head.given)``; ``None`` where nothing is.
        lead: leading dimensions, where nothing is given.

    References:
        van den Oord, Kalchbrenner and Kavukcuoglu 2016, arXiv:1601.06759.
    """

    has_mean: ClassVar[bool] = False
    sequential: ClassVar[bool] = True

    def __init__(self, head: "PixelHead", given: Tensor | None, lead: Shape = ()) -> None:
        self.head, self.given, self.mass = head, given, head.support != "real"
        self._lead = lead if given is None else tuple(given.shape[: given.ndim - len(head.raw_shape)])

    @property
    def lead_shape(self) -> Shape:
        return self._lead

    @property
    def event_shape(self) -> Shape:
        return self.head.event

    @property
    def mean(self) -> Tensor:
        raise ValueError("Pixelwise: its mean has no closed form. Average draws, or take one, or its centre.")

    @property
    def centre(self) -> Tensor:
        return filled(self, _likeliest if self.mass else lambda piece: piece.mean)

    def log_prob(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is not None:
            raise ValueError("Pixelwise: a mask cannot leave pixels out, on which later ones depend. Leave it out.")
        seen, given = self.head.network.seen(x), self.given
        if given is None:
            value = self._scored(x, seen, None)
        elif torch.is_grad_enabled() or len(self._lead) < 2 or x.ndim > len(self._lead) + 2:
            value = self._scored(x, seen, given)
        else:  # many draws of what is given, of the same x
            each = self.head.network.numbers * prod(self._lead[1:])
            parts = given.split(max(_AT_ONCE // max(each, 1), 1))
            value = torch.cat([self._scored(x, seen, part) for part in parts])
        return value.expand(torch.broadcast_shapes(value.shape, self._lead))

    def sample(self, noise: NoiseSource, draws: int | None = None) -> Tensor:
        if draws is not None:
            return self.expand((draws, *self._lead)).sample(noise)
        return filled(self, lambda piece: piece.sample(noise))

    def expand(self, lead: Shape) -> Self:
        given = None if self.given is None else self.given.expand(*lead, *self.head.raw_shape)
        return type(self)(self.head, given, lead)

    def conditionals(self) -> Conditionals:
        colours, height, width = self.event_shape
        rows = prod(self._lead)
        given = None if self.given is None else self.given.detach().reshape(rows, *self.head.raw_shape)
        steps = self.head.network.walk(given, rows)
        for row in range(height):
            for column in range(width):
                for colour in range(colours):
                    place = (colour * height + row) * width + column
                    raw = steps.numbers(row, column, colour).reshape(*self._lead, -1)
                    value = yield self.head.element(raw), slice(place, place + 1)
                    steps.put(row, column, colour, value.reshape(rows))

    def _scored(self, x: Tensor, seen: tuple[Tensor, ...], given: Tensor | None) -> Tensor:
        return self.head.image(self.head.network.finish(seen, given)).log_prob(x)


class PixelHead(Head):
    """What is given becomes an image distribution by a network that looks at the pixels before.

    The raw numbers are no parameters of pixels: they are what the network is given, a vector or feature maps.

    Args:
        event: (C, H, W).
        family: makes the head of a product for an event, such as ``BernoulliHead``, or ``GaussianHead`` for maps of
            real numbers; it has no parameters.
        network: sees the pixels before and gives ``family``'s raw numbers; a module with the methods of ``Pixels``.
        given: shape of what is given; ``None`` where nothing is, and then ``alone()`` is the distribution.

    Raises:
        TypeError: a network without those methods.
        ValueError: an event that is no image, or a family that is neither a mass over levels nor over all numbers.
    """

    def __init__(
        self, event: Shape, family: Callable[[Shape], Head], network: nn.Module, given: Shape | None = None
    ) -> None:
        super().__init__(event)
        if len(self.event) != 3:
            raise ValueError(f"PixelHead: event: wanted an image (C, H, W), got {event!r}. Give data of that shape.")
        if not isinstance(network, Pixels):
            raise TypeError(f"PixelHead: network: wanted one as Pixels tells, got {type(network).__name__}.")
        self.network = network
        self.image, self.element = family(self.event), family((1,))
        self.support = self.image.support  # type: ignore[misc]
        if self.support not in ("binary", "levels", "codes", "real") or next(self.image.parameters(), None) is not None:
            raise ValueError(
                "PixelHead: family: wanted a probability mass over levels or a density of any number, without "
                f"parameters of its own, got {type(self.image).__name__}. Take BernoulliHead, CategoricalHead, "
                "DiscretisedLogisticHead, DiscretisedLogisticMixtureHead, or GaussianHead."
            )
        self._given = None if given is None else as_shape(given, "PixelHead: given")

    @property
    def per_element(self) -> int:
        return self.element.per_element

    @property
    def raw_shape(self) -> Shape:
        return () if self._given is None else self._given

    def forward(self, raw: Tensor) -> Pixelwise:
        return Pixelwise(self, raw)

    def alone(self) -> Pixelwise:
        """The distribution where nothing is given, without leading dimensions."""
        return Pixelwise(self, None)


def _likeliest(piece: Factorised) -> Tensor:
    return piece.at_level(torch.stack(list(piece.log_prob_by_level())).argmax(0))
