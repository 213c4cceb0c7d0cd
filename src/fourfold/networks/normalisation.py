"""Batch normalisation whose statistics are gathered apart: a pass through a network never changes it."""

__all__ = ["BatchNorm", "Between", "Normalised", "between", "gathering", "norms"]

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from .._checks import positive, positive_int
from .activations import activation as activation_named


class BatchNorm(nn.Module):
    r"""Each feature less its mean, over its deviation, then scaled and shifted by learned numbers.

    .. math:: y = \gamma \frac{x - \mu}{\sqrt{v + \epsilon}} + \beta

    In training mode μ and v are those of the batch, over all processes, with gradient. In evaluation mode they are
    those that were gathered last (``gathering``), the same for every datum: evaluation in training mode would let data
    look at each other, and its numbers would bound nothing. Before anything was gathered they are 0 and 1.

    There are no running averages: weights move on, and averages of a moving target are of no weights at all.

    Args:
        features: how many; the second dimension of what comes in, ``(N, features, …)``.
        affine: whether γ and β are learned; else they are 1 and 0.
        eps: ε.

    References:
        Ioffe and Szegedy 2015, arXiv:1502.03167.

    Example:
        >>> layer = BatchNorm(3)
        >>> y = layer(torch.arange(12.0).reshape(4, 3))
        >>> y.mean(0).abs().max() < 1e-6, layer.mean
        (tensor(True), tensor([0., 0., 0.]))
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, features: int, affine: bool = True, eps: float = 1e-5) -> None:
        super().__init__()
        n = positive_int(features, "BatchNorm: features")
        self.eps = positive(eps, "BatchNorm: eps")
        self.weight = nn.Parameter(torch.ones(n)) if affine else None
        self.bias = nn.Parameter(torch.zeros(n)) if affine else None
        self.register_buffer("mean", torch.zeros(n))
        self.register_buffer("variance", torch.ones(n))
        self.gathered: tuple[Tensor, int] | None = None

    def forward(self, x: Tensor) -> Tensor:
        alone = _alone()
        if alone and (self.gathered is None or not self.training):  # one kernel, several times faster
            if self.training:
                self._check(x)
            moments = (None, None) if self.training else (self.mean, self.variance)
            return batch_norm(x, *moments, self.weight, self.bias, self.training, 0.0, self.eps)
        mean, variance = self._moments(x, alone) if self.training else (self.mean, self.variance)
        scale = torch.rsqrt(variance + self.eps)
        scale = scale if self.weight is None else scale * self.weight
        shift = -mean * scale if self.bias is None else self.bias - mean * scale
        form = (1, -1, *[1] * (x.ndim - 2))
        return torch.addcmul(shift.view(form), x, scale.view(form))

    def _check(self, x: Tensor) -> None:
        if x.numel() < 2 * x.shape[1]:
            raise ValueError("BatchNorm: a batch of one has no deviation. Take a larger batch, or evaluation mode.")

    def _moments(self, x: Tensor, alone: bool) -> tuple[Tensor, Tensor]:
        dims = [d for d in range(x.ndim) if d != 1]
        if alone:
            self._check(x)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))  # under autocast x may be narrower
        variance, mean = torch.var_mean(wide, dims, correction=0)
        if not alone:  # equal shares: the mean of all is the mean of means
            here = mean.double()  # in which a mean far from 0 leaves the difference of squares its digits
            first, square = _mean_of_all(torch.stack((here, variance.double() + here.square())))
            mean, variance = first.to(wide), (square - first.square()).clamp(min=0).to(wide)
        if self.gathered is not None:
            total, count = self.gathered
            here = mean.detach().double()  # the square of a mean far from 0 has no digits left for the variance
            self.gathered = total + torch.stack((here, variance.detach().double() + here.square())), count + 1
        return mean, variance


@dataclass(frozen=True, slots=True)
class Normalised:
    """An activation with batch normalisation in front: a network takes it where it takes an activation's name.

    Args:
        activation: its name.
        outputs: normalise what the network gives, too; nothing is activated there.

    Example:
        >>> from fourfold.networks import Dense
        >>> [type(layer).__name__ for layer in Dense(3, 2, hidden=(4,), activation=Normalised("tanh")).layers]
        ['Linear', 'BatchNorm', 'Tanh', 'Linear']
    """

    activation: str
    outputs: bool = False


@dataclass(frozen=True, slots=True)
class Between:
    """What stands between the layers of a network, ready to be made.

    Args:
        activation: makes one.
        norm: whether batch normalisation stands before each.
        outputs: whether it stands after the last layer.
    """

    activation: Callable[[], nn.Module]
    norm: bool = False
    outputs: bool = False

    def __call__(self, features: int) -> list[nn.Module]:
        """What follows a layer that gives so many features; one that is normalised needs no bias of its own."""
        return [*([BatchNorm(features)] if self.norm else []), self.activation()]

    def last(self, features: int) -> list[nn.Module]:
        """What follows the last layer."""
        return [BatchNorm(features)] if self.outputs else []


def between(given: str | Normalised, owner: str) -> Between:
    """What an activation, named or normalised, puts between layers; an unknown name is an error of the owner's."""
    if isinstance(given, Normalised):
        return Between(activation_named(given.activation, owner), True, given.outputs)
    return Between(activation_named(given, owner))


def norms(module: nn.Module) -> list[BatchNorm]:
    """The batch normalisations inside a module."""
    return [part for part in module.modules() if isinstance(part, BatchNorm)]


@contextmanager
def gathering(module: nn.Module) -> Iterator[None]:
    """Passes in training mode inside this block give the module's batch normalisations their statistics.

    They are the moments of all that passed, each batch counted alike; without a pass they stay what they were.
    """
    found = norms(module)
    for part in found:
        part.gathered = torch.zeros(2, len(part.mean), dtype=torch.float64, device=part.mean.device), 0
    try:
        yield
        with torch.no_grad():
            for part in found:
                total, count = part.gathered or (part.mean, 0)
                if count:
                    mean, square = total / count
                    part.mean.copy_(mean)
                    part.variance.copy_((square - mean.square()).clamp(min=0))
    finally:
        for part in found:
            part.gathered = None


def _alone() -> bool:
    from torch import distributed

    return not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1)


def _mean_of_all(x: Tensor) -> Tensor:
    """The mean over the processes, through which gradients flow to each."""
    from torch import distributed

    return _SumOfAll.apply(x) / distributed.get_world_size()


class _SumOfAll(torch.autograd.Function):
    """The sum over the processes; what each makes of it comes back to every one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        from torch import distributed

        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return _SumOfAll.apply(*grad_outputs)
