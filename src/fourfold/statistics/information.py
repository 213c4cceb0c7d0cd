"""Mutual information where it is exact: of a Gaussian, and of a table."""

__all__ = ["discrete_information", "gaussian_information"]

import torch
from jaxtyping import Float
from torch import Tensor


def gaussian_information(covariance: Float[Tensor, "d d"], first: int) -> Float[Tensor, ""]:
    r"""The mutual information, in nats, of the first variables of a Gaussian with the others.

    .. math:: I = \tfrac12 \log \frac{\det \Sigma_{11} \det \Sigma_{22}}{\det \Sigma}

    Of a sample's covariance it is the information of a Gaussian with that covariance: less than or more than that of
    the sample's own distribution.

    Args:
        covariance: Σ, positive definite.
        first: how many variables are on the first side.

    Raises:
        ValueError: no side to split off, or Σ is not symmetric and positive definite.

    Example:
        >>> round(float(gaussian_information(torch.tensor([[1.0, 0.8], [0.8, 1.0]]), 1)), 4)  # −½ log(1 − 0.8²)
        0.5108
    """
    d = len(covariance)
    if covariance.shape != (d, d) or not 0 < first < d:
        raise ValueError(
            f"gaussian_information: wanted a (d, d) covariance and 0 < first < d, got {tuple(covariance.shape)} and "
            f"first = {first}."
        )
    sigma = covariance.double()
    if not torch.allclose(sigma, sigma.T) or int(torch.linalg.cholesky_ex(sigma).info):
        raise ValueError("gaussian_information: covariance must be symmetric and positive definite.")
    parts = sigma[:first, :first].logdet() + sigma[first:, first:].logdet()
    return 0.5 * (parts - sigma.logdet())


def discrete_information(table: Float[Tensor, "a b"] | Tensor) -> Float[Tensor, ""]:
    r"""The mutual information, in nats, of the two variables of a table of counts or probabilities.

    .. math:: I = \sum_{ab} p_{ab} \log \frac{p_{ab}}{p_a\, p_b}

    Exact if the table holds probabilities. Of counts it is the plug-in estimate, which is too large by about
    (a − 1)(b − 1) / 2N on average (Miller 1955).

    Args:
        table: numbers of at least 0.

    Raises:
        ValueError: a table that is not two-dimensional, has negative entries, or is empty.

    Example:
        >>> round(float(discrete_information(torch.tensor([[5, 0], [0, 5]]))), 4)  # log 2
        0.6931
    """
    p = table.double()
    if p.ndim != 2 or not torch.isfinite(p).all() or (p < 0).any() or not p.sum() > 0:
        raise ValueError("discrete_information: table must be (a, b), of finite numbers of at least 0, not all 0.")
    p = p / p.sum()
    return torch.xlogy(p, p).sum() - torch.xlogy(p.sum(0), p.sum(0)).sum() - torch.xlogy(p.sum(1), p.sum(1)).sum()
