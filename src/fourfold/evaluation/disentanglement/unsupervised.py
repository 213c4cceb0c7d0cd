"""How dependent codes are on one another, without factors."""

__all__ = ["gaussian_tc", "gaussian_wasserstein", "mean_information"]

from math import inf

import numpy as np
from jaxtyping import Float

from .bins import BINS, equal_width
from .information import information_of
from .sample import checked_codes


def gaussian_tc(codes: Float[np.ndarray, "N D"]) -> float:
    r"""The total correlation of a Gaussian with the codes' covariance, in nats; lower is less dependent.

    .. math:: \tfrac12 \Big( \sum_j \log \Sigma_{jj} - \log \det \Sigma \Big)

    Codes that do not vary are left out; one that is a linear function of others makes it infinite. Codes can depend on
    one another without any correlation: 0 is not independence.

    Args:
        codes: one row for each datum.

    References:
        Locatello et al. 2019, arXiv:1811.12359.
    """
    codes = _alive(codes, "gaussian_tc")
    if codes.shape[1] < 2:
        return 0.0
    correlation = np.corrcoef(codes, rowvar=False)
    sign, logarithm = np.linalg.slogdet(correlation)
    full = np.linalg.matrix_rank(correlation, tol=1e-10) == len(correlation)
    return max(0.0, -0.5 * float(logarithm)) if sign > 0 and full else inf


def gaussian_wasserstein(codes: Float[np.ndarray, "N D"]) -> float:
    r"""The squared Wasserstein distance of that Gaussian from one without correlations, in shares of its variance.

    .. math:: \frac{2 \operatorname{tr} \Sigma - 2 \operatorname{tr} (\Sigma^{1/2} D \Sigma^{1/2})^{1/2}}
        {\operatorname{tr} \Sigma}, \qquad D = \operatorname{diag} \Sigma

    Args:
        codes: one row for each datum.

    References:
        Locatello et al. 2019, arXiv:1811.12359.
    """
    codes = checked_codes(codes, "gaussian_wasserstein")
    sigma = np.atleast_2d(np.cov(codes, rowvar=False))
    variance = float(np.trace(sigma))
    if not variance > 0:
        return 0.0
    values, vectors = np.linalg.eigh(sigma)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    inner = np.linalg.eigvalsh(root @ np.diag(np.diag(sigma)) @ root)
    return max(0.0, 2 - 2 * float(np.sqrt(np.maximum(inner, 0.0)).sum()) / variance)


def mean_information(codes: Float[np.ndarray, "N D"], bins: int = BINS) -> float:
    r"""The mean mutual information of two different codes, in nats, over equally wide bins.

    .. math:: \frac{1}{D(D - 1)} \sum_{i \ne j} I(z_i; z_j)

    Args:
        codes: one row for each datum.
        bins: of each code.

    References:
        Locatello et al. 2019, arXiv:1811.12359.
    """
    classes = equal_width(checked_codes(codes, "mean_information"), bins)
    d = classes.shape[1]
    if d < 2:
        return 0.0
    found = information_of(classes, classes)
    return float((found.sum() - np.trace(found)) / (d * (d - 1)))


def _alive(codes: Float[np.ndarray, "N D"], where: str) -> Float[np.ndarray, "N A"]:
    codes = checked_codes(codes, where)
    return codes[:, (codes != codes[0]).any(0)]
