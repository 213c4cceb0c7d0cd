"""Corruptions: what a denoising autoencoder's encoder sees in place of the data."""

__all__ = ["CORRUPTIONS", "Corruption", "Dropout", "GaussianNoise", "Masking", "SaltAndPepper", "WordDropout"]

from abc import ABC, abstractmethod
from typing import final

import torch
from torch import Tensor, nn

from .._checks import fraction, positive
from .._tokens import UNK
from ..noise import NoiseSource


class Corruption(nn.Module, ABC):
    """q(x̃ | x): a corrupted copy of the data, made from noise that is handed in."""

    @abstractmethod
    def forward(self, x: Tensor, noise: NoiseSource) -> Tensor:
        """x̃ for data ``(B, *data)``, of the same shape."""


@final
class GaussianNoise(Corruption):
    r"""x̃ = x + σ ε with ε ~ N(0, I).

    The best reconstruction is then the posterior mean, which tells the score of the blurred data (Tweedie's formula):

    .. math:: r^*(\tilde x) - \tilde x = \sigma^2\, \nabla \log p_\sigma(\tilde x)

    Args:
        sigma: standard deviation σ, in the units of the data.

    References:
        Vincent 2011, "A connection between score matching and denoising autoencoders".

    Example:
        >>> from fourfold.noise import Noise
        >>> GaussianNoise(0.5)(torch.zeros(2, 3), Noise(0)).shape
        torch.Size([2, 3])
    """

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.sigma = positive(sigma, "GaussianNoise: sigma")

    def forward(self, x: Tensor, noise: NoiseSource) -> Tensor:
        return torch.add(x, noise.normal(tuple(x.shape), dtype=x.dtype), alpha=self.sigma)


@final
class Masking(Corruption):
    """Each element is set to 0 with probability ν; the others are as they were.

    On data that were standardised 0 is the mean, not "nothing". It is not dropout: nothing is rescaled.

    Args:
        share: ν, from 0 up to, but not including, 1.

    References:
        Vincent et al. 2008, "Extracting and composing robust features with denoising autoencoders".
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = fraction(share, "Masking: share")

    def forward(self, x: Tensor, noise: NoiseSource) -> Tensor:
        return x * _kept(x, noise, self.share)


@final
class Dropout(Corruption):
    """Masking whose survivors are multiplied by 1 / (1 − ν), so that the mean of x̃ is x.

    Args:
        share: ν, from 0 up to, but not including, 1.

    References:
        Srivastava et al. 2014, "Dropout", applied to the input.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = fraction(share, "Dropout: share")

    def forward(self, x: Tensor, noise: NoiseSource) -> Tensor:
        return x * _kept(x, noise, self.share) / (1 - self.share)


@final
class SaltAndPepper(Corruption):
    """Each element is set to black with probability ν/2 and to white with ν/2; the others are as they were.

    Args:
        share: ν, from 0 up to, but not including, 1.
        black: the least value of the data.
        white: the largest value of the data.

    Raises:
        ValueError: a share out of range, or black not below white.
    """

    def __init__(self, share: float, black: float = 0.0, white: float = 1.0) -> None:
        super().__init__()
        self.share = fraction(share, "SaltAndPepper: share")
        if not black < white:
            raise ValueError(f"SaltAndPepper: wanted black below white, got {black!r} and {white!r}.")
        self.black, self.white = black, white

    def forward(self, x: Tensor, noise: NoiseSource) -> Tensor:
        chance = noise.uniform(tuple(x.shape), dtype=x.dtype)
        salted = torch.where(chance < self.share, x.new_full((), self.white), x)
        return torch.where(chance < self.share / 2, x.new_full((), self.black), salted)


@final
class WordDropout(Corruption):
    """Each word is replaced by <unk> with probability ν; <eos> and <pad> stay.

    It is for what a likelihood of sentences sees of the words before: what it cannot read there, z has to tell.

    Args:
        share: ν, from 0 up to, but not including, 1: without all words, training and use must not differ, and the
            likelihood itself is made without inputs (``RecurrentTokens(…, inputless=True)``).

    References:
        Bowman et al. 2015, arXiv:1511.06349.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = fraction(share, "WordDropout: share")

    def forward(self, x: Tensor, noise: NoiseSource) -> Tensor:
        return torch.where((_kept(x, noise, self.share) != 0) | (x < UNK), x, x.new_full((), UNK))


def _kept(x: Tensor, noise: NoiseSource, share: float) -> Tensor:
    return (noise.uniform(tuple(x.shape), dtype=x.dtype) >= share).to(x.dtype)


#: Corruptions by name, each made from one number: σ, or the share ν.
CORRUPTIONS: dict[str, type[GaussianNoise] | type[Masking] | type[Dropout] | type[SaltAndPepper]] = {
    "dropout": Dropout,
    "gaussian": GaussianNoise,
    "masking": Masking,
    "salt_and_pepper": SaltAndPepper,
}
