"""Codes whose quality is known: perfect, rotated and random ones of any factors."""

__all__ = ["CONTROLS", "ROTATION_SEED", "controls", "perfect", "random_codes", "rotated"]

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from ..._checks import positive_int
from ...data.factors import Factor
from .source import Encode

#: What stands beside every metric, in this order.
CONTROLS = ("perfect", "rotated", "random")
#: The seed of the rotation.
ROTATION_SEED = 7


def perfect(about: Sequence[Factor], latents: int) -> Encode:
    """Each factor in a code of its own, scaled to [0, 1]; all other codes are 0.

    A periodic factor is its number too, not a circle. With fewer latents than factors there are as many codes as
    factors: otherwise no code could be perfect.

    Example:
        >>> x = Factor("x", "ordinal", values=tuple(range(5)))
        >>> perfect((x,), 2)(np.array([[0.0], [4.0]])).tolist()
        [[0.0, 0.0], [1.0, 0.0]]
    """
    low = np.array([0.0 if f.low is None or f.discrete else f.low for f in about])
    span = np.array([f.size - 1 if f.size is not None else (f.high or 0.0) - (f.low or 0.0) for f in about])
    dead = max(positive_int(latents, "perfect: latents") - len(about), 0)

    def encode(factors: Float[np.ndarray, "n K"]) -> Float[np.ndarray, "n D"]:
        return np.pad((factors - low) / span, ((0, 0), (0, dead)))

    return encode


def rotated(about: Sequence[Factor], latents: int, seed: int = ROTATION_SEED) -> Encode:
    """The perfect code times a random orthogonal matrix: all is known of the factors, and no code is of one of them.

    The matrix is ``scipy.stats.ortho_group.rvs(K, random_state=seed)``; dead codes stay dead.
    """
    from scipy.stats import ortho_group

    exact, k = perfect(about, latents), len(about)
    turn = ortho_group.rvs(k, random_state=seed) if k > 1 else np.ones((1, 1))

    def encode(factors: Float[np.ndarray, "n K"]) -> Float[np.ndarray, "n D"]:
        codes = exact(factors)
        return np.concatenate([codes[:, :k] @ turn, codes[:, k:]], 1)

    return encode


def random_codes(latents: int, seed: int) -> Encode:
    """Standard normal numbers that know nothing of the factors: other ones at each call, the same for each seed."""
    positive_int(latents, "random_codes: latents")
    rng = np.random.default_rng(seed)
    return lambda factors: rng.standard_normal((len(factors), latents))


def controls(about: Sequence[Factor], latents: int, seed: int = 0) -> dict[str, Encode]:
    """All three: name → encoder of factors.

    Args:
        about: the factors.
        latents: how many codes the controls have, if there are no more factors.
        seed: of the random codes; the rotation has its own, always the same.
    """
    made = (perfect(about, latents), rotated(about, latents), random_codes(latents, seed))
    return dict(zip(CONTROLS, made, strict=True))
