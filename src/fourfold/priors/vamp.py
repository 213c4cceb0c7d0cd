"""The VampPrior: the posterior itself, averaged over learned pseudo-inputs."""

__all__ = ["VampPrior"]

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.functional import hardtanh
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from .._checks import positive, positive_int
from .._shapes import Shape, as_shape
from ..conditional import Conditional, Prior
from ..distributions import Mixture
from ..networks.normalisation import norms

_START = 0.05  # where pseudo-inputs begin if no mean is given, and how far from their bounds they do


class VampPrior(Prior):
    r"""p(z) = (1/K) Σ_k q(z | u_k): a variational mixture of posteriors at learned pseudo-inputs u_k.

    .. math:: \log p(z) = \operatorname{logsumexp}_k \log q(z \mid u_k) - \log K

    The average posterior over all data would be the best prior there is, and would overfit; K pseudo-inputs stand for
    the data. Each pass runs the encoder K more times, also in evaluation, once for each chunk of draws. The rate is
    estimated from draws. With K = 1 it is one learned distribution of the posterior's family.

    The posterior is the model's own, shared and not copied: hand the same module to both. Pseudo-inputs see it as it is
    in evaluation: dropout is off, batch normalisation has its running statistics.

    Any posterior with a density will do; one whose log q(z) is dear anywhere but at its own draw (an inverse
    autoregressive flow) makes every density K times as dear, and a draw draws from all K.

    Args:
        posterior: q(z | x), unconditional.
        data: shape of x.
        components: K.
        mean: where pseudo-inputs begin: a datum (the mean of the data), or K of them; ``None`` is 0.05 of the way up
            from the lower bound, and 0 without bounds. It is kept 0.05 of the way from either bound, outside of which
            a pseudo-input has no gradient.
        spread: standard deviation around it, so that they differ.
        bounds: the least and the greatest value (Hardtanh), or ``None`` for real-valued data.

    Raises:
        ValueError: a point posterior (no density); one that looks at c; bounds out of order; a mean of another shape.

    References:
        Tomczak and Welling 2017, arXiv:1705.07120.

    Example:
        >>> from fourfold.conditional import NetworkConditional
        >>> from fourfold.distributions import GaussianHead
        >>> q = NetworkConditional(nn.Linear(6, 4), GaussianHead(2), 6)
        >>> VampPrior(q, (6,), components=3)().components.lead_shape
        (3,)
    """

    uniform: Tensor

    def __init__(
        self,
        posterior: Conditional,
        data: int | Shape,
        components: int = 500,
        mean: Tensor | None = None,
        spread: float = 0.01,
        bounds: tuple[float, float] | None = (0.0, 1.0),
    ) -> None:
        super().__init__()
        if bounds is not None and not bounds[0] < bounds[1]:
            raise ValueError(f"VampPrior: bounds must be (least, greatest), got {bounds!r}.")
        if norms(posterior):
            raise ValueError(
                "VampPrior: posterior: batch normalisation would take the same statistics for data and pseudo-inputs. "
                "Take a posterior without."
            )
        shape = (positive_int(components, "VampPrior: components"), *as_shape(data, "VampPrior: data"))
        spread, self.bounds = positive(spread, "VampPrior: spread"), bounds
        self.free = nn.Parameter(torch.zeros(shape))
        nn.init.trunc_normal_(self.free, std=spread, a=-3 * spread, b=3 * spread)
        with torch.no_grad():
            self.free.add_(self._start(mean))
        self.register_buffer("uniform", torch.zeros(shape[:1]), persistent=False)
        self.event = _event_of(posterior, self.pseudo_inputs[:1].detach())
        self.posterior = posterior

    @property
    def pseudo_inputs(self) -> Tensor:
        """u, of shape ``(K, *data)``."""
        return self.free if self.bounds is None else hardtanh(self.free, *self.bounds)

    def forward(self, c: Tensor | None = None) -> Mixture:
        with _as_in_evaluation(self.posterior):
            return Mixture(self.uniform, self.posterior(self.pseudo_inputs))

    def _start(self, mean: Tensor | None) -> Tensor:
        low, high = self.bounds or (0.0, 0.0)
        margin = _START * (high - low)
        if mean is None:
            return torch.tensor(low + margin)
        if tuple(mean.shape) not in (tuple(self.free.shape[1:]), tuple(self.free.shape)):
            raise ValueError(
                f"VampPrior: mean must be one datum {tuple(self.free.shape[1:])} or one for each component "
                f"{tuple(self.free.shape)}, got {tuple(mean.shape)}."
            )
        mean = mean.to(self.free)
        return mean if self.bounds is None else mean.clamp(low + margin, high - margin)


def _event_of(posterior: Conditional, datum: Tensor) -> Shape:
    """Shape of z, as a copy of the posterior tells when asked; one that cannot serve is refused."""
    if getattr(posterior, "condition", None) is not None:
        raise ValueError(
            "VampPrior: this posterior looks at c, and would have to see K pseudo-inputs for every c of a batch. "
            "Take a posterior q(z | x) without c, or ConditionalPrior for p(z | c)."
        )
    with torch.no_grad():
        q = deepcopy(posterior).eval()(datum)
    if not q.has_density:
        raise ValueError(
            f"VampPrior: this posterior gives a {type(q).__name__}, which has no density, so a mixture of them is no "
            "prior. Take a posterior with one, such as gaussian."
        )
    if q.lead_shape != (1,):
        raise ValueError(f"VampPrior: the posterior gave leading dimensions {q.lead_shape} for one datum, wanted (1,).")
    return q.event_shape


@contextmanager
def _as_in_evaluation(module: nn.Module) -> Iterator[None]:
    """Dropout and batch normalisation as in evaluation; fourfold's own networks have neither."""
    moody = [m for m in module.modules() if isinstance(m, _NormBase | _DropoutNd) and m.training]
    for one in moody:
        one.training = False
    try:
        yield
    finally:
        for one in moody:
            one.training = True
