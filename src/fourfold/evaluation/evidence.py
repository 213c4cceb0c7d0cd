"""How loose is the bound? ELBO, importance sampling, annealing and the sandwich on the same data, as rows."""

__all__ = ["USUAL", "Evidence", "EvidenceOptions", "Stage", "evidence", "trust"]

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from .._checks import positive_int
from ..models import Model
from ..noise import Noise
from .ais import Annealed, Annealing, ais
from .batches import BatchLike, first
from .bdmc import Sandwich, bdmc
from .bounds import elbo
from .curve import ImportanceCurve, importance_curve
from .importance import Progress
from .rows import Row

#: ``stage(name, done, total)``: what is being done, and how far it is.
Stage = Callable[[str, int, int | None], None]

#: What is said of rows whose data were drawn from the model.
_SIMULATED = {"data_part": "simulated", "data_digest": None}

_Batches = Callable[[], Iterable[BatchLike]]


#: Enough for 50-dimensional latents and a Gaussian encoder to be off by less than a nat, in seconds for 100 images.
USUAL = Annealing(temperatures=200, chains=8, start="encoder")


@dataclass(frozen=True, slots=True)
class EvidenceOptions:
    """What is estimated, and with what budget.

    Args:
        samples: the values of K of importance sampling; 1 is the ELBO.
        annealing: the path of AIS; ``None`` leaves AIS and the sandwich out.
        simulated: how many data the sandwich is of; 0 leaves it out.
        rows_per_chunk: how many rows (draws × batch) importance sampling decodes at once.
    """

    samples: tuple[int, ...] = (1, 5000)
    annealing: Annealing | None = USUAL
    simulated: int = 20
    rows_per_chunk: int = 2500

    def __post_init__(self) -> None:
        for k in self.samples:
            positive_int(k, "EvidenceOptions: samples")
        if 1 not in self.samples or len(set(self.samples)) < 2:
            raise ValueError(f"EvidenceOptions: samples must have 1 (the ELBO) and a larger K, got {self.samples}.")
        if self.simulated != 0:
            positive_int(self.simulated, "EvidenceOptions: simulated")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was found.

    Attributes:
        rows: the results, each with its protocol.
        numbers: for each row the numbers ``(n,)`` that it is the mean of.
        curve: the bounds of importance sampling; ``None`` without a posterior that has a density.
        ais: the bound of annealing on the same data, ``(N,)``, in nats, if asked for.
        sandwich: of the simulated data, if asked for.
        notes: what could not be computed, and why.
    """

    rows: tuple[Row, ...]
    numbers: tuple[np.ndarray, ...]
    curve: ImportanceCurve | None = None
    ais: np.ndarray | None = None
    sandwich: Sandwich | None = None
    notes: tuple[str, ...] = ()


def evidence(
    model: Model,
    batches: _Batches,
    noise: Noise,
    *,
    options: EvidenceOptions | None = None,
    protocol: Mapping[str, Any] | None = None,
    progress: Stage | None = None,
) -> Evidence:
    """The ELBO, the bounds of importance sampling, AIS and the sandwich of BDMC, all of the same data, as rows.

    Rows of differences are paired: their errors are those of the differences of each datum. ``bound_gap`` is the fourth
    limitation of a VAE, log p(x) − ELBO, with log p(x) from AIS: in expectation too small by what AIS is too low.

    Args:
        model: any model, in eval mode.
        batches: gives the same data at every call.
        noise: every estimator has its own fork of it.
        options: what to estimate.
        protocol: what else belongs to every row.
        progress: told the stage, and how far it is.

    Raises:
        ValueError: grey values in a likelihood of 0 and 1, which have no log p(x); what the estimators raise.
    """
    options = options or EvidenceOptions()
    bound = elbo(model, batches(), noise.fork("elbo"))
    if bound.grey:
        raise ValueError(
            "evidence: grey values in a Bernoulli have no likelihood, so there is no log p(x) to estimate. Train with "
            "binarize dynamic, or with likelihood continuous_bernoulli."
        )
    report = _Report({**(protocol or {}), "measure": "mass" if bound.mass else "density"})
    if bound.exact:
        report.add("nll_is", bound.distortion, bound.estimator)
        return report.found(notes=("AIS, BDMC: this model has no latents, its log-likelihood is exact",))
    curve = None if bound.reason else _curve(model, batches, noise, options, report, progress)
    notes = (f"ELBO, IS: {bound.reason}",) if bound.reason else ()
    if bound.certain:
        notes += (_CODES,)
    if options.annealing is None or bound.certain:
        return report.found(curve, notes=notes)
    found = _annealed(model, batches, noise, options.annealing, report, progress)
    if curve is not None:
        report.compare(found, curve, options.annealing)
    if not options.simulated:
        return report.found(curve, found, notes=notes)
    sandwich = _sandwich(model, batches, noise, options, report, progress)
    return report.found(curve, found, sandwich, notes)


_CODES = (
    "AIS, BDMC: the latents are codes, and chains that follow a gradient cannot move them; q(z|x) is one code, so "
    "importance sampling is the bound itself at every K"
)


def _curve(
    model: Model, batches: _Batches, noise: Noise, options: EvidenceOptions, report: "_Report", progress: Stage | None
) -> ImportanceCurve:
    tell = _told(progress, "importance sampling")
    samples, rows = options.samples, options.rows_per_chunk
    curve = importance_curve(model, batches(), noise.fork("curve"), samples, rows, tell)
    report.add("elbo", curve.at(1), curve.estimator(1))
    for k in curve.samples[1:]:
        report.add("nll_is", -curve.at(k), curve.estimator(k))
    return curve


def _annealed(
    model: Model, batches: _Batches, noise: Noise, options: Annealing, report: "_Report", progress: Stage | None
) -> np.ndarray:
    parts: list[Annealed] = []
    for i, batch in enumerate(batches()):
        parts.append(ais(model, batch, noise.fork("ais").fork(str(i)), options, _told(progress, "AIS")))
    found = np.concatenate([part.bound for part in parts])
    report.add("nll_ais", -found, options.estimator, annealing=_how(parts))
    return found


def _sandwich(
    model: Model, batches: _Batches, noise: Noise, options: EvidenceOptions, report: "_Report", progress: Stage | None
) -> Sandwich:
    annealing, n = options.annealing, options.simulated
    assert annealing is not None
    like = next(iter(first(batches(), n)))
    given = None if like.c is None and like.mask is None else like
    if given is not None:
        n = min(n, len(given.x))
    tell = _told(progress, "BDMC")
    found = bdmc(model, n, noise.fork("bdmc"), annealing, given, tell)
    chains = {**_how([found.forward]), "reverse_acceptance": round(float(found.reverse.acceptance.mean()), 3)}
    for metric, values in (("bdmc_lower", found.lower), ("bdmc_upper", found.upper), ("bdmc_gap", found.gap)):
        report.add(metric, values, annealing.estimator, annealing=chains, **_SIMULATED)
    bound = elbo(model, [found.data], noise.fork("simulated"), 100)
    if bound.elbo is not None:
        report.add("bdmc_elbo", bound.elbo, bound.estimator, **_SIMULATED)
    return found


class _Report:
    """Rows and their numbers as they come."""

    def __init__(self, protocol: dict[str, Any]) -> None:
        self.protocol = protocol
        self.rows: list[Row] = []
        self.numbers: list[np.ndarray] = []

    def add(self, metric: str, values: np.ndarray, estimator: str, **more: Any) -> None:
        """A row for the mean of these numbers."""
        n, broken = len(values), int((~np.isfinite(values)).sum())
        with np.errstate(invalid="ignore"):
            mean = float(values.mean())
        error = float(values.std(ddof=1) / np.sqrt(n)) if n > 1 and not broken else None
        self.rows.append(Row(metric, mean, "nats", error, estimator, n, {**self.protocol, **more}, broken))
        self.numbers.append(values)

    def compare(self, found: np.ndarray, curve: ImportanceCurve, options: Annealing) -> None:
        """By how much the ELBO and the best bound of importance sampling are below annealing, datum by datum."""
        for metric, k in (("bound_gap", 1), ("is_gap", curve.samples[-1])):
            self.add(metric, found - curve.at(k), f"{options.estimator}; less {curve.estimator(k)}")

    def found(
        self,
        curve: ImportanceCurve | None = None,
        ais: np.ndarray | None = None,
        sandwich: Sandwich | None = None,
        notes: tuple[str, ...] = (),
    ) -> Evidence:
        """All of it."""
        return Evidence(tuple(self.rows), tuple(self.numbers), curve, ais, sandwich, notes)


def trust(found: Evidence) -> str | None:
    """What the sandwich says of annealing, and what must hold for that to be said of the real data; ``None`` without.

    The rule: the gap on simulated data is below one nat, and the real data are to the chains what the simulated ones
    are: they are accepted as often, and the ELBO is as far below.
    """
    rows = {row.metric: row for row in found.rows}
    if "bdmc_gap" not in rows or "nll_ais" not in rows:
        return None
    gap, real = rows["bdmc_gap"], rows["nll_ais"].protocol["annealing"]
    error, made = gap.standard_error, gap.protocol["annealing"]
    apart = f"{gap.value:.2f}" if error is None else f"{gap.value:.2f} ± {error:.2f}"
    said = (
        f"On {gap.n} data simulated from the model, log p(x) is between two bounds {apart} nats "
        f"apart. {_verdict(gap.value, error)} Mean acceptance: real {real['acceptance']:.2f}, simulated "
        f"{made['acceptance']:.2f}"
    )
    if "bound_gap" in rows and "bdmc_elbo" in rows:
        below = rows["bdmc_lower"].value - rows["bdmc_elbo"].value
        said += f"; AIS − ELBO: real {rows['bound_gap'].value:.2f}, simulated {below:.2f}"
    return said + ". Where these are far apart, the simulated data say little of the real ones."


def _verdict(gap: float, error: float | None) -> str:
    if not isfinite(gap):
        return "That is no number, so nothing can be said of AIS. Has the training diverged?"
    if error is None:
        return "Of a single datum that says little: simulate more data."
    if gap - 2 * error >= 1:
        return "That is more than one nat: AIS is too low here. Give it more temperatures."
    if gap + 2 * error >= 1:
        return "Whether that is less than one nat is not certain: simulate more data, or give more temperatures."
    return "That is less than one nat: AIS is to be trusted on data like those."


def _how(parts: list[Annealed]) -> dict[str, Any]:
    """How the chains went, for a protocol."""
    steps = np.stack([part.step_sizes for part in parts])
    return {
        "acceptance": round(float(np.mean([part.acceptance.mean() for part in parts])), 3),
        "least_acceptance": round(float(min(part.acceptance.min() for part in parts)), 3),
        "step_sizes": [round(float(steps[:, t].mean()), 4) for t in (0, steps.shape[1] // 2, -1)],
        "effective_chains": _told_of(np.mean([part.effective_chains.mean() for part in parts])),
    }


def _told_of(chains: np.floating) -> float | None:
    """A number that JSON can hold; none where some weights are no numbers, or all of a datum are 0."""
    return round(float(chains), 2) if np.isfinite(chains) else None


def _told(progress: Stage | None, name: str) -> Progress | None:
    return None if progress is None else lambda done, total: progress(name, done, total)
