"""All that the doctor measures of a model: few data, few draws, seconds."""

__all__ = ["MORE_DATA", "NO_RATE", "Batches", "Exam", "LevelExam", "Scale", "examine", "standard_error"]

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...distributions import DiagonalGaussian, GaussianHead
from ...models import Model
from ...noise import Noise
from ...trace import Level, Trace
from ..aggregate import aggregate
from ..batches import BatchLike, first
from ..bounds import PerDatum, elbo
from ..codes import CodeUse
from ..decomposition import Undecomposable
from ..gap import GapOptions, Gaps, inference_gaps
from ..information import Information, information
from ..local import Ascent
from ..price import Price, Unpriced, price
from ..swap import Swap, swap
from ..units import ActiveUnits, active_units, mean_draws, posterior_means

#: Data that are the same at every call.
Batches = Callable[[], Iterable[BatchLike]]
#: What to do where there are too few.
MORE_DATA = "take more data: --split train or -n"
#: A rate below so many nats is none.
NO_RATE = 0.1
#: The search for the best posterior of each datum, where it is asked for.
_ASCENT = Ascent(steps=200)


@dataclass(frozen=True, slots=True)
class LevelExam:
    """What was seen of one level of latents.

    Attributes:
        active: its active units; ``None`` for codes, which have no mean, and of a single datum.
        foreseen: whether its rate is a divergence of its own.
        width: median of σ_q / σ_p over the data and the active latents (σ_q alone where p has no scale); ``None`` where
            q is no diagonal Gaussian.
    """

    active: ActiveUnits | None
    foreseen: bool
    width: float | None

    @property
    def silent(self) -> bool:
        """Whether no latent of it is known to be active."""
        return self.active is None or not self.active.count


@dataclass(frozen=True, slots=True)
class Scale:
    """The scale of a Gaussian likelihood.

    Attributes:
        typical: its median over data and elements.
        smallest: the least.
        floor: the least that its head allows; 0 where it allows any.
        at_floor: the share of elements whose scale is within half of the floor, or of 10⁻³ of the data's own.
        fixed: whether it was fixed and not learnt.
        residual: root mean square of x less its mean.
        spread: standard deviation of x over the data and elements.
    """

    typical: float
    smallest: float
    floor: float
    at_floor: float
    fixed: bool
    residual: float
    spread: float


@dataclass(frozen=True, slots=True)
class Exam:
    """Measurements of a model; text stands for the reason where one was not to be had.

    Attributes:
        broken: how many weights are not finite; if any, nothing else was measured.
        test: bound and parts of the data at hand.
        taught: the same of some training data.
        levels: of the latents, from the top.
        swap: what data lose with the latents of others.
        price: what a nat of rate buys, on training data where they are at hand.
        information: what the top level knows of the data.
        apart: MMD² of q(z) and p(z), and its p-value.
        gaps: the gap of the bound, if it was asked for.
        scale: of a Gaussian likelihood.
        codes: of a model with a codebook.
        autoregressive: whether p(x | z) looks at x too.
        upward: whether the levels are inferred from the bottom up.
    """

    broken: int = 0
    test: PerDatum | None = None
    taught: PerDatum | None = None
    levels: tuple[LevelExam, ...] = ()
    swap: Swap | str = "not measured"
    price: Price | str = "not measured"
    information: Information | str = "not measured"
    apart: tuple[float, float] | str = "not measured"
    gaps: Gaps | str = "not asked for"
    scale: Scale | None = None
    codes: tuple[CodeUse, ...] = ()
    autoregressive: bool = False
    upward: bool = False

    @property
    def rate(self) -> float | None:
        """The mean rate in nats; ``None`` where there is none."""
        rate = None if self.test is None else self.test.rate
        return None if rate is None or not self.levels else float(rate.mean())

    @property
    def rate_error(self) -> float | None:
        """Its standard error over the data."""
        rate = None if self.test is None else self.test.rate
        return None if rate is None else standard_error(rate)


def examine(
    model: Model,
    batches: Batches,
    noise: Noise,
    taught: Batches | None = None,
    gap_data: int = 0,
    tell: Callable[[str], None] | None = None,
) -> Exam:
    """Measures everything that the doctor's checks ask for.

    Args:
        model: any model, in eval mode.
        batches: the data, those that the model has not seen; some hundreds are enough.
        noise: its forks draw z, and who is compared with whom.
        taught: some of the training data.
        gap_data: the best posterior is searched for so many data; 0 leaves it out, as it takes longest.
        tell: told what is measured next.
    """
    say = tell or (lambda name: None)
    broken = sum(int((~p.isfinite()).sum()) for p in model.parameters() if p.is_floating_point())
    if broken:
        return Exam(broken=broken)
    say("bound")
    test = elbo(model, batches(), noise.fork("elbo"))
    learnt = None if taught is None else elbo(model, taught(), noise.fork("elbo"))
    if not np.isfinite(test.distortion).all() or (test.rate is not None and not np.isfinite(test.rate).all()):
        return Exam(test=test, taught=learnt)
    trace = _looked(model, batches, noise)
    seen: dict[str, Any] = {"test": test, "taught": learnt, "scale": _scale(model, trace)}
    seen["autoregressive"] = not trace.p_x.has_mean
    if not trace.levels:
        return Exam(**seen)
    say("latents")
    levels = _levels(model, batches, noise.fork("means"), trace)
    seen |= {"levels": levels, "upward": not all(level.foreseen for level in levels)}
    seen["codes"] = CodeUse.of(model, (taught or batches)())
    dense = all(level.q.has_density for level in trace.levels)
    if not dense:
        seen |= dict.fromkeys(("price", "information", "apart", "gaps"), "a point posterior has no density, so no rate")
    say("swap")
    seen["swap"] = _or_reason(lambda: swap(model, batches, noise.fork("swap")))
    if dense:
        say("price of a nat")
        seen["price"] = _or_reason(lambda: price(model, (taught or batches)(), noise.fork("price")))
        say("information")
        seen["information"] = _or_reason(lambda: information(model, batches(), noise.fork("information"), 500))
        say("aggregate posterior")
        smooth = all(level.z.is_floating_point() for level in trace.levels)
        seen["apart"] = "codes are names, and have no distance"
        if smooth:
            seen["apart"] = _or_reason(lambda: _apart(model, batches, noise.fork("aggregate")))
    if dense and gap_data:
        say("gap")
        options = GapOptions(_ASCENT, samples=200, flow=False)
        few = list(first(batches(), gap_data))
        seen["gaps"] = _or_reason(lambda: inference_gaps(model, few, noise.fork("gap"), options))
    return Exam(**seen)


def standard_error(values: np.ndarray) -> float | None:
    """Of a mean; ``None`` for a single value."""
    return float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else None


def _or_reason(measure: Callable[[], Any]) -> Any:
    """What was measured, or why it could not be."""
    try:
        return measure()
    except (Undecomposable, Unpriced, ValueError) as error:
        return str(error)


@torch.inference_mode()
def _looked(model: Model, batches: Batches, noise: Noise) -> Trace:
    """One pass over the first data."""
    batch = next(iter(first(batches(), 200)))
    return model(batch.x, batch.c, 1, noise.fork("look"), batch.mask)


@torch.inference_mode()
def _levels(model: Model, batches: Batches, noise: Noise, trace: Trace) -> tuple[LevelExam, ...]:
    means, draws = posterior_means(model, batches(), noise), mean_draws(model, batches())
    found = []
    for level, mean, count in zip(trace.levels, means, draws, strict=True):
        units = active_units(mean, draws=count) if level.z.is_floating_point() and len(mean) > 1 else None
        found.append(LevelExam(units, level.foreseen, None if units is None else _width(level, units)))
    return tuple(found)


def _width(level: Level, active: ActiveUnits) -> float | None:
    """Median σ_q / σ_p of the active latents."""
    if not isinstance(level.q, DiagonalGaussian):
        return None
    log_scale = level.q.log_scale.expand_as(level.q.loc)
    if isinstance(level.p, DiagonalGaussian):
        log_scale = log_scale - level.p.log_scale
    used = torch.from_numpy(active.active).to(log_scale.device)
    return float(log_scale[..., used].exp().median()) if active.count else None


def _apart(model: Model, batches: Batches, noise: Noise) -> tuple[float, float]:
    found = aggregate(model, batches(), noise, samples=500, permutations=200).mmd
    return found.statistic, found.p_value


def _scale(model: Model, trace: Trace) -> Scale | None:
    """Of a Gaussian p(x | z), at one draw of each of the first data."""
    p_x = trace.p_x
    if not isinstance(p_x, DiagonalGaussian):
        return None
    head = getattr(getattr(model, "likelihood", getattr(model, "density", None)), "head", None)
    known = isinstance(head, GaussianHead)
    floor, fixed = (head.floor, head.kind == "fixed") if known else (0.0, False)
    scale, spread = p_x.scale, float(trace.x.std())
    least = 1.5 * floor if floor else 1e-3 * spread
    return Scale(
        typical=float(scale.median()),
        smallest=float(scale.min()),
        floor=floor,
        at_floor=float((scale < least).double().mean()),
        fixed=fixed,
        residual=float(_residual(trace.x, p_x.mean)),
        spread=spread,
    )


def _residual(x: Tensor, mean: Tensor) -> Tensor:
    return (x - mean).square().mean().sqrt()
