"""Picks: what chooses the latents of each level, given their distribution. No model has another way to draw."""

__all__ = ["at_units", "central", "fixed", "heated", "prior_units", "slerp"]

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .._checks import non_negative
from ..distributions import AutoregressiveGaussian, DiagonalGaussian, Distribution, FullGaussian, Told, drawn
from ..noise import NoiseSource
from ..trace import Level

_Pick = Callable[[int, Distribution], Tensor]


def heated(temperature: float | Sequence[float], noise: NoiseSource, progress: Told | None = None) -> _Pick:
    r"""Draws with the standard deviation of each level times its temperature, around its mean.

    .. math:: z = \mu + \tau\,(z' - \mu), \qquad z' \sim p

    τ = 1 is a draw from p itself, whatever p is; τ = 0 is its mean. In a hierarchy a level's p is given the heated
    latents above. Draws at τ ≠ 1 are not from the model, and none of its numbers speak of them.

    Args:
        temperature: τ, or one for each level in the order of the visit: for ``generate`` from the top.
        noise: where draws come from.
        progress: told of what is drawn element by element.

    Raises:
        ValueError: a negative temperature; at a draw, too few of them, or a p for which it has no meaning: only
            Gaussians have one.

    Example:
        >>> from fourfold.noise import Noise
        >>> p = DiagonalGaussian(torch.ones(2), torch.zeros(2))
        >>> heated(0.0, Noise(0))(0, p)
        tensor([1., 1.])
    """
    given = [temperature] if isinstance(temperature, int | float) else list(temperature)
    each = [non_negative(value, "heated: temperature") for value in given]
    for_all = isinstance(temperature, int | float)

    def pick(i: int, p: Distribution) -> Tensor:
        if not for_all and i >= len(each):
            raise ValueError(f"heated: temperature: {len(each)} were given, and level {i + 1} needs one. Give as many.")
        value = each[0 if for_all else i]
        if value != 1 and not isinstance(p, DiagonalGaussian | FullGaussian | AutoregressiveGaussian):
            raise ValueError(
                f"heated: temperature: {type(p).__name__} has none: it scales the standard deviation of a Gaussian "
                f"around its mean, and level {i + 1} is drawn from another family. Leave it at 1 there."
            )
        z = drawn(p, noise, progress)
        return z if value == 1 else p.mean + value * (z - p.mean)

    return pick


def central(i: int, p: Distribution) -> Tensor:
    """The centre of each level: its mean, or for a flow the image of its base's mean."""
    return p.centre


def fixed(z: Sequence[Tensor | None], otherwise: _Pick = central) -> _Pick:
    """The latents that are given, in the order of the visit; where there is ``None``, those of another pick.

    Example:
        >>> p = DiagonalGaussian(torch.zeros(1), torch.zeros(1))
        >>> pick = fixed((torch.ones(1), None))
        >>> pick(0, p), pick(1, p)
        (tensor([1.]), tensor([0.]))
    """

    def pick(i: int, p: Distribution) -> Tensor:
        value = z[i]
        return otherwise(i, p) if value is None else value

    return pick


def prior_units(levels: Sequence[Level]) -> tuple[Tensor, ...]:
    r"""The latents of each level in units of its prior, ε = (z − μ)/σ, where that is a diagonal Gaussian; else z.

    Under the model the ε of all levels are independent and standard normal, also where a level's prior depends on the
    levels above: so levels can be moved one at a time in them, and those below follow. ``at_units`` leads back.

    Args:
        levels: of a trace, from the top.
    """
    return tuple(
        (level.z - level.p.mean) / level.p.scale if isinstance(level.p, DiagonalGaussian) else level.z
        for level in levels
    )


def at_units(units: Sequence[Tensor]) -> _Pick:
    r"""z = μ + σ ε with the μ and σ of each level's distribution, where that is a diagonal Gaussian; else z = ε.

    Example:
        >>> p = DiagonalGaussian(torch.ones(1), torch.zeros(1))
        >>> at_units((torch.tensor([3.0]),))(0, p)
        tensor([4.])
    """

    def pick(i: int, p: Distribution) -> Tensor:
        return p.mean + p.scale * units[i] if isinstance(p, DiagonalGaussian) else units[i]

    return pick


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    r"""The point at this share of the way from a to b along the arc between their directions.

    .. math:: \frac{\sin((1-t)\,\Omega)}{\sin\Omega}\,a + \frac{\sin(t\,\Omega)}{\sin\Omega}\,b

    Ω is the angle between them. Standard normal draws in many dimensions all have nearly the same length; so have the
    points of the arc, while those of the straight line are shorter. Where a and b point the same way, or opposite ways,
    there is no one arc, and the line is taken.

    References:
        Shoemake 1985; for latents White 2016, arXiv:1609.04468.

    Example:
        >>> slerp(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), 0.5)
        tensor([0.7071, 0.7071])
    """
    lengths = a.norm() * b.norm()
    cosine = ((a * b).sum() / lengths.clamp(min=1e-30)).clamp(-1, 1)
    angle = torch.arccos(cosine)
    if float(lengths) == 0 or float(angle.sin()) < 1e-4:
        return torch.lerp(a, b, share)
    return (((1 - share) * angle).sin() * a + (share * angle).sin() * b) / angle.sin()
