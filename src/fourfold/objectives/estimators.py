"""Gradient estimators of importance-weighted bounds: other gradients for the same value."""

__all__ = ["ESTIMATORS", "Estimator", "dreg", "estimator_by_name", "in_place", "reweighted"]

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .._checks import choice, fraction
from ..trace import Terms, Trace


@dataclass(frozen=True, slots=True)
class Estimator:
    r"""How the gradient of log (1/K) Σ w_k is put together from its draws.

    With w̃ = w / Σ w the normalised weights, held fixed, the gradient is

    .. math:: \sum_k \tilde w_k\, \partial_\theta \log p(x, z_k)
        + \sum_k (a + b\,\tilde w_k)\, \tilde w_k\, \partial_z \log w_k\, \partial_\theta z_k
        + s \sum_k \tilde w_k\, \partial_\theta \log q(z_k)

    with z fixed in the first and the last sum, and every parameter of the densities fixed in the second. θ is every
    parameter of the model: one that encoder and decoder share gets all three.

    Args:
        name: its name in ``ESTIMATORS``.
        constant: a.
        linear: b.
        score: s.
        caution: said in the name of the bound's part where this is not the gradient of that bound.
        alone: one draw is differentiated in place of all, k with probability w̃_k: the gradient is ∂ log w_k, whose
            mean over k is Σ w̃ ∂ log w. All K are passed without gradient, and the one is passed again.
    """

    name: str
    constant: float = 0.0
    linear: float = 0.0
    score: float = 0.0
    caution: str = ""
    alone: bool = False

    def __post_init__(self) -> None:
        if self.score and (self.constant or self.linear):
            raise ValueError("Estimator: wanted a path or a score; with both, the score would be counted twice.")

    @property
    def plain(self) -> bool:
        """The total derivative, as autograd finds it: nothing is put together by hand."""
        return self.name == "autograd"

    def path(self, share: Tensor) -> Tensor:
        """The weight of ∂z log w · ∂z, from the normalised weights."""
        return (self.constant + self.linear * share) * share


def dreg(alpha: float = 0.0) -> Estimator:
    r"""DReG(α): weights α w̃ + (1 − 2α) w̃² on the path; doubly reparametrised, so no score is left.

    α = 0 is the gradient of the importance-weighted bound itself; α = 1 that of wake-phase φ in reweighted
    wake-sleep, reparametrised; between them the encoder ascends a mixture of the two, which is no bound.

    Args:
        alpha: α, from 0 to 1.

    References:
        Tucker, Lawson, Gu and Maddison 2018, arXiv:1810.04152; Bauer and Mnih 2021, arXiv:2101.11046 for several
        layers.
    """
    alpha = 1.0 if alpha == 1 else fraction(alpha, "dreg: alpha")
    caution = f"encoder ascends DReG({alpha:g}), no bound" if alpha else ""
    return Estimator("dreg", alpha, 1 - 2 * alpha, caution=caution)


#: Every estimator by name.
ESTIMATORS: dict[str, Estimator] = {
    made.name: made
    for made in (
        Estimator("autograd"),
        dreg(),
        # exact for one draw; for more it drops a score whose mean is not zero
        Estimator("stl", constant=1.0, caution="biased gradient"),
        # the encoder ascends Σ w̃ log q(z): towards the posterior, with KL(p‖q), and not up the bound
        Estimator("rws", score=1.0, caution="encoder ascends wake-phi, no bound"),
        # the mean of autograd's gradient at a fraction of its time, with more noise
        Estimator("one-backward", alone=True),
    )
}


def estimator_by_name(given: str | Estimator, owner: str, known: tuple[str, ...] = tuple(ESTIMATORS)) -> Estimator:
    """The estimator itself, or the one of that name."""
    if isinstance(given, Estimator):
        choice(given.name, known, f"{owner}: estimator")
        return given
    return ESTIMATORS[choice(given, known, f"{owner}: estimator")]


def reweighted(
    model: Any,
    trace: Trace,
    direct: Tensor,
    path: Tensor,
    score: Tensor | None = None,
    beta: float | Tensor = 1.0,
) -> Tensor:
    """What to differentiate, ``(B,)``, so that each way a parameter enters log w gets a weight of its own.

    With one level this costs one backward pass: a hook rescales the gradient on its way into z, which spends the
    trace. With several levels a hook on every z would act again and again from level to level, and penalties of the
    model may reach z too: then the model is asked again at the same z, under parameters held fixed.

    Args:
        model: what gave the trace.
        trace: the pass; none of its draws may be other than reparametrised where ``path`` is not zero.
        direct: weights of ∂ log p(x, z) at fixed z, ``(S, B)``.
        path: weights of ∂z log w · ∂z at fixed densities, ``(S, B)``.
        score: weights of ∂ log q(z) at fixed z, ``(S, B)``; instead of a path, whose weights must then be 0.
        beta: weight of the rate in log w = log p(x | z) − β (log q(z) − log p(z)).

    Raises:
        ValueError: a posterior whose log q at fixed parameters cannot be had (a flow).
    """
    simple = len(trace.levels) == 1 and not trace.penalties
    return (_at_once if simple else _in_parts)(model, trace, direct, path, score, beta)


def _at_once(
    model: Any, trace: Trace, direct: Tensor, path: Tensor, score: Tensor | None, beta: float | Tensor
) -> Tensor:
    (level,) = trace.levels
    log_weight = trace.log_likelihood + beta * level.log_p
    if score is None:
        log_weight = log_weight - beta * level.q.detached().log_prob(level.z)
    if level.z.requires_grad:
        ratio = path / direct.clamp_min(torch.finfo(direct.dtype).tiny)
        ratio = ratio.reshape(*ratio.shape, *[1] * (level.z.ndim - ratio.ndim))
        level.z.register_hook(lambda gradient: (ratio * gradient).to(gradient.dtype))
    found = (direct * log_weight).sum(0)
    if score is not None:
        found = found + (score * level.q.log_prob(level.z.detach())).sum(0)
    return found


def _in_parts(
    model: Any, trace: Trace, direct: Tensor, path: Tensor, score: Tensor | None, beta: float | Tensor
) -> Tensor:
    z = tuple(level.z for level in trace.levels)
    fixed = tuple(one.detach() for one in z)
    at_z = model.at(trace.x, fixed, trace.c, score is not None, trace.mask)
    log_p = at_z.log_likelihood + beta * (at_z.log_joint - at_z.log_likelihood)
    found = (direct * log_p).sum(0)
    if score is not None:
        log_q = torch.stack([level.log_q for level in at_z.levels]).sum(0)
        return found + (score * log_q).sum(0)
    for level in trace.levels:
        level.q.detached()  # refuses by name what the next pass would do at many times its price, or wrongly
    still = {f"model.{name}": parameter.detach() for name, parameter in model.named_parameters()}
    along = functional_call(_At(model), still, (trace.x, z, trace.c, True, trace.mask))
    return found + (path * (along.log_likelihood - beta * along.log_ratio)).sum(0)


def in_place(found: Tensor, trace: Trace, terms: Terms) -> Tensor:
    """The gradient of what was found and of the model's penalties, at the value of the terms, ``(B,)``."""
    for name in trace.penalties:
        found = found + terms.parts[name].weighted
    return terms.total.detach() + (found - found.detach())


class _At(nn.Module):
    """``model.at`` as a module's call, which is what parameters can be exchanged in."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, *given: Any) -> Trace:
        return self.model.at(*given)
