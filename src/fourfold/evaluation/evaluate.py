"""All of it at once: from a model and its data to rows and arrays."""

__all__ = ["Evaluation", "EvaluationOptions", "evaluate"]

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._checks import non_negative, positive_int
from ..distributions import bits_per_dim
from ..models import Model
from ..noise import Noise
from .batches import BatchLike, first
from .bounds import PerDatum, elbo
from .codes import CodeUse
from .decomposition import Decomposition, Undecomposable, decomposition
from .importance import Progress, Sampling, nll_importance
from .rows import Row
from .samples import two_sample
from .units import ActiveUnits, active_units, mean_draws, posterior_means

_Batches = Callable[[], Iterable[BatchLike]]

_GREY = (
    "elbo, distortion, bits/dim, NLL: grey values in a Bernoulli have no likelihood, so the cross-entropy is no bound "
    "on log p(x), nor to be compared with one. Train with binarize dynamic, or with likelihood continuous_bernoulli"
)

#: Of the variance of the data: an autoencoder that explains less says the mean datum, whatever it is given.
_LITTLE = 0.03
_ASKED = (
    ("two_sample", "two_sample_p"),
    ("decomposition", "mi"),
    ("importance_data", "nll_is"),
    ("importance_data", "nll_mc"),
)


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """What to evaluate, and with what budget.

    Args:
        draws: draws of z for each datum in the ELBO.
        importance_samples: K of the importance-sampled NLL; 0 leaves it out.
        prior_samples: S of the plain Monte Carlo NLL, z ~ p(z | c); 0 leaves it out.
        importance_data: both are of the first so many data; ``None`` takes all.
        latent_data: posterior means and active units are of the first so many data; ``None`` takes all.
        active_threshold: of the active units.
        decomposition: draws of z for the parts of the rate (mi, tc, dwkl), at most one a datum; 0 leaves them out.
        two_sample: data, and as many draws of the model, of the test whether the two differ; 0 leaves it out.
        rows_per_chunk: how many rows (draws × batch) are decoded at once.
        dequantised: the data are 8-bit values dequantised to [0, 1): densities then have bits/dim too.
    """

    draws: int = 1
    importance_samples: int = 0
    prior_samples: int = 0
    importance_data: int | None = None
    latent_data: int | None = 10_000
    active_threshold: float = 0.01
    decomposition: int = 0
    two_sample: int = 0
    rows_per_chunk: int = 2500
    dequantised: bool = False

    def __post_init__(self) -> None:
        for name in ("draws", "importance_data", "latent_data", "rows_per_chunk"):
            if getattr(self, name) is not None:
                positive_int(getattr(self, name), f"EvaluationOptions: {name}")
        for name in ("importance_samples", "prior_samples", "decomposition", "two_sample"):
            if getattr(self, name) != 0:
                positive_int(getattr(self, name), f"EvaluationOptions: {name}")
        non_negative(self.active_threshold, "EvaluationOptions: active_threshold")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was found: rows to report, and arrays to draw or to compare with another model's.

    Attributes:
        rows: the results, each with its protocol.
        per_datum: arrays ``(N,)`` in nats by name: ``distortion`` and, where they are, ``elbo``, ``rate``, ``nll_is``,
            ``nll_mc`` (of the first n data) and ``reconstruction_mse``. For grey data in a Bernoulli
            ``cross_entropy_objective`` and ``cross_entropy`` take the places of −``elbo`` and ``distortion``.
        kl_per_latent: for each level the mean KL of every latent in nats, or ``None`` without a closed form.
        active: the active units of each level; empty where there are none to speak of.
        means: posterior means of each level, ``(n, *latent)``.
        codes: how each level's codes are used; empty where latents are no codes.
        notes: what could not be computed, and why.
        remarks: what to know of the numbers that were.
    """

    rows: tuple[Row, ...]
    per_datum: dict[str, np.ndarray]
    kl_per_latent: tuple[np.ndarray | None, ...]
    active: tuple[ActiveUnits, ...]
    means: tuple[np.ndarray, ...]
    codes: tuple[CodeUse, ...] = ()
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def evaluate(
    model: Model,
    batches: _Batches,
    noise: Noise,
    *,
    options: EvaluationOptions = EvaluationOptions(),
    protocol: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Everything that can be said of a model on some data, in as many passes as it takes.

    Nothing is drawn or written. Non-finite values are never left out of a mean: rows count them.

    Args:
        model: any model, in eval mode.
        batches: gives the same data at every call (the same binarisation too).
        noise: every estimator has its own fork of it.
        options: what to evaluate.
        protocol: what else belongs to every row: dataset, split, binarisation, seed, parameters, version, …
        progress: ``progress(done, total)`` in data, over all estimates of the NLL.

    Raises:
        ValueError: a model in training mode, no data, or none of the values of an estimator finite.
    """
    bound = elbo(model, batches(), noise.fork("elbo"), options.draws, options.rows_per_chunk)
    measure: dict[str, Any] = {"measure": "mass" if bound.mass else "density"}
    if bound.grey:
        measure = {"measure": None, "grey_bernoulli": True}
    report = _Report({**(protocol or {}), **measure}, bound, options, tokens=model.support == "tokens")
    report.bounds()
    if not bound.grey:
        _likelihoods(model, batches, noise, report, progress)
    means = posterior_means(model, batches(), noise.fork("means"), options.latent_data)
    active: tuple[ActiveUnits, ...] = ()
    codes = CodeUse.of(model, first(batches(), options.latent_data)) if any(bound.codes) else ()
    report.coded(codes)
    if means and not bound.reason and len(means[0]) > 1 and not codes:
        drawn = zip(means, mean_draws(model, batches()), strict=True)
        active = tuple(active_units(level, options.active_threshold, draws) for level, draws in drawn)
        report.units(active)
    notes = [f"elbo, rate: {bound.reason}"] if bound.reason else []
    notes += [_GREY] if bound.grey else []
    if options.decomposition:
        try:
            found = decomposition(model, batches(), noise.fork("decomposition"), options.decomposition)
            report.decomposed(found)
        except Undecomposable as error:
            notes.append(f"mi, tc, dwkl: {error}")
    if options.two_sample:
        notes += report.compared(model, batches(), noise.fork("two_sample"))
    collapsed = (use.remark for use in codes if use.remark)
    remarks = (*_of_the_mean_datum(bound, batches()), *collapsed, *report.short())
    found = (tuple(report.rows), report.per_datum, bound.kl_per_latent, active, means, codes)
    return Evaluation(*found, notes=tuple(notes), remarks=remarks)


def _of_the_mean_datum(bound: PerDatum, batches: Iterable[BatchLike]) -> list[str]:
    """A remark on an autoencoder that does no better than the mean of these data would."""
    if bound.squared_error is None:
        return []
    n, total, squares = 0, np.zeros(()), np.zeros(())
    for batch in batches:
        if batch.mask is not None:
            return []
        x = batch.x.flatten(1).double().cpu().numpy()
        n, total, squares = n + len(x), total + x.sum(0), squares + np.square(x).sum(0)
    variance = float((squares / n - np.square(total / n)).mean())
    explained = 1 - float(bound.squared_error.mean()) / variance if variance > 0 else 1.0
    if not explained < _LITTLE:
        return []
    return [
        f"the reconstructions explain {max(explained, 0):.1%} of the variance of the data: they are no better than the "
        "mean of the data, whatever the datum. Train for longer, or with another activation or learning rate."
    ]


class _Report:
    """Rows and arrays as they come."""

    def __init__(
        self, protocol: dict[str, Any], bound: PerDatum, options: EvaluationOptions, *, tokens: bool = False
    ) -> None:
        self.protocol, self.bound, self.options, self.tokens = protocol, bound, options, tokens
        self.rows: list[Row] = []
        self.per_datum: dict[str, np.ndarray] = {}

    def mean(self, metric: str, values: np.ndarray, estimator: str, unit: str = "nats") -> None:
        """A row for the mean of an array that is kept."""
        self.per_datum[metric] = values
        self._row(metric, values, float(_quietly(np.mean, values)), values, estimator, unit)

    def per_element(self, of: str, nats: np.ndarray, estimator: str) -> None:
        """A row of bits/dim, where they mean something; of sentences nats per token, and the perplexity they are."""
        if self.bound.grey or not (self.bound.mass or self.options.dequantised):
            return
        dims = self.bound.dims[: len(nats)]
        each = float(_quietly(np.sum, nats)) / int(dims.sum())
        # Nats and sizes vary together where a mask does: the error of a ratio is that of its residuals.
        residual = (nats - dims * (nats.sum() / dims.sum())) / dims.mean() if np.isfinite(nats).all() else nats
        if self.tokens:
            self._row(f"nats_per_token{of}", nats, each, residual, estimator, "nats/token")
            most = float(np.exp(min(each, 700.0))) if each == each else each
            self._row(f"perplexity{of}", nats, most, residual * most, estimator, "words")
            return
        value = bits_per_dim(float(_quietly(np.sum, nats)), int(dims.sum()), dequantised=not self.bound.mass)
        self._row(f"bits_per_dim{of}", nats, value, residual / np.log(2), estimator, "bits/dim")

    def bounds(self) -> None:
        """The bound and its parts."""
        bound = self.bound
        if bound.elbo is not None and bound.rate is not None and bound.rates is not None:
            if bound.grey:
                self.mean("cross_entropy_objective", -bound.elbo, bound.estimator)
            else:
                self.mean("elbo", bound.elbo, bound.estimator)
            self.per_element("", -bound.elbo, bound.estimator)
            self.mean("rate", bound.rate, bound.estimator)
            for i, rate in enumerate(bound.rates if len(bound.rates) > 1 else (), 1):
                self._row(f"rate_{i}", rate, float(_quietly(np.mean, rate)), rate, bound.estimator, "nats")
        metric, draws = "cross_entropy" if bound.grey else "distortion", f"{bound.draws} draw"
        self.mean(metric, bound.distortion, draws if bound.draws == 1 else f"{draws}s")
        if bound.squared_error is not None:
            self.mean("reconstruction_mse", bound.squared_error, "mean of p(x|z), per element", "squared units of x")

    def units(self, levels: tuple[ActiveUnits, ...]) -> None:
        """The number of active units of each level."""
        for i, level in enumerate(levels, 1):
            metric = "active_units" if len(levels) == 1 else f"active_units_{i}"
            broken = int((~np.isfinite(level.variances)).sum())
            row = Row(metric, float(level.count), "units", None, level.estimator, level.n, self.protocol, broken)
            self.rows.append(row)

    def coded(self, levels: tuple[CodeUse, ...]) -> None:
        """How codes are used; and the bound under a uniform prior, where the model's is another."""
        for i, use in enumerate(levels, 1):
            mark = "" if len(levels) == 1 else f"_{i}"
            for metric, value in (("code_perplexity", use.perplexity), ("codes_used", float(use.used))):
                row = Row(metric + mark, value, "codes", None, use.estimator, use.n, self.protocol)
                self.rows.append(row)
        bound = self.bound
        if bound.certain and bound.rate is not None and not bound.grey:
            uniform = sum(use.uniform for use in levels)
            if not np.allclose(bound.rate, uniform, rtol=1e-5):
                how = f"{bound.estimator}, log K a code: {uniform:.2f} nats"
                self.mean("elbo_uniform", -bound.distortion - uniform, how)

    def compared(self, model: Model, batches: Iterable[BatchLike], noise: Noise) -> list[str]:
        """Whether generated and real data differ; or a note why that cannot be said."""
        try:
            if self.tokens:
                raise ValueError("numbers of words have no distances to compare them by.")
            if self.bound.grey:
                raise ValueError("the data are grey, and draws of the model are 0 and 1.")
            found = two_sample(model, batches, noise, self.options.two_sample)
        except ValueError as error:
            return [f"two_sample_p: {error}"]
        how = f"{found.name}, {found.kernel}, {found.method}"
        for metric, value in (("two_sample_mmd2", found.statistic), ("two_sample_p", found.p_value)):
            self.rows.append(Row(metric, value, "", None, how, found.n, self.protocol))
        return []

    def short(self) -> list[str]:
        """Remarks on what was asked of more data than there are."""
        found = {row.metric: row.n for row in self.rows}
        asked = {option: (getattr(self.options, option), metric) for option, metric in _ASKED if metric in found}
        return [
            f"{option}: {many:,} data were asked for, there are {found[metric]:,}: it is of those."
            for option, (many, metric) in asked.items()
            if many and found[metric] < many
        ]

    def decomposed(self, found: Decomposition) -> None:
        """The parts of the rate, from draws of z that are fewer than the data."""
        for metric in ("mi", "tc", "dwkl"):
            values = getattr(found, metric)
            most = f", at most {np.log(found.posteriors):.2f}" if metric == "mi" else ""
            self._row(metric, values, float(_quietly(np.mean, values)), values, found.estimator + most, "nats")

    def _row(
        self, metric: str, values: np.ndarray, value: float, spread: np.ndarray, estimator: str, unit: str
    ) -> None:
        n, non_finite = len(values), int((~np.isfinite(values)).sum())
        if non_finite == n:
            raise ValueError(
                f"evaluate: none of the {n} values of {metric} is finite. Has the training diverged, are the data "
                "what the likelihood is of, and were they scaled as in training?"
            )
        error = float(spread.std(ddof=1) / np.sqrt(n)) if n > 1 and not non_finite else None
        self.rows.append(Row(metric, value, unit, error, estimator, n, self.protocol, non_finite))


def _likelihoods(model: Model, batches: _Batches, noise: Noise, report: _Report, progress: Progress | None) -> None:
    """The estimates of the NLL that the options ask for, and that the model's posterior allows."""
    bound, options = report.bound, report.options
    wanted = {
        "nll_is": Sampling(options.importance_samples, "posterior", options.rows_per_chunk)
        if options.importance_samples and not bound.reason
        else None,
        "nll_mc": Sampling(options.prior_samples, "prior", options.rows_per_chunk) if options.prior_samples else None,
    }
    asked = {metric: sampling for metric, sampling in wanted.items() if sampling}
    n = min(len(bound.distortion), options.importance_data or len(bound.distortion))
    for i, (metric, sampling) in enumerate(asked.items()):
        data, key = first(batches(), n), noise.fork(metric)
        tell = None if progress is None else _counting(progress, i * n, len(asked) * n)
        nll = nll_importance(model, data, key, sampling, tell)
        estimator = "exact, no latents" if bound.exact else sampling.estimator
        if bound.certain and metric == "nll_is":
            estimator = "the one z of a one-hot q(z|x): it is −ELBO, and no number of draws changes it"
        report.mean(metric, nll, estimator)
        if metric == "nll_is":
            report.per_element("_is", nll, estimator)


def _counting(progress: Progress, before: int, total: int) -> Progress:
    return lambda done, _: progress(before + done, total)


def _quietly(reduce: Callable[[np.ndarray], Any], values: np.ndarray) -> Any:
    """The reduction, without a warning where the values are not all finite: rows count those."""
    with np.errstate(invalid="ignore"):
        return reduce(values)
