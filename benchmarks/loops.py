"""Data, networks and the bare loop: what a careful person writes in PyTorch for the models of the tables.

Dense: the one-layer VAE of the IWAE paper (Burda, Grosse, Salakhutdinov, 2015, arXiv:1509.00519),
784-200-200-50-200-200-784, tanh, on 28×28. Convolutional: that of Burgess et al., 2018, arXiv:1804.03599, on 64×64:
32-32-64-64 channels, 4×4, stride 2, dense 256, 10 latents, ReLU. Bernoulli pixels, Adam with learning rate 1e-3. With
one draw the KL is analytic; with `draws` the bound is the importance-weighted one.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from math import log
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.harness import timed
from benchmarks.system import keep_pages

__all__ = [
    "HIDDEN",
    "LATENT",
    "LEARNING_RATE",
    "PIXELS",
    "Kind",
    "binary_images",
    "bound",
    "channels_last",
    "endless_order",
    "images_of",
    "latent_of",
    "negative_elbo",
    "networks",
    "resident",
    "sprites",
]

PIXELS, HIDDEN, LATENT = 784, 200, 50
LEARNING_RATE = 1e-3
_CONV_LATENT, _SIDE = 10, 64
Kind = str
"""`dense` or `conv`."""


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


def sprites(count: int = 4_096) -> Tensor:
    """Binary images `(count, 1, 64, 64)` uint8: one filled rectangle each, anywhere, of sides 8 to 24."""
    draw = torch.Generator().manual_seed(0)
    sides = torch.randint(8, 25, (2, count, 1), generator=draw)
    starts = (torch.rand(2, count, 1, generator=draw) * (_SIDE - sides)).long()
    line = torch.arange(_SIDE)
    rows, columns = ((line >= start) & (line < start + side) for start, side in zip(starts, sides, strict=True))
    return (rows[:, :, None] & columns[:, None, :]).to(torch.uint8)[:, None]


def images_of(kind: Kind, batch: int, count: int | None = None) -> Tensor:
    """The images of a model, cut to whole batches: every step of every candidate is the same work."""
    images = binary_images(count or 60_000)[0] if kind == "dense" else sprites(count or 4_096)
    return images[: len(images) // batch * batch]


def latent_of(kind: Kind) -> int:
    """How many latents the model has."""
    return LATENT if kind == "dense" else _CONV_LATENT


def networks(kind: Kind) -> tuple[nn.Sequential, nn.Sequential]:
    """Encoder, to mean and log-variance in one row, and decoder, to logits; the same weights each time."""
    torch.manual_seed(0)
    if kind == "dense":
        tail = (nn.Linear(HIDDEN, 2 * LATENT),)
        encoder = nn.Sequential(nn.Linear(PIXELS, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh(), *tail)
        tail = (nn.Linear(HIDDEN, PIXELS),)
        return encoder, nn.Sequential(nn.Linear(LATENT, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh(), *tail)
    down: list[nn.Module] = []
    for a, b in ((1, 32), (32, 32), (32, 64), (64, 64)):
        down += [nn.Conv2d(a, b, 4, 2, 1), nn.ReLU()]
    up: list[nn.Module] = []
    for a, b in ((64, 64), (64, 32), (32, 32), (32, 1)):
        up += [nn.ReLU(), nn.ConvTranspose2d(a, b, 4, 2, 1)]
    flat = 64 * 4 * 4
    encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(flat, 256), nn.ReLU(), nn.Linear(256, 2 * _CONV_LATENT))
    decoder = nn.Sequential(
        nn.Linear(_CONV_LATENT, 256), nn.ReLU(), nn.Linear(256, flat), nn.Unflatten(1, (64, 4, 4)), *up
    )
    return encoder, decoder


def channels_last(*modules: nn.Module) -> None:
    """Weights of convolutions in the order that CPUs and GPUs like better, in place."""
    for module in modules:
        module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def negative_elbo(x: Tensor, noise: Tensor, outputs: Tensor, decoder: Callable[[Tensor], Tensor]) -> Tensor:
    """−ELBO in nats, the mean over the batch, with the KL in closed form; `outputs` are the encoder's."""
    mean, log_variance = outputs.chunk(2, dim=1)
    logits = decoder(mean + torch.exp(0.5 * log_variance) * noise).to(outputs.dtype)
    distortion = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    rate = -0.5 * torch.sum(1 + log_variance - mean.square() - log_variance.exp())
    return (distortion + rate) / len(x)


def bound(x: Tensor, noise: Tensor, outputs: Tensor, decoder: Callable[[Tensor], Tensor]) -> Tensor:
    """The negative importance-weighted bound of the draws of `noise (K, B, D)`; the encoder has run once."""
    mean, log_variance = outputs.chunk(2, dim=1)
    z = mean + torch.exp(0.5 * log_variance) * noise
    logits = decoder(z.flatten(0, 1)).to(outputs.dtype).view(len(noise), *x.shape)
    likelihood = -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").flatten(2).sum(2)
    log_weight = likelihood + 0.5 * (noise.square() + log_variance - z.square()).sum(2)
    return log(len(noise)) - log_weight.logsumexp(0).mean()


def resident(
    kind: Kind, batch: int, steps: int, draws: int = 0, precision: str = "32", keep: bool = True, device: str = "cpu"
) -> Callable[[], float]:
    """The loop a careful person writes: resident uint8 data, slices of a permutation, logits, fused Adam.

    bf16 is autocast around the networks; images are channels-last. With `keep`, the allocator keeps its pages.
    """
    if keep:
        keep_pages()
    images = images_of(kind, batch).to(device)
    encoder, decoder = (network.to(device) for network in networks(kind))
    if kind == "conv":
        channels_last(encoder, decoder)
    adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=LEARNING_RATE, fused=True)
    order = endless_order(len(images), batch, device)
    shape = (draws, batch, latent_of(kind)) if draws else (batch, latent_of(kind))

    def piece() -> None:
        total = torch.zeros((), device=device)
        for _ in range(steps):
            x = images[next(order)].float()
            noise = torch.randn(shape, device=device)
            with _casting(precision, device):
                outputs = encoder(x).float()
                loss = (bound if draws else negative_elbo)(x, noise, outputs, decoder)
            adam.zero_grad()
            loss.backward()
            adam.step()
            total += loss.detach()
        if not torch.isfinite(total):
            raise ArithmeticError(f"resident: the loss became {total.item()}")

    return timed(piece, steps * batch)


def endless_order(count: int, batch: int, device: str = "cpu") -> Iterator[Tensor]:
    """Batches of fresh permutations, one after another."""
    while True:
        yield from torch.randperm(count, device=device).split(batch)


def _casting(precision: str, device: str) -> AbstractContextManager[object]:
    return torch.autocast(device, torch.bfloat16) if precision == "bf16" else nullcontext()
