"""Metrics of a table of mutual information: MIG, MIG-sup and modularity, over bins."""

__all__ = ["gap", "mig_dlib", "mig_sup", "modularity", "supremum_gap"]

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from .bins import BINS, equal_width, labels
from .information import entropies, information_of
from .sample import Sample
from .score import NotApplicable, Replicate, Score

_ROWS = "the rows of the table"
_ACTIVE = 1e-2  # variance of a latent that counts for MIG-sup


def mig_dlib(sample: Sample, bins: int = BINS) -> Score:
    r"""The mutual information gap, over equally wide bins of codes (Locatello et al. 2019).

    .. math:: \mathrm{MIG} = \frac1K \sum_k \frac{I(z_{(1)}; v_k) - I(z_{(2)}; v_k)}{H(v_k)}

    It is not the metric of the same name of Chen et al. 2018, which is of draws of the posterior without bins: see
    :func:`mig_chen`. Its ceiling is below 1 where a factor has more values than there are bins: 0.8955 for a perfect
    code of the factors of dSprites.

    Args:
        sample: codes (posterior means) and factors.
        bins: of each code, and of each continuous factor.

    References:
        Locatello et al. 2019, arXiv:1811.12359.
    """
    codes, factors = equal_width(sample.codes, bins), labels(sample, bins)

    def value(codes: np.ndarray, factors: np.ndarray) -> float:
        return float(gap(information_of(codes, factors), entropies(factors)).mean())

    terms = gap(information_of(codes, factors), entropies(factors))
    protocol = f"means, {bins} equal-width bins, plug-in information, {_named(sample)}"
    return Score(
        "mig_dlib",
        float(terms.mean()),
        protocol,
        len(sample),
        _ROWS,
        _again(value, codes, factors),
        {"by_factor": terms},
    )


def gap(information: Float[np.ndarray, "D K"], entropy: Float[np.ndarray, " K"]) -> Float[np.ndarray, " K"]:
    """Of each factor, the best code's information less the second best's, in shares of the factor's entropy."""
    best = np.sort(information, 0)[::-1]
    second = best[1] if len(best) > 1 else 0.0
    return (best[0] - second) / np.where(entropy > 0, entropy, 1.0)


def mig_sup(sample: Sample, bins: int = BINS) -> Score:
    r"""The gap seen from the codes: does each know of one factor only?

    .. math:: \frac{1}{|J|} \sum_{j \in J}
        \Big[ \frac{I(z_j; v)}{H(v)}\Big|_{(1)} - \frac{I(z_j; v)}{H(v)}\Big|_{(2)} \Big]

    J are the codes whose variance is above 0.01: so it hangs on the scale of codes. A code that repeats another is not
    punished here, and a factor that no code knows is not seen: that is what MIG is for. Over bins, as
    :func:`mig_dlib`; its authors use the densities of :func:`mig_sup_chen`.

    Args:
        sample: codes (posterior means) and factors.
        bins: of each code, and of each continuous factor.

    Raises:
        NotApplicable: there is only one factor.

    References:
        Li et al. 2020, arXiv:2002.10549.
    """
    _several(sample, "mig_sup")
    active = sample.codes.var(0) > _ACTIVE
    codes, factors = equal_width(sample.codes[:, active], bins), labels(sample, bins)

    def value(codes: np.ndarray, factors: np.ndarray) -> float:
        return float(supremum_gap(information_of(codes, factors), entropies(factors)).mean()) if active.any() else 0.0

    protocol = f"means, {bins} equal-width bins, plug-in information, {active.sum()} codes of variance above {_ACTIVE}"
    return Score("mig_sup", value(codes, factors), protocol, len(sample), _ROWS, _again(value, codes, factors))


def supremum_gap(information: Float[np.ndarray, "D K"], entropy: Float[np.ndarray, " K"]) -> Float[np.ndarray, " D"]:
    """Of each code, its greatest share of a factor's entropy less its second greatest."""
    best = np.sort(information / np.where(entropy > 0, entropy, 1.0), 1)[:, ::-1]
    return best[:, 0] - best[:, 1]


def modularity(sample: Sample, bins: int = BINS) -> Score:
    r"""How far each code is from knowing of more than one factor (Ridgeway and Mozer 2018).

    .. math:: \frac1D \sum_i \Big( 1 - \frac{\sum_k I_{ik}^2 - \max_k I_{ik}^2}{(K - 1) \max_k I_{ik}^2} \Big)

    The mean is over all codes, and one without information counts 0: a perfect code of K factors in D latents has
    K / D. One with a *little* information by chance counts nearly as much as a good one: random codes score about 0.67
    on the factors of dSprites. Read it beside explicitness, never alone.

    Args:
        sample: codes (posterior means) and factors.
        bins: of each code, and of each continuous factor.

    Raises:
        NotApplicable: there is only one factor.

    References:
        Ridgeway and Mozer 2018, arXiv:1802.05312.
    """
    _several(sample, "modularity")
    codes, factors = equal_width(sample.codes, bins), labels(sample, bins)

    def terms(codes: np.ndarray, factors: np.ndarray) -> np.ndarray:
        squares = np.square(information_of(codes, factors))
        most = squares.max(1)
        rest = (squares.sum(1) - most) / (squares.shape[1] - 1)
        return np.where(most > 0, 1 - rest / np.where(most > 0, most, 1.0), 0.0)

    def value(codes: np.ndarray, factors: np.ndarray) -> float:
        return float(terms(codes, factors).mean())

    parts = {"by_code": terms(codes, factors)}
    protocol = f"means, {bins} equal-width bins, plug-in information, mean over all {sample.latents} codes"
    again = _again(value, codes, factors)
    return Score("modularity", float(parts["by_code"].mean()), protocol, len(sample), _ROWS, again, parts)


def _again(
    value: Callable[[np.ndarray, np.ndarray], float],
    codes: Int[np.ndarray, "N D"],
    factors: Int[np.ndarray, "N K"],
) -> Replicate:
    """The value of rows drawn with replacement; the bins stay where they were."""

    def again(rng: np.random.Generator) -> float:
        rows = rng.integers(len(codes), size=len(codes))
        return value(codes[rows], factors[rows])

    return again


def _several(sample: Sample, metric: str) -> None:
    if len(sample.about) < 2:
        raise NotApplicable(f"{metric}: one factor cannot be told from others; there must be at least two.")


def _named(sample: Sample) -> str:
    return f"factors {', '.join(factor.name for factor in sample.about)}"
