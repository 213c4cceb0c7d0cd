"""The two ends of what is possible for the reference model: a bare resident loop, and its matrix products alone.

Reference model: the one-layer VAE of the IWAE paper (Burda, Grosse, Salakhutdinov, 2015, arXiv:1509.00519):
784-200-200-50-200-200-784, tanh, Bernoulli pixels, analytic KL, one draw, Adam with learning rate 1e-3.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["HIDDEN", "LATENT", "LEARNING_RATE", "PIXELS", "arithmetic_floor", "binary_images", "resident_loop"]

PIXELS, HIDDEN, LATENT = 784, 200, 50
LEARNING_RATE = 1e-3


def binary_images(count: int = 60_000) -> tuple[Tensor, str]:
    """Binary images `(count, 784)` uint8 and their name: MNIST at threshold 128 (`FOURFOLD_DATA`), else synthetic."""
    folder = os.environ.get("FOURFOLD_DATA")
    path = Path(folder, "mnist", "train-images-idx3-ubyte.gz") if folder else None
    if path is not None and path.is_file():
        with gzip.open(path) as file:
            raw = bytearray(file.read())
        images = torch.frombuffer(raw, dtype=torch.uint8, offset=16).view(-1, PIXELS)[:count]
        return (images >= 128).to(torch.uint8), "MNIST, threshold 128"
    draw = torch.Generator().manual_seed(0)
    # 0.13 is the share of ink in binarised MNIST.
    return (torch.rand(count, PIXELS, generator=draw) < 0.13).to(torch.uint8), "synthetic, 13 % ink"


def resident_loop(images: Tensor, batch: int, steps: int) -> Callable[[], None]:
    """The loop a careful person writes: resident uint8 data, slices of a permutation, logits, fused Adam."""
    torch.manual_seed(0)
    encoder = nn.Sequential(
        nn.Linear(PIXELS, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 2 * LATENT)
    )
    decoder = nn.Sequential(
        nn.Linear(LATENT, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, PIXELS)
    )
    adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=LEARNING_RATE, fused=True)
    order = _endless_order(len(images), batch)

    def piece() -> None:
        total = torch.zeros(())
        for _ in range(steps):
            x = images[next(order)].float()
            mean, log_variance = encoder(x).chunk(2, dim=1)
            logits = decoder(mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean))
            distortion = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
            rate = -0.5 * torch.sum(1 + log_variance - mean.square() - log_variance.exp())
            loss = (distortion + rate) / batch
            adam.zero_grad()
            loss.backward()
            adam.step()
            total += loss.detach()
        if not torch.isfinite(total):
            raise ArithmeticError(f"resident_loop: the loss became {total.item()}")

    return piece


def arithmetic_floor(batch: int, steps: int) -> Callable[[], None]:
    """The matrix products of a training step and nothing else: forward, gradient of each weight and of each input.

    The first layer needs no gradient of its input; mean and log-variance are one product, as in `resident_loop`.
    """
    torch.manual_seed(0)
    encoder, decoder = (PIXELS, HIDDEN, HIDDEN, 2 * LATENT), (LATENT, HIDDEN, HIDDEN, PIXELS)
    layers = []
    for fan_in, fan_out in [*pairwise(encoder), *pairwise(decoder)]:
        x, weight, gradient = torch.rand(batch, fan_in), torch.randn(fan_out, fan_in), torch.randn(batch, fan_out)
        y, dw, dx = torch.empty(batch, fan_out), torch.empty(fan_out, fan_in), torch.empty(batch, fan_in)
        layers.append((x, weight, gradient, y, dw, dx))

    def piece() -> None:
        for _ in range(steps):
            for x, weight, _gradient, y, _dw, _dx in layers:
                torch.mm(x, weight.t(), out=y)
            for number, (x, weight, gradient, _y, dw, dx) in reversed([*enumerate(layers)]):
                torch.mm(gradient.t(), x, out=dw)
                if number:
                    torch.mm(gradient, weight, out=dx)

    return piece


def _endless_order(count: int, batch: int) -> Iterator[Tensor]:
    while True:
        yield from torch.randperm(count).split(batch)
