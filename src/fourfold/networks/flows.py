"""Flows: invertible maps of a vector, made of masked networks, as transforms of the library zuko."""

__all__ = ["Chain", "FlowFactory", "Gated", "Steps", "affine", "gated", "splines"]

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.distributions import Transform, constraints
from torch.nn.functional import logsigmoid

from .._checks import positive_int
from .._shapes import as_shape
from ._zuko import (
    AdditiveTransform,
    AutoregressiveTransform,
    LazyTransform,
    MaskedAutoregressiveTransform,
    MonotonicAffineTransform,
    MonotonicRQSTransform,
)
from .activations import activation as activation_named

#: What is added to every gate's logit: σ starts at 0.88, so that a step starts near the identity (IAF paper: +1 … +2).
_OPEN = 2.0
#: How far the weights that make the parameters of a step are shrunk at the start, for the same reason.
_CALM = 0.1


@runtime_checkable
class FlowFactory(Protocol):
    """Makes a flow for vectors: ``gated``, ``affine``, ``splines``, a ``functools.partial`` of one, or one of yours."""

    def __call__(self, features: int, context: int = 0) -> LazyTransform:
        """A module that maps h of shape ``(*lead, context)``, or ``None``, to a transform of ``(*lead, features)``."""
        ...


def gated(
    features: int, context: int = 0, steps: int = 2, hidden: tuple[int, ...] = (320, 320), activation: str = "elu"
) -> LazyTransform:
    r"""Steps of inverse autoregressive flow: parallel forwards, one element after the other backwards.

    .. math:: z_t = \sigma_t \odot z_{t-1} + (1 - \sigma_t) \odot m_t, \qquad
        \sigma_t = \mathrm{sigmoid}(s_t + 2), \quad [m_t, s_t] = \mathrm{MADE}_t(z_{t-1}, h)

    Element i of m and s sees the elements of z before it, and all of h; the order of the elements is reversed from
    step to step. σ < 1: a step only contracts, which a posterior makes up for with its base.

    Args:
        features: d, the size of z.
        context: size of h.
        steps: T.
        hidden: widths of the hidden layers of each step's network.
        activation: its name.

    References:
        Kingma et al. 2016, arXiv:1606.04934; MADE: Germain et al. 2015, arXiv:1502.03509.
    """
    return _steps(features, context, steps, Gated, ((), ()), **_network(hidden, activation))


def affine(
    features: int,
    context: int = 0,
    steps: int = 2,
    hidden: tuple[int, ...] = (320, 320),
    activation: str = "elu",
    mean_only: bool = False,
) -> LazyTransform:
    r"""Steps of masked autoregressive flow: parallel in the direction that is written, and sequential in the other.

    .. math:: \epsilon_i = e^{a_i(z_{<i})} z_i + b_i(z_{<i})

    Log-scales are squeezed to (−6.9, 6.9). Arguments as for ``gated``.

    Args:
        mean_only: a = 0: volumes are kept, as in the binary models of the VLAE paper.

    References:
        Papamakarios et al. 2017, arXiv:1705.07057; as a prior: Chen et al. 2016, arXiv:1611.02731.
    """
    univariate, shapes = (_shift, ((),)) if mean_only else (_affine, ((), ()))
    return _steps(features, context, steps, univariate, shapes, **_network(hidden, activation))


def splines(
    features: int,
    context: int = 0,
    steps: int = 2,
    hidden: tuple[int, ...] = (320, 320),
    activation: str = "elu",
    bins: int = 8,
) -> LazyTransform:
    """Coupling steps of monotone rational-quadratic splines on [−5, 5]; outside, each step is the identity.

    One half of the elements chooses the splines of the other; the halves change places from step to step. Both
    directions are parallel: the inverse costs two passes. Arguments as for ``gated``.

    Args:
        bins: pieces of each spline.

    References:
        Durkan et al. 2019, arXiv:1906.04032.
    """
    k = positive_int(bins, "splines: bins")
    network = {**_network(hidden, activation), "passes": 2}
    return _steps(features, context, steps, _spline, ((k,), (k,), (k - 1,)), **network)


class Gated(Transform):
    """x ↦ σ x + (1 − σ) m, with σ = sigmoid(gate + 2): one element of a step of inverse autoregressive flow."""

    domain = constraints.real
    codomain = constraints.real
    bijective = True

    def __init__(self, mean: Tensor, gate: Tensor) -> None:
        super().__init__()
        self.mean, self.log_scale = _wide(mean), logsigmoid(_wide(gate) + _OPEN)

    def _call(self, x: Tensor) -> Tensor:
        return torch.lerp(self.mean, x, self.log_scale.exp())

    def _inverse(self, y: Tensor) -> Tensor:
        return self.mean + (y - self.mean) * (-self.log_scale).exp()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.log_scale.expand(y.shape)


class Chain(Transform):
    """Transforms of vectors, one after the other; zuko's own chain is not to be had by the compiler in one piece."""

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, *transforms: Any) -> None:
        super().__init__()
        self.transforms = transforms

    def _call(self, x: Tensor) -> Tensor:
        for transform in self.transforms:
            x = transform(x)
        return x

    def _inverse(self, y: Tensor) -> Tensor:
        for transform in reversed(self.transforms):
            y = transform.inv(y)
        return y

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.call_and_ladj(x)[1]

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The image of x, and the logarithm of the volume, in one pass."""
        total = x.new_zeros(())
        for transform in self.transforms:
            x, log_det = transform.call_and_ladj(x)
            total = total + log_det
        return x, total

    def affine(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Shift and log-scale of every element of x, each from the elements before it, where there is but one step.

        Raises:
            ValueError: several steps, whose elements given those before are not Gaussian; a step that bends them.
        """
        if len(self.transforms) != 1:
            raise ValueError(
                f"in {len(self.transforms)} steps a flow bends each element, given those before: take one."
            )
        step: Any = self.transforms[0]
        whole: Any = step.meta(x) if isinstance(step, AutoregressiveTransform) else step
        element = whole.base
        if type(element) not in (AdditiveTransform, Gated, MonotonicAffineTransform):
            raise ValueError(f"a step of {type(element).__name__} bends each element: take an affine one.")
        return element(torch.zeros_like(x)), element.log_abs_det_jacobian(x, x)


class Steps(LazyTransform):
    """The steps of a flow, all of which see the same context.

    Args:
        transforms: in the order in which they are applied.
    """

    def __init__(self, *transforms: LazyTransform) -> None:
        super().__init__()
        self.transforms = nn.ModuleList(transforms)

    def forward(self, c: Tensor | None = None) -> Chain:
        return Chain(*(transform(c) for transform in self.transforms))


def _steps(
    features: int, context: int, steps: int, univariate: Callable[..., Transform], shapes: Any, **network: Any
) -> LazyTransform:
    """Masked steps, the order of the elements reversed from one to the next, each near the identity."""
    order: Any = torch.arange(positive_int(features, "flow: features"))
    made = [
        MaskedAutoregressiveTransform(
            features, context, order=order.flip(0) if i % 2 else order, univariate=univariate, shapes=shapes, **network
        )
        for i in range(positive_int(steps, "flow: steps"))
    ]
    for step in made:
        _calm(step)
    return Steps(*made)


@torch.no_grad()
def _calm(step: nn.Module) -> None:
    """Shrinks what makes the parameters of a step: parameters of zero are the identity."""
    network = getattr(step, "hyper", None)
    if network is None:  # a single element, and no context: the parameters themselves
        for parameter in step.parameters():
            parameter.zero_()
        return
    network[-1].weight.mul_(_CALM)
    network[-1].bias.zero_()


def _network(hidden: tuple[int, ...], activation: str) -> dict[str, Any]:
    return {"hidden_features": as_shape(hidden, "flow: hidden"), "activation": activation_named(activation, "flow")}


def _wide(raw: Tensor) -> Tensor:
    """Transforms are computed in float32 or better, also under autocast: log q sums their scales."""
    return raw.to(torch.promote_types(raw.dtype, torch.float32))


def _affine(shift: Tensor, scale: Tensor) -> Transform:
    return MonotonicAffineTransform(_wide(shift), _wide(scale))


def _shift(shift: Tensor) -> Transform:
    return AdditiveTransform(_wide(shift))


def _spline(widths: Tensor, heights: Tensor, slopes: Tensor) -> Transform:
    return MonotonicRQSTransform(_wide(widths), _wide(heights), _wide(slopes))
