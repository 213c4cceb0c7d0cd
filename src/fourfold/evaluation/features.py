"""What generated and real data are compared by: features of the user's choice, or of a small network trained here."""

__all__ = ["Features", "Generation", "generation", "train_features"]

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import conv2d, cross_entropy, linear, relu

from .._checks import positive_int
from .._shapes import Shape, size
from ..models import Model
from ..noise import Noise
from ..statistics import KID, frechet, frechet_limit, kid
from ..statistics import features as made_of
from .batches import BatchLike, first, ready
from .importance import Progress

_WIDTH = 64


@dataclass(frozen=True, slots=True)
class Features:
    """A space in which data are compared, with a name that goes into every row.

    Attributes:
        name: what made them: ``"conv-classifier, mnist, seed 0"``.
        digest: of the weights; networks that are not bit for bit the same give numbers that are not comparable.
        encode: ``(B, *data) → (B, f)``.
    """

    name: str
    digest: str
    encode: Callable[[Tensor], Tensor]

    def __str__(self) -> str:
        return f"features: {self.name}" + (f" ({self.digest})" if self.digest else "")


@dataclass(frozen=True, slots=True)
class Generation:
    """Distances of draws of the model from data, in a feature space, and of data from other data of the same part.

    Attributes:
        frechet: the Fréchet distance of n draws from n data.
        limit: its extrapolation to n → ∞.
        floor: the Fréchet distance of n other data from the same n data: what no model can be expected to go below.
        kid: the polynomial MMD², draws against data.
        kid_floor: the same, data against data.
        n: draws, data, and other data.
        size: numbers in a feature.
    """

    frechet: float
    limit: float
    floor: float
    kid: KID
    kid_floor: KID
    n: int
    size: int


@torch.no_grad()
def generation(
    model: Model, batches: Iterable[BatchLike], features: Features, noise: Noise, n: int = 2000
) -> Generation:
    """FID- and KID-like distances of draws of p(x) from data; real from real beside them.

    Draws, not means of p(x | z); given the data's own c, where there is one. The data are halved at random: one half
    is what both the draws and the other half are held against.

    Args:
        model: any model, in eval mode.
        batches: the data, better held out; at most the first 2n are used.
        features: the space. Numbers of other features are not comparable.
        noise: its forks draw the samples, the halves and the subsets.
        n: draws, at most half as many as there are data.

    Raises:
        ValueError: a model in training mode, data that are modelled in part only, or fewer than 64 of them.
    """
    ready(model, "generation")
    real, made = [], []
    for i, batch in enumerate(first(batches, 2 * positive_int(n, "generation: n"))):
        if batch.mask is not None:
            raise ValueError("generation: the data are modelled in part only, so there is nothing whole to compare.")
        drawn = model.sample(len(batch.x), batch.c, noise.fork(str(i)), mean=False)
        real.append(made_of(batch.x, features.encode))
        made.append(made_of(drawn.to(batch.x.dtype), features.encode))
    count = sum(map(len, real))
    if count < 64:
        raise ValueError(f"generation: at least 64 data are needed, got {count}. Give more.")
    half = count // 2
    order = noise.fork("halves").uniform((count,)).argsort().to(real[0].device)
    data, draws = torch.cat(real)[order].double(), torch.cat(made)[order].double()
    here, other, draws = data[:half], data[half : 2 * half], draws[:half]
    few = max(min(1000, half // 2), 2)
    return Generation(
        frechet(draws, here),
        frechet_limit(draws, here, noise=noise.fork("sizes")),
        frechet(other, here),
        kid(draws, here, subsets=50, size=few, noise=noise.fork("kid")),
        kid(other, here, subsets=50, size=few, noise=noise.fork("kid floor")),
        half,
        data.shape[1],
    )


def train_features(
    x: Tensor,
    labels: Tensor | None,
    noise: Noise,
    name: str,
    steps: int = 600,
    progress: Progress | None = None,
) -> Features:
    """The default features: 64 numbers of a small classifier, or without labels of a small autoencoder.

    Two convolutions for images, two dense layers for vectors; Adam, batches of 100. Weights and batches come from the
    noise: on one device and build of torch, a seed is a network.

    Args:
        x: data as models see them, ``(N, D)`` or ``(N, C, H, W)``.
        labels: ``(N,)`` whole numbers from 0, or ``None``.
        noise: of weights and batches; its seed goes into the name.
        name: of the data.
        steps: of Adam.
        progress: told (done, total) steps.

    Raises:
        ValueError: data of another shape.
    """
    if x.ndim not in (2, 4) or not len(x):
        raise ValueError(f"train_features: x must be (N, D) or (N, C, H, W), got {tuple(x.shape)}.")
    network = _Network(tuple(x.shape[1:]), None if labels is None else int(labels.max()) + 1, noise.fork("weights"))
    weights = [one.to(x.device).requires_grad_() for one in network.weights]
    optimiser = torch.optim.Adam(weights, lr=2e-3)
    batches = noise.fork("batches")
    for step in range(positive_int(steps, "train_features: steps")):
        rows = (batches.uniform((100,)) * len(x)).long().to(x.device)
        with torch.enable_grad():
            out = network.out(x[rows].to(weights[0].dtype), weights)
            target = x[rows].flatten(1) if labels is None else labels[rows]
            loss = (out - target).square().mean() if labels is None else cross_entropy(out, target.long())
            found = torch.autograd.grad(loss, weights)
        for weight, gradient in zip(weights, found, strict=True):
            weight.grad = gradient
        optimiser.step()
        if progress:
            progress(step + 1, steps)
    fixed = [one.detach() for one in weights]
    hasher = hashlib.blake2b(digest_size=4)
    for one in fixed:
        hasher.update(one.cpu().contiguous().numpy().data)
    what = f"{'conv' if x.ndim == 4 else 'dense'}-{'autoencoder' if labels is None else 'classifier'}"
    encode = lambda batch: network.features(batch.to(fixed[0].dtype), fixed)  # noqa: E731
    return Features(f"{what}, {name}, seed {noise.seed}", hasher.hexdigest(), encode)


class _Network:
    """Two layers, one to the features, one from them to classes or back to x: functions of a list of weights."""

    def __init__(self, shape: Shape, classes: int | None, noise: Noise) -> None:
        self.images = len(shape) == 3
        numbers = size(shape)
        wide = 32 * -(-shape[1] // 4) * -(-shape[2] // 4) if self.images else 128
        layers = [(16, shape[0], 3, 3), (32, 16, 3, 3)] if self.images else [(128, numbers), (128, 128)]
        self.weights: list[Tensor] = []
        for one in (*layers, (_WIDTH, wide), (classes or numbers, _WIDTH)):
            kernel = noise.normal(one, dtype=torch.float32) * (2 / size(one[1:])) ** 0.5
            self.weights += [kernel, torch.zeros(one[0], dtype=torch.float32)]

    def features(self, x: Tensor, weights: list[Tensor]) -> Tensor:
        for kernel, bias in ((weights[0], weights[1]), (weights[2], weights[3])):
            x = relu(conv2d(x, kernel, bias, stride=2, padding=1) if self.images else linear(x, kernel, bias))
        return relu(linear(x.flatten(1), weights[4], weights[5]))

    def out(self, x: Tensor, weights: list[Tensor]) -> Tensor:
        return linear(self.features(x, weights), weights[6], weights[7])
