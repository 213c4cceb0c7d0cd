"""Importance-weighted bounds: more draws of z for a tighter bound on log p(x)."""

__all__ = ["CIWAE", "IWAE", "MIWAE"]

from abc import ABC
from math import log
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.dropout import _DropoutNd as _Dropout

from .._checks import choice, positive_int
from ..networks.normalisation import norms
from ..noise import NoiseSource, Recorder, Replay
from ..trace import Term, Terms, Trace
from .alone import drawn_by_weight, noise_of
from .base import Objective, plain_terms, reported, with_penalties
from .estimators import Estimator, estimator_by_name, in_place, reweighted
from .schedules import Schedule


class _Weighted(Objective, ABC):
    """What the importance-weighted bounds share: draws in groups, weights within a group, and how to differentiate.

    Args:
        outer: M, the number of groups, over whose bounds the mean is taken.
        inner: K, the draws of a group.
        estimator: of the gradient.
        biased: sticking the landing with K > 1 is wanted in spite of its bias.
        name: of the bound among the parts.
    """

    def __init__(self, outer: int, inner: int, estimator: str | Estimator, biased: bool, name: str) -> None:
        owner = type(self).__name__
        super().__init__(outer * inner)
        self.outer, self.inner = outer, inner
        self.estimator = estimator_by_name(estimator, owner)
        exact = self.estimator.plain or self.inner == 1
        self.alone = outer if self.estimator.alone else 0
        if self.estimator.name == "stl" and not exact and not biased:
            raise ValueError(
                f"{owner}: sticking the landing is biased for more than one draw ({self.inner} here): what it leaves "
                "out has no zero mean under importance weights. Take estimator='dreg', or say biased=True."
            )
        stl_of_one = self.estimator.name == "stl" and exact
        caution = "" if stl_of_one else self.estimator.caution
        self.name = f"{name} ({caution})" if caution else name

    def bound(self, trace: Trace) -> Tensor:
        """The mean over groups of log (1/K) Σ w, in nats, ``(B,)``."""
        return (self._grouped(trace.log_weight).logsumexp(1) - log(self.inner)).mean(0)

    def shares(self, trace: Trace) -> tuple[Tensor, Tensor]:
        """Weights ``(S, B)``, without gradient, of the direct term and of the path in the bound's gradient."""
        with torch.no_grad():
            share = self._grouped(trace.log_weight).softmax(1)
            direct, path = share / self.outer, self.estimator.path(share) / self.outer
        return direct.flatten(0, 1), path.flatten(0, 1)

    def _grouped(self, log_weight: Tensor) -> Tensor:
        if len(log_weight) != self.draws:
            raise ValueError(
                f"{type(self).__name__}: wanted a trace of {self.draws} draws, got {len(log_weight)}: its bound would "
                "be another one. Call the model with draws=objective.draws."
            )
        return log_weight.unflatten(0, (self.outer, self.inner))

    def surrogate(self, model: Any, trace: Trace, terms: Terms) -> Tensor:
        if self.estimator.plain or not trace.levels:
            return terms.total
        if self.alone:
            return self._of_the_chosen(trace, terms)
        if self.inner > 1 and model.training and norms(model):
            raise ValueError(
                f"{type(self).__name__}: estimator {self.estimator.name!r}: batch normalisation lets a datum's weights "
                "depend on the draws of others, and this gradient takes them for its own. Take autograd, or a model "
                "without batch normalisation."
            )
        direct, path = self.shares(trace)
        score = self.estimator.score * direct if self.estimator.score else None
        return in_place(reweighted(model, trace, direct, path, score), trace, terms)

    def _of_the_chosen(self, trace: Trace, terms: Terms) -> Tensor:
        log_weight = trace.log_weight
        if len(log_weight) != self.outer:
            raise ValueError(
                f"{type(self).__name__}: estimator 'one-backward': wanted a second pass, of the chosen draws alone, "
                f"got one of {len(log_weight)}. Let fourfold.training.Step make both, or take another estimator."
            )
        found = log_weight.mean(0)
        return terms.total.detach() + (found - found.detach())

    def again(self, model: Any, trace: Trace, seen: Recorder) -> Replay:
        owner = f"{type(self).__name__}: estimator 'one-backward'"
        if trace.penalties:
            raise ValueError(
                f"{owner}: this model's own penalties ({', '.join(trace.penalties)}) belong to all draws, and are not "
                "had from one. Take autograd or dreg."
            )
        changing = next((one for one in model.modules() if isinstance(one, _Dropout) and one.p), None)
        if model.training and (changing is not None or norms(model)):
            culprit = "batch normalisation" if changing is None else type(changing).__name__
            raise ValueError(
                f"{owner}: {culprit} makes the second pass of a draw another one than the first, whose weight it had. "
                "Take autograd, or a model without it."
            )
        return noise_of(seen, drawn_by_weight(self._grouped(trace.log_weight), seen.source), self.draws)


class IWAE(_Weighted):
    r"""The importance-weighted bound: tighter with every draw, and log p(x) in the limit.

    .. math:: \mathcal L_K = \log \frac1K \sum_{k=1}^K w_k, \qquad w_k = \frac{p(x, z_k)}{q(z_k \mid x)}

    Its value is the bound, whatever the estimator of its gradient. The mean over K draws of log w instead, which is
    no tighter than one draw, is ``ELBO(draws=K)``. With autograd the signal in the encoder's gradient falls with K
    (Rainforth et al. 2018, arXiv:1802.04537); with DReG it does not.

    Args:
        draws: K.
        estimator: ``"autograd"``; ``"dreg"``, doubly reparametrised: the same mean and far less noise on the encoder;
            ``"stl"``, sticking the landing: exact for K = 1 only; ``"rws"``, reweighted wake-sleep: the encoder
            ascends Σ w̃ log q(z) and not the bound; ``"one-backward"``: all K pass without gradient, one of them is
            drawn by its weight and differentiated alone: the mean of autograd's gradient, noisier, in less time and
            memory (``training.Step`` makes both passes); or an ``Estimator``, such as ``dreg(0.5)``.
        biased: needed for ``"stl"`` with K > 1.

    Raises:
        ValueError: sticking the landing with K > 1 unless ``biased``; a trace of another number of draws.

    References:
        Burda, Grosse and Salakhutdinov 2015, arXiv:1509.00519; Tucker et al. 2018, arXiv:1810.04152 (DReG); Roeder,
        Wu and Duvenaud 2017, arXiv:1703.09194 (STL); Bornschein and Bengio 2014, arXiv:1406.2751 (RWS).

    Example:
        >>> import torch
        >>> from fourfold.distributions import DiagonalGaussian
        >>> from fourfold.trace import Trace
        >>> log_weight = torch.tensor([[-2.0], [-1.0]])
        >>> IWAE(draws=2)(Trace(log_weight, DiagonalGaussian(log_weight, log_weight), log_weight, ())).total
        tensor([-1.3799])
    """

    def __init__(self, draws: int = 50, estimator: str | Estimator = "autograd", biased: bool = False) -> None:
        super().__init__(1, positive_int(draws, "IWAE: draws"), estimator, biased, "iwae")

    def forward(self, trace: Trace, noise: NoiseSource | None = None) -> Terms:
        return with_penalties({**_silently_reported(trace), self.name: Term(self.bound(trace), 1.0)}, trace)


class MIWAE(_Weighted):
    r"""The mean of M importance-weighted bounds of K draws each.

    .. math:: \frac1M \sum_{m=1}^M \log \frac1K \sum_{k=1}^K w_{mk}

    As tight as ``IWAE(K)``; the M groups only lower its noise. For the same number of draws it gives the encoder
    a clearer gradient than ``IWAE(M·K)`` does with autograd, and the decoder a looser bound.

    Args:
        outer: M.
        inner: K.
        estimator: as in ``IWAE``.
        biased: needed for ``"stl"`` with K > 1.

    References:
        Rainforth et al. 2018, "Tighter variational bounds are not necessarily better", arXiv:1802.04537.
    """

    def __init__(
        self, outer: int = 8, inner: int = 8, estimator: str | Estimator = "autograd", biased: bool = False
    ) -> None:
        outer, inner = positive_int(outer, "MIWAE: outer"), positive_int(inner, "MIWAE: inner")
        super().__init__(outer, inner, estimator, biased, "miwae")

    def forward(self, trace: Trace, noise: NoiseSource | None = None) -> Terms:
        return with_penalties({**_silently_reported(trace), self.name: Term(self.bound(trace), 1.0)}, trace)


class CIWAE(_Weighted):
    r"""A mixture of the ELBO and the importance-weighted bound.

    .. math:: \beta\, \mathcal L_{\mathrm{ELBO}} + (1 - \beta)\, \mathcal L_K

    A bound between the two. The parts of the ELBO have weight β and −β, the importance-weighted bound 1 − β.

    Args:
        beta: β from 0 (IWAE) to 1 (ELBO of K draws), a number or a schedule.
        draws: K, for both.
        kl: the rate of the ELBO: ``"auto"`` or ``"monte_carlo"``, as in ``ELBO``.
        estimator: as in ``IWAE``; one other than autograd also takes the ELBO's gradient along the path alone, which is
            exact in the mean.
        biased: needed for ``"stl"`` with K > 1.

    Raises:
        ValueError: β above 1; reweighted wake-sleep, whose encoder does not ascend either bound.

    References:
        Rainforth et al. 2018, arXiv:1802.04537.
    """

    beta: Tensor

    def __init__(
        self,
        beta: float | Schedule = 0.05,
        draws: int = 64,
        kl: str = "auto",
        estimator: str | Estimator = "autograd",
        biased: bool = False,
    ) -> None:
        super().__init__(1, positive_int(draws, "CIWAE: draws"), estimator, biased, "iwae")
        if self.estimator.score or self.estimator.alone:
            raise ValueError(f"CIWAE: {self.estimator.name} has no part for the ELBO. Take 'autograd' or 'dreg'.")
        self.hyper("beta", beta)
        self.advance(0)
        self.monte_carlo = choice(kl, ("auto", "monte_carlo"), "CIWAE: kl") == "monte_carlo"

    def forward(self, trace: Trace, noise: NoiseSource | None = None) -> Terms:
        raw = plain_terms(trace, self.monte_carlo)
        parts = {"log_likelihood": Term(raw["log_likelihood"], self.beta)}
        if "rate" in raw:
            parts["rate"] = Term(raw["rate"], -self.beta)
        return with_penalties({**parts, self.name: Term(self.bound(trace), 1 - self.beta)}, trace)

    def advance(self, step: int) -> None:
        super().advance(step)
        if self.values["beta"] > 1:
            raise ValueError(f"CIWAE: beta must be from 0 to 1, got {self.values['beta']}: IWAE's weight is 1 − beta.")

    def shares(self, trace: Trace) -> tuple[Tensor, Tensor]:
        direct, path = super().shares(trace)
        even = self.beta / self.draws
        return even + (1 - self.beta) * direct, even + (1 - self.beta) * path


def _silently_reported(trace: Trace) -> dict[str, Term]:
    """The parts of the ELBO, for reading only: nothing is differentiated that has weight 0."""
    with torch.no_grad():
        return reported(trace)
