"""Convolutions that see only the pixels before: the network of the gated PixelCNN."""

__all__ = ["GatedPixelCNN", "PixelStacks", "PixelWalk"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, one_hot, pad, relu

from .._checks import positive_int
from .._shapes import Shape, as_shape

_NAME = "GatedPixelCNN: "


class _Reach(NamedTuple):
    """How far one layer sees: pixels to the left, to the right (in the rows above), rows up."""

    left: int
    right: int
    up: int


@dataclass(frozen=True, slots=True)
class PixelStacks:
    """The size of a gated PixelCNN, and how far it sees.

    Args:
        layers: how many gated layers.
        filters: channels of each stack; with several colours a multiple of their number.
        kernel: width of the layers after the first, odd.
        first: width of the first layer, odd and at least 3.
        window: ``(w, h)``: a pixel sees the w pixels around its column in each of the h rows above it, and ⌈(w−1)/2⌉
            pixels to its left, exactly these; ``None`` for all that the layers reach.
    """

    layers: int = 5
    filters: int = 32
    kernel: int = 5
    first: int = 7
    window: tuple[int, int] | None = None


class GatedPixelCNN(nn.Module):
    r"""Numbers for every pixel of an image from the pixels before it, row by row, and from what else is given.

    .. math:: v_{i+1} = g(a_i), \quad h_{i+1} = h_i + C_i\, g(L_i a_i + W_i * h_i + V_i z), \qquad
              a_i = U_i * v_i, \quad g(a, b) = \tanh(a)\,\sigma(b)

    The vertical stack v sees the rows above, the horizontal stack h what is to the left as well, the first layer not
    the pixel itself: together they see every pixel before, without a blind spot. Of a pixel with several colours, the
    second sees the first, and so on: channels are in as many groups, and within a pixel masks go by groups. What is
    given enters the horizontal stack of each layer, unmasked, by a bias of its own: so the vertical stack, which is
    most of the work, is of x alone and is made once for any number of draws of z. In the paper z enters both stacks: on
    MNIST pooled to 14 × 14, 2 layers, 1,000 steps, that won 0.05 nats.

    Values from 0 to 1 are seen from −1 to 1, so that black differs from what lies beyond the edge; real numbers as they
    are. Codes, which are names, are seen one-hot: as a plane for each, of which none is 1 beyond the edge.

    Args:
        event: (C, H, W).
        outputs: how many numbers each element gets; they are stacked before the channels, as a ``Head`` takes them.
        given: shape of what is given: (F,), the same for all pixels, or (F, H, W); ``None`` for nothing.
        stacks: the layers.
        codes: how many codes there are, where x is made of codes from 0 on; ``None`` for numbers.
        unit: whether numbers are from 0 to 1.

    Raises:
        ValueError: a shape that is no image, filters that colours do not divide, even kernels, a window that the layers
            do not reach.

    References:
        van den Oord et al. 2016, "Conditional image generation with PixelCNN decoders", arXiv:1606.05328; the window:
        Chen et al. 2016, arXiv:1611.02731.

    Example:
        >>> import torch
        >>> net = GatedPixelCNN((1, 6, 5), 2, (3,), PixelStacks(layers=2, filters=4, kernel=3, first=3))
        >>> net(torch.zeros(7, 1, 6, 5), torch.zeros(10, 7, 3)).shape
        torch.Size([10, 7, 2, 6, 5])
    """

    def __init__(
        self,
        event: Shape,
        outputs: int,
        given: Shape | None = None,
        stacks: PixelStacks | None = None,
        *,
        codes: int | None = None,
        unit: bool = True,
    ) -> None:
        super().__init__()
        self.codes = None if codes is None else positive_int(codes, _NAME + "codes")
        self.unit, stacks = unit, stacks or PixelStacks()
        self.event, self.outputs = as_shape(event, _NAME + "event"), positive_int(outputs, _NAME + "outputs")
        if len(self.event) != 3:
            raise ValueError(f"{_NAME}event: wanted an image (C, H, W), got {event!r}. Give data of that shape.")
        colours, wide = self.event[0], positive_int(stacks.filters, _NAME + "filters")
        if wide % colours:
            raise ValueError(f"{_NAME}filters: wanted a multiple of the {colours} colours, got {wide}.")
        self.given = None if given is None else as_shape(given, _NAME + "given")
        if self.given is not None and self.given[1:] not in ((), self.event[1:]):
            raise ValueError(f"{_NAME}given: wanted (F,) or (F, {self.event[1]}, {self.event[2]}), got {given!r}.")
        made = [
            _Layer(_Groups(colours, wide if i else colours * (codes or 1), wide), reach, self.given, first=i == 0)
            for i, reach in enumerate(_reaches(stacks))
        ]
        self.layers = nn.ModuleList(made)
        hidden, numbers = _Groups(colours, wide, wide), _Groups(colours, wide, colours * self.outputs)
        self.hidden, self.last = _Here(hidden), _Here(numbers)

    @property
    def numbers(self) -> int:
        """The most numbers that any layer has for one datum."""
        pixels = self.event[1] * self.event[2]
        return pixels * max(2 * self.hidden.out_channels, self.event[0] * self.outputs)

    @property
    def _stack(self) -> "Sequence[_Layer]":
        return cast("Sequence[_Layer]", self.layers)

    def forward(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        """The numbers of every pixel, ``(*lead, outputs · C, H, W)``; leading dimensions are broadcast."""
        return self.finish(self.seen(x), given)

    def seen(self, x: Tensor) -> tuple[Tensor, ...]:
        """What is of x alone, layer by layer: ``(*lead, 2 · filters, H, W)``."""
        if tuple(x.shape[-3:]) != self.event:
            raise ValueError(f"{_NAME}x: wanted (…, {', '.join(map(str, self.event))}), got {tuple(x.shape)}.")
        lead, found = x.shape[:-3], []
        v = shown = self.shown(x.reshape(-1, *self.event)).flatten(1, 2)
        for i, layer in enumerate(self._stack):
            risen = layer.above(v)
            side = layer.link(risen) if i else layer.link(risen) + layer.left(shown)
            found.append(side.reshape(*lead, *side.shape[1:]))
            if i + 1 < len(self._stack):
                v = _gate(risen)
        return tuple(found)

    def shown(self, x: Tensor) -> Tensor:
        """x as the layers see it, ``(N, C, planes, …)``."""
        if self.codes is None:
            return (2 * x - 1 if self.unit else x).unsqueeze(2)
        return one_hot(x.long(), self.codes).movedim(-1, 2).to(self.last.weight.dtype)

    def walk(self, given: Tensor | None, rows: int) -> "PixelWalk":
        """The same numbers for so many images, pixel after pixel."""
        return PixelWalk(self, given, rows)

    def finish(self, seen: tuple[Tensor, ...], given: Tensor | None = None) -> Tensor:
        """The numbers, from what ``seen`` made of x and from what is given."""
        h, lead = torch.zeros(()), seen[0].shape[:-3]
        for i, (layer, side) in enumerate(zip(self._stack, seen, strict=True)):
            if given is not None:
                side = side + layer.told(given)
            if i:
                left = layer.left(h)
                side = left.reshape(*lead, *left.shape[1:]) + side
            else:
                lead = side.shape[:-3]
            made = layer.carry(_gate(side.reshape(-1, *side.shape[-3:])))
            h = h + made if i else made
        h = self.last(relu(self.hidden(relu(h))))
        colours, *pixels = self.event
        return h.reshape(*lead, colours, self.outputs, *pixels).transpose(-3, -4).flatten(-4, -3)


class _Groups(NamedTuple):
    """How many colours there are, and channels in and out: as many groups of channels, in the colours' order."""

    colours: int
    inputs: int
    outputs: int

    def allowed(self, gates: int, strictly: bool) -> Tensor:
        """Which channels out (``gates`` times over) see which in, within a pixel, ``(gates · outputs, inputs)``."""
        before, after = (torch.arange(n) * self.colours // n for n in (self.inputs, self.outputs))
        after = after.repeat(gates)[:, None]
        return (before < after if strictly else before <= after).to(torch.get_default_dtype())


class _Here(nn.Conv2d):
    """A convolution along the row up to the pixel itself, of which each colour sees those before and, perhaps, itself.

    Args:
        groups: colours and channels.
        left: pixels to the left.
        gates: how many numbers for each channel.
        strictly: whether a colour does not see itself.
        bias: whether there is one.
    """

    mask: Tensor

    def __init__(
        self, groups: _Groups, left: int = 0, gates: int = 1, strictly: bool = False, bias: bool = True
    ) -> None:
        super().__init__(groups.inputs, gates * groups.outputs, (1, left + 1), bias=bias)
        self.before = left
        mask = torch.ones_like(self.weight)
        mask[:, :, 0, -1] = groups.allowed(gates, strictly)
        self.register_buffer("mask", mask, persistent=False)

    @property
    def masked(self) -> Tensor:
        """The weights, with zeros where it must not see."""
        return self.weight * self.mask

    def fixed(self) -> tuple[Tensor, Tensor]:
        """The weights as a matrix from the taps ``(pixel, channel)``, and the bias; without gradients."""
        matrix = self.masked.detach()[:, :, 0].permute(2, 1, 0).reshape(-1, self.out_channels)
        return matrix, matrix.new_zeros(self.out_channels) if self.bias is None else self.bias.detach()

    def forward(self, input: Tensor) -> Tensor:
        return conv2d(pad(input, (self.before, 0)) if self.before else input, self.masked, self.bias)


class _Above(nn.Conv2d):
    """A convolution over the rows above: of x, or of features of rows above (then with the pixel's own row)."""

    def __init__(self, inputs: int, outputs: int, reach: _Reach, strictly: bool) -> None:
        rows = reach.up if strictly else reach.up + 1
        super().__init__(inputs, outputs, (rows, reach.left + 1 + reach.right))
        self.reach, self.rows, self.strictly = reach, rows, strictly

    def forward(self, input: Tensor) -> Tensor:
        left, right, up = self.reach
        return conv2d(pad(input, (left, right, up, -int(self.strictly))), self.weight, self.bias)


class _Layer(nn.Module):
    """One layer of both stacks."""

    def __init__(self, groups: _Groups, reach: _Reach, given: Shape | None, first: bool) -> None:
        super().__init__()
        wide = groups.outputs
        self.above = _Above(groups.inputs, 2 * wide, reach, strictly=first)
        self.link = nn.Conv2d(2 * wide, 2 * wide, 1)
        self.left = _Here(groups, reach.left, gates=2, strictly=first, bias=False)
        self.carry = _Here(_Groups(groups.colours, wide, wide))
        self.given = None if given is None else nn.Conv2d(given[0], 2 * wide, 1, bias=False)
        self.shape = given

    def told(self, given: Tensor) -> Tensor:
        """The bias by what is given, ``(*lead, 2 · filters, H, W)`` or one for all pixels, ``(…, 1, 1)``."""
        if self.given is None or self.shape is None:
            raise ValueError(f"{_NAME}given: this network was built for nothing to be given, and got something.")
        lead, last = given.shape[: given.ndim - len(self.shape)], given.shape[given.ndim - len(self.shape) :]
        bias = self.given(given.reshape(-1, *(last if len(last) == 3 else (*last, 1, 1))))
        return bias.reshape(*lead, *bias.shape[1:])


def _gate(a: Tensor) -> Tensor:
    """tanh of the first half of the channels times the sigmoid of the second."""
    value, opening = a.chunk(2, 1)
    return torch.tanh(value) * torch.sigmoid(opening)


def _window(window: tuple[int, int], total: int) -> tuple[int, int, int]:
    """Pixels left, right and up."""
    if len(window) != 2:
        raise ValueError(f"{_NAME}window: wanted (w, h), got {window!r}.")
    w, h = (positive_int(n, _NAME + "window") for n in window)
    if max(w // 2, h) > total:
        raise ValueError(
            f"{_NAME}window: the layers reach {2 * total + 1} × {total} pixels, which is less than {w} × {h}. "
            "Give more layers, larger kernels or a smaller window."
        )
    return w // 2, (w - 1) // 2, h


def _reaches(stacks: PixelStacks) -> list[_Reach]:
    """What each layer sees; the first layers spend the window."""
    spans = [stacks.first // 2, *[stacks.kernel // 2] * (positive_int(stacks.layers, _NAME + "layers") - 1)]
    for name, width, least in (("kernel", stacks.kernel, 1), ("first", stacks.first, 3)):
        if positive_int(width, _NAME + name) % 2 == 0 or width < least:
            raise ValueError(f"{_NAME}{name}: wanted an odd width of at least {least}, got {width!r}.")
    total = sum(spans)
    left = [*_window(stacks.window, total)] if stacks.window is not None else [total] * 3
    found = []
    for span in spans:
        taken = [min(span, some) for some in left]
        left = [some - part for some, part in zip(left, taken, strict=True)]
        found.append(_Reach(*taken))
    return found


class PixelWalk:
    """The same numbers, pixel after pixel: what the layers made of the pixels before is kept, not made again.

    A row of the vertical stack is made when the row above is whole, a pixel of the horizontal one when it is asked for.
    Without gradients.

    Args:
        network: whose numbers.
        given: what is given, ``(rows, *shape)``, or ``None``.
        rows: how many images at once.
    """

    def __init__(self, network: GatedPixelCNN, given: Tensor | None, rows: int) -> None:
        self.network, self.given, self.rows = network, given, rows
        self._above: list[Tensor] = []
        self._left: list[Tensor] = []
        like, (_, height, width) = network.last.weight, network.event
        for layer in network._stack:
            left, right, up = layer.above.reach
            channels = layer.above.in_channels
            self._above.append(like.new_zeros(rows, channels, height + up, left + width + right))
            self._left.append(like.new_zeros(rows, left + width, channels))
        self._weights = [(layer.left.before, layer.left.fixed()[0], layer.carry.fixed()) for layer in network._stack]
        self._ends = network.hidden.fixed(), network.last.fixed()
        self._side: list[Tensor] = []

    @torch.no_grad()
    def numbers(self, row: int, column: int, colour: int) -> Tensor:
        """The numbers of one element, ``(rows, outputs)``, once all elements before it were ``put``."""
        if column == 0 and colour == 0:
            self._rise(row)
        h = self._side[0].new_zeros(())
        for i, (before, weight, (carry, bias)) in enumerate(self._weights):
            if i:
                self._left[i][:, before + column] = h
            taps = self._left[i][:, column : column + before + 1].reshape(self.rows, -1)
            h = h + torch.addmm(bias, _gate(torch.addmm(self._side[i][column], taps, weight)), carry)
        for weight, bias in self._ends:
            h = torch.addmm(bias, relu(h), weight)
        return h.reshape(self.rows, -1, self.network.outputs)[:, colour]

    @torch.no_grad()
    def put(self, row: int, column: int, colour: int, value: Tensor) -> None:
        """Tells the value of one element, ``(rows,)``."""
        left, _, up = self.network._stack[0].above.reach
        shown = self.network.shown(value[:, None])[:, 0]
        planes = slice(colour * shown.shape[1], (colour + 1) * shown.shape[1])
        self._above[0][:, planes, row + up, left + column] = shown
        self._left[0][:, left + column, planes] = shown

    def _rise(self, row: int) -> None:
        """The vertical stack at a row; of the horizontal one, what does not depend on the row's own pixels."""
        self._side, width = [], self.network.event[2]
        many = self.given is not None and self.given.ndim > 2
        given = self.given[:, :, row : row + 1] if self.given is not None and many else self.given
        v = self._above[0]
        for i, layer in enumerate(self.network._stack):
            left, _, up = layer.above.reach
            if i:
                self._above[i][:, :, row + up, left : left + width] = _gate(v)[:, :, 0]
            v = conv2d(self._above[i][:, :, row : row + layer.above.rows], layer.above.weight, layer.above.bias)
            side = layer.link(v) if given is None else layer.link(v) + layer.told(given)
            self._side.append(side[:, :, 0].permute(2, 0, 1).contiguous())
