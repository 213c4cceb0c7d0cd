"""What each code knows of each factor: mutual information in nats, and the share of variance explained."""

__all__ = ["entropies", "information", "information_of", "r2", "r2_of"]

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from ...data.factors import Factor
from .bins import BINS, columns, equal_width, labels
from .sample import Sample


def information(sample: Sample, bins: int = BINS, *, normalised: bool = False) -> Float[np.ndarray, "D K"]:
    r"""The mutual information of each code with each factor, in nats: a plug-in estimate over bins.

    .. math:: I(z_j; v_k) = \sum_{ab} p_{ab} \log \frac{p_{ab}}{p_a\, p_b}

    Codes are cut into equally wide bins from their least to their greatest value; discrete factors are taken as they
    are, continuous ones are cut likewise. The estimate is too large by about (a − 1)(b − 1) / 2N on average (Miller
    1955), so independent codes have a little too. It cannot exceed log bins: a factor with more values than there are
    bins is never known wholly.

    Args:
        sample: codes and factors.
        bins: of each code and each continuous factor.
        normalised: in shares of the factor's entropy.

    Example:
        >>> from fourfold.data import Factor
        >>> codes, factors = np.array([[0, 5], [0, 7], [1, 5], [1, 7]]), np.array([[0], [0], [1], [1]])
        >>> sample = Sample(codes, factors, (Factor("a", "ordinal", values=(0, 1)),))
        >>> information(sample, normalised=True).T.tolist()
        [[1.0, 0.0]]
    """
    of = labels(sample, bins)
    found = information_of(equal_width(sample.codes, bins), of)
    return found / entropies(of) if normalised else found


def information_of(left: Int[np.ndarray, "N D"], right: Int[np.ndarray, "N K"]) -> Float[np.ndarray, "D K"]:
    """The mutual information of each column of classes with each other one, in nats."""
    h_left, h_right, sizes = entropies(left), entropies(right), right.max(0) + 1
    out = np.empty((left.shape[1], right.shape[1]))
    for j, a in enumerate(left.T):
        for k, b in enumerate(right.T):
            joint = _entropy(np.bincount(a * sizes[k] + b))
            out[j, k] = h_left[j] + h_right[k] - joint
    return np.maximum(out, 0.0)  # rounding


def entropies(classes: Int[np.ndarray, "N K"]) -> Float[np.ndarray, " K"]:
    """The entropy of each column of classes, in nats."""
    return np.array([_entropy(np.bincount(column)) for column in classes.T])


def _entropy(counts: Int[np.ndarray, " C"]) -> float:
    p = counts[counts > 0] / counts.sum()
    return max(0.0, -float((p * np.log(p)).sum()))


def r2(sample: Sample) -> Float[np.ndarray, "D K"]:
    r"""The share of each code's variance that a linear function of each factor explains.

    .. math:: R^2_{jk} = 1 - \min_w \frac{\mathrm{Var}[z_j - w^\top c(v_k)]}{\mathrm{Var}[z_j]}

    A factor enters as the columns c(v): an ordinal or continuous one as its number, a periodic one as cosine and sine,
    a categorical one as an indicator of each value. So it is the squared correlation, the squared multiple correlation
    with a circle, or the correlation ratio η². A code that does not vary has 0. It sees straight lines only: a code
    that is the square of a centred factor has 0 too.

    Args:
        sample: codes and factors.

    Example:
        >>> from fourfold.data import Factor
        >>> angle = Factor("angle", "continuous", low=0, high=360, period=360)
        >>> v = np.arange(0, 360, 10.0)[:, None]
        >>> r2(Sample(np.cos(np.deg2rad(v)), v, (angle,))).round(6).tolist()
        [[1.0]]
    """
    return r2_of(sample.codes, sample.factors, sample.about)


def r2_of(
    codes: Float[np.ndarray, "N D"], factors: Float[np.ndarray, "N K"], about: Sequence[Factor]
) -> Float[np.ndarray, "D K"]:
    """The same of arrays, where a column may be constant."""
    centred = codes - codes.mean(0)
    total = np.square(centred).sum(0)
    alive = total > 1e-24 * np.square(codes).sum(0)
    out = np.zeros((codes.shape[1], len(about)))
    for k, (factor, column) in enumerate(zip(about, factors.T, strict=True)):
        terms = columns(factor, column)
        basis = np.linalg.svd(terms - terms.mean(0), full_matrices=False)
        kept = basis.U[:, 1e-10 * basis.S.max() < basis.S]
        explained = np.square(kept.T @ centred).sum(0)
        out[alive, k] = explained[alive] / total[alive]
    return np.minimum(out, 1.0)
