"""The arithmetic floor: the matrix products and convolutions of a training step, played back, and nothing else.

A step is run once and what it asks of the processor is written down: each product and each convolution, forward and
backward, with its shapes and strides. Then these alone are done again on tensors of the same layout, products into
memory that is there already, in float32 or bf16. Additions, activations, densities, random numbers and the optimiser
are left out. No program that trains this model with these products can be faster, unless it does other ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.harness import timed
from benchmarks.loops import Kind, bound, channels_last, images_of, latent_of, negative_elbo, networks
from benchmarks.system import keep_pages

__all__ = ["Call", "floor", "flops", "played", "recorded", "recorded_step"]

_aten = torch.ops.aten
_PRODUCTS = {_aten.mm.default: 0, _aten.addmm.default: 1, _aten.bmm.default: 0, _aten.baddbmm.default: 1}
_CONVOLUTIONS = (_aten.convolution.default, _aten.convolution_backward.default)


@dataclass(frozen=True, slots=True)
class Call:
    """One product (`mm`, `bmm`) or convolution: the layout of its tensors, and its other arguments."""

    kind: str
    layouts: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    rest: tuple[Any, ...] = ()


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _PRODUCTS:
            a, b = args[_PRODUCTS[func] :][:2]
            self.calls.append(Call("mm" if a.ndim == 2 else "bmm", (_layout(a), _layout(b))))
        elif func is _CONVOLUTIONS[0]:
            self.calls.append(Call("convolution", (_layout(args[0]), _layout(args[1])), tuple(args[3:])))
        elif func is _CONVOLUTIONS[1]:
            layouts = tuple(map(_layout, args[:3]))
            *rest, mask = args[4:]
            self.calls.append(Call("convolution_backward", layouts, (None, *rest, [*mask[:2], False])))
        return func(*args, **(kwargs or {}))


def _layout(tensor: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(tensor.shape), tensor.stride()


def recorded(step: Callable[[], object]) -> list[Call]:
    """The products and convolutions of a step, in their order."""
    with _Recorder() as mode:
        step()
    return mode.calls


def flops(calls: list[Call]) -> int:
    """Floating-point operations of the calls, a multiplication and an addition for two."""
    return sum(map(_flops, calls))


def _flops(call: Call) -> int:
    shapes = [shape for shape, _ in call.layouts]
    if call.kind in ("mm", "bmm"):
        return 2 * prod(shapes[0]) * shapes[1][-1]
    backward = call.kind == "convolution_backward"
    x, weight = shapes[-2:]
    transposed = call.rest[4 if backward else 3]
    # Each place of the smaller image meets the whole kernel, but for its channels on that side: groups share them.
    image = x if transposed else (shapes[0] if backward else _image_after(x, weight, call.rest))
    places = image[0] * prod(image[2:])
    return 2 * places * prod(weight) * (sum(call.rest[-1][:2]) if backward else 1)


def _image_after(x: tuple[int, ...], weight: tuple[int, ...], rest: tuple[Any, ...]) -> tuple[int, ...]:
    stride, padding, dilation = rest[:3]
    sides = [
        (side + 2 * p - d * (k - 1) - 1) // s + 1
        for side, k, s, p, d in zip(x[2:], weight[2:], stride, padding, dilation, strict=True)
    ]
    return (x[0], weight[0], *sides)


def played(calls: list[Call], dtype: torch.dtype = torch.float32) -> Callable[[], None]:
    """A function that does the calls once, on tensors of their own."""
    ready = [_ready(call, dtype) for call in calls]

    def piece() -> None:
        for run in ready:
            run()

    return piece


def _ready(call: Call, dtype: torch.dtype) -> Callable[[], object]:
    tensors = [_filled(*layout, dtype) for layout in call.layouts]
    if call.kind in ("mm", "bmm"):
        a, b = tensors
        product = torch.mm if call.kind == "mm" else torch.bmm
        out = product(a, b)
        return lambda: product(a, b, out=out)
    if call.kind == "convolution":
        x, weight = tensors
        return lambda: _aten.convolution(x, weight, None, *call.rest)
    return lambda: _aten.convolution_backward(*tensors, *call.rest)


def _filled(shape: tuple[int, ...], stride: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    tensor = torch.empty_strided(shape, stride, dtype=dtype)
    if 0 in stride:  # expanded: it has fewer numbers than elements
        tensor = torch.empty(shape, dtype=dtype)
    return tensor.normal_()


def recorded_step(kind: Kind, batch: int, draws: int = 0) -> list[Call]:
    """What one step of a model of `loops` asks for."""
    encoder, decoder = networks(kind)
    if kind == "conv":
        channels_last(encoder, decoder)
    x = images_of(kind, batch, batch).float()
    noise = torch.randn((draws, batch, latent_of(kind)) if draws else (batch, latent_of(kind)))
    return recorded(lambda: (bound if draws else negative_elbo)(x, noise, encoder(x), decoder).backward())


def floor(kind: Kind, batch: int, steps: int, draws: int = 0, precision: str = "32") -> Callable[[], float]:
    """The products of so many steps of a model of `loops`, timed."""
    keep_pages()
    step = played(recorded_step(kind, batch, draws), torch.bfloat16 if precision == "bf16" else torch.float32)
    return timed(lambda: [step() for _ in range(steps)], steps * batch)
