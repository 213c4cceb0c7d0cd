"""From nats to bits per dimension."""

__all__ = ["bits_per_dim"]

from math import log

from .._checks import positive_int


def bits_per_dim(nats: float, dims: int, *, dequantised: bool = False) -> float:
    r"""Negative log-likelihood in nats per datum as bits per dimension.

    .. math:: \mathrm{bpd} = \frac{-\log p(x)}{D \ln 2} \; (+\, 8 \text{ for a density on dequantised 8-bit data})

    Args:
        nats: −log p(x), nats per datum.
        dims: D, the number of elements of a datum.
        dequantised: the value is a density on 8-bit data dequantised to [0, 1): the 256 cells are 1/256 wide.

    Example:
        >>> round(bits_per_dim(543.427, 784), 3)
        1.0
    """
    dims = positive_int(dims, "bits_per_dim: dims")
    return nats / (dims * log(2)) + (8.0 if dequantised else 0.0)
