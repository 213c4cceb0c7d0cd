"""Outliers: scores of a run's own data and of others, and how well each score tells them apart."""

__all__ = ["Hunt", "corrupted_rows", "outlying"]

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .._checks import positive_int
from ..data import Batch, Split
from ..evaluation import Row, Sampling, elbo, nll_importance
from ..evaluation.outliers import REGRET, corrupted, likelihood_regret, png_bits, roc, waic
from ..noise import Noise
from ..pictures import diagnose as drawn
from .diagnose import Diagnostics, Found

if TYPE_CHECKING:
    from .run import Run


@dataclass(frozen=True, slots=True)
class Hunt:
    """With what budget outliers are looked for.

    Args:
        data: of each kind, at most.
        samples: K of the importance-sampled likelihood.
        regret_steps: of the search for each datum's best posterior; 0 leaves likelihood regret out.
        ensemble: further runs on the same data, for WAIC.
    """

    data: int = 1000
    samples: int = 100
    regret_steps: int = 100
    ensemble: tuple["Run", ...] = ()

    def __post_init__(self) -> None:
        positive_int(self.data, "Hunt: data")
        positive_int(self.samples, "Hunt: samples")


def corrupted_rows(diagnostics: Diagnostics, name: str, data: int) -> Split:
    """Rows of the diagnosed data, spoiled: others than the first ones, if there are enough."""
    split = diagnostics.split
    start = data if len(split) >= 2 * data else 0
    rows = slice(start, start + data)
    x = corrupted(np.asarray(split.x[rows]), name, diagnostics.run.view.levels, Noise(diagnostics.seed, stream=name))
    return Split(x, None if split.labels is None else split.labels[rows])


def outlying(diagnostics: Diagnostics, name: str, outside: Split, options: Hunt = Hunt()) -> Found:
    """How well the likelihood, and scores that are better than it, tell other data from the run's own.

    Every score is meant to be higher for outliers. An area below 1/2 is no mistake: to the likelihood of many models,
    simpler data are the more typical ones (Nalisnick et al. 2019).

    Args:
        diagnostics: of the run on its own data, better held out.
        name: of the other data.
        outside: their rows, in the form of the run's own.
        options: the budget.

    Raises:
        ValueError: an ensemble whose runs are shown their data otherwise.
    """
    title = f"outliers_{name}"
    if reason := diagnostics.no_density() or diagnostics.grey():
        return Found(title, notes=(f"outliers: {reason}",))
    inside = Split(np.asarray(diagnostics.split.x[: options.data]), _labels(diagnostics.split, options.data))
    others = Split(np.asarray(outside.x[: options.data]), _labels(outside, options.data))
    notes: list[str] = []
    here, there = (_scores(diagnostics, rows, options, notes) for rows in (inside, others))
    rows, curves, lines = [], [], ["area [95 %]            score"]
    for score, (how, values) in here.items():
        if broken := int(np.isnan(values).sum() + np.isnan(there[score][1]).sum()):
            notes.append(f"auc_{score}: {broken} of the scores are no numbers. Has the training diverged?")
            continue
        found = roc(values, there[score][1], Noise(diagnostics.seed, stream=f"roc/{score}"))
        estimator = f"{how}; {found.inside:,} of {diagnostics.part} against {found.outside:,} of {name}"
        n = found.inside + found.outside
        rows.append(Row(f"auc_{score}", found.auc, "", found.standard_error, estimator, n, diagnostics.protocol))
        curves.append(drawn.Receiver(how, found.false_positives, found.true_positives, found.auc, found.interval))
        lines.append(f"{found.auc:.3f} [{found.interval[0]:.3f}, {found.interval[1]:.3f}]   {how}")
    if not rows:
        return Found(title, notes=tuple(dict.fromkeys(notes)))
    if rows[0].metric == "auc_nll" and rows[0].value < 0.5:
        lines.append("an area below 0.5: by this score the other data are the more typical ones")
    shown = {diagnostics.title: here["nll"][1], name: there["nll"][1]}
    figure = drawn.outlier_curves(curves, shown, f"−log p(x) [nats], IS, K = {options.samples}", f"Outliers: {name}")
    arrays = {f"{score}_{where}": v for where, kind in (("in", here), ("out", there)) for score, (_, v) in kind.items()}
    return diagnostics.keep(Found(title, tuple(rows), tuple(lines), tuple(dict.fromkeys(notes)), arrays), figure)


def _labels(split: Split, n: int) -> np.ndarray | None:
    return None if split.labels is None else split.labels[:n]


def _scores(
    diagnostics: Diagnostics, rows: Split, options: Hunt, notes: list[str]
) -> dict[str, tuple[str, np.ndarray]]:
    """Each score by name, with what it is in words; higher for outliers."""
    run, seed = diagnostics.run, diagnostics.seed
    batches = run.batches(rows, seed, 100)
    sampling = Sampling(options.samples)

    def likelihood(of: "Run") -> np.ndarray:
        key = Noise(seed, stream="outliers", device=of.model.device)
        return nll_importance(of.model, batches(), key, sampling, diagnostics.counted(rows))

    nll = likelihood(run)
    found: dict[str, tuple[str, np.ndarray]] = {"nll": (f"−log p(x), IS, K = {options.samples}", nll)}
    bound = elbo(run.model, batches(), Noise(seed, stream="outliers/elbo", device=run.model.device))
    if bound.elbo is not None:
        found["elbo"] = (f"−ELBO, {bound.estimator}", -bound.elbo)
    if options.regret_steps:
        budget = replace(REGRET, ascent=replace(REGRET.ascent, steps=options.regret_steps))
        key = Noise(seed, stream="outliers/regret", device=run.model.device)
        try:
            regret = likelihood_regret(run.model, batches(), key, budget, diagnostics.progress)
            found["regret"] = (f"likelihood regret, {options.regret_steps} steps", regret)
        except ValueError as error:
            notes.append(f"auc_regret: {error}")
    if options.ensemble:
        for other in options.ensemble:
            _same_view(run, other)
        log_p = -np.stack([nll, *(likelihood(other) for other in options.ensemble)])
        found["waic"] = (f"−WAIC, {len(log_p)} runs, IS, K = {options.samples}", -waic(log_p))
    try:
        bits = png_bits(_as_images(run, batches))
    except ValueError as error:
        notes.append(f"auc_complexity: {error}")
        return found
    found["complexity"] = ("bits of the PNG alone", bits)
    if bound.mass or run.view.dequantize:
        code = nll / np.log(2) + (0.0 if bound.mass else 8.0 * bound.dims)
        found["excess"] = ("−log₂ p(x) − bits of the PNG", code - bits)
    return found


def _as_images(run: "Run", batches: Callable[[], Iterator[Batch]]) -> np.ndarray:
    """What the model was shown, in the integers that a PNG holds."""
    x = np.concatenate([batch.x.cpu().numpy() for batch in batches()])
    if run.view.levels is None and run.view.binarize is None:
        raise ValueError("the data are real numbers, and a PNG holds levels.")
    if run.view.binarize is not None or run.view.levels == 2:
        return x > 0.5
    return (
        np.floor(x * 256).clip(0, 255).astype(np.uint8) if run.view.dequantize else (x * 255).round().astype(np.uint8)
    )


def _same_view(run: "Run", other: "Run") -> None:
    if other.view.to_dict() != run.view.to_dict():
        raise ValueError(
            f"--ensemble: {other.path} is shown its data as {other.view.to_dict()}, {run.path} as "
            f"{run.view.to_dict()}: their likelihoods are not of the same x. Give runs on the same data."
        )
