"""Pictures of diagnostics: what latents know, q(z) against p(z), rate and distortion, calibration, outliers."""

__all__ = [
    "Point",
    "Receiver",
    "aggregate_plane",
    "information_bars",
    "outlier_curves",
    "rate_distortion_plane",
    "reliability_diagram",
    "transform_histogram",
]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from .figures import GREY, INK, SMALL, TEXT, blank, tidy
from .latents import COLOURS
from .witness import witness_plane

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE, _ORANGE = "#1f6fb5", "#e76300"
_MOST_BARS = 40


def information_bars(information: ArrayLike, kl: ArrayLike | None, joint: float, most: float) -> "Figure":
    """The mutual information of the data with each latent, most informed first, within what the latent costs.

    Args:
        information: I(x; z_d), ``(D,)``, in nats.
        kl: the mean KL of each latent, ``(D,)``, if it has a closed form: what is above the information is spent on
            q(z_d) not being p(z_d).
        joint: I(x; z) of all latents together.
        most: what no mutual information can exceed here, log N.

    Raises:
        ValueError: the shapes do not agree.
    """
    known, cost = np.asarray(information, float), None if kl is None else np.asarray(kl, float).ravel()
    if known.ndim != 1 or not len(known) or (cost is not None and cost.shape != known.shape):
        raise ValueError(
            f"information_bars: wanted (D,) of both, got {known.shape} and {None if cost is None else cost.shape}."
        )
    order = np.argsort(-(known if cost is None else cost), kind="stable")[:_MOST_BARS]
    figure = blank(float(np.clip(1.5 + 0.3 * len(order), 6, 9)), 3.4)
    axes = figure.add_subplot()
    left = f", {len(order)} of {len(known)} latents" if len(order) < len(known) else ""
    title = f"I(x; z) = {joint:.2f} nats (at most log N = {most:.2f}), Σ I(x; z_d) = {known.sum():.2f}{left}"
    tidy(axes, title, "latent, dearest first" if cost is not None else "latent, most informed first", "nats per datum")
    axes.grid(False, axis="x")
    at = np.arange(len(order))
    if cost is not None:
        axes.bar(at, cost[order], width=0.84, color="#c9d6e2", label="mean KL from the prior: what it costs")
    axes.bar(at, known[order], width=0.5, color=_BLUE, label="I(x; z_d): what it knows of the data")
    every = -(-len(order) // 20)
    axes.set_xticks(at[::every], [f"z{i}" for i in order[::every]])
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.7, max(len(order), 8) - 0.3)
    highest = max(float(known.max()), float(cost.max()) if cost is not None else 0.0, 1e-3)
    axes.set_ylim(min(0.0, float(known.min())), 1.3 * highest)
    axes.legend(loc="upper right", frameon=False, fontsize=SMALL, labelcolor=INK)
    return figure


def aggregate_plane(
    surface: ArrayLike,
    posterior: ArrayLike,
    prior: ArrayLike,
    extent: tuple[float, float],
    names: tuple[str, str],
    title: str = "",
) -> "Figure":
    """Draws of q(z) and of p(z) in a plane of two directions, over the function that tells them apart best there.

    Args:
        surface: the witness function, ``(k, k)``, as for ``witness_plane``.
        posterior: draws of q(z), ``(n, 2)``.
        prior: draws of p(z), ``(m, 2)``.
        extent: from where to where both coordinates go.
        names: of the two directions.
        title: over the picture.
    """
    figure = witness_plane(surface, posterior, prior, extent, ("q(z)", "p(z)"))
    axes = figure.axes[0]
    axes.set_title(title, loc="left", fontsize=TEXT, color=INK, parse_math=False)
    axes.set_xlabel(names[0], fontsize=TEXT, color=INK, parse_math=False)
    axes.set_ylabel(names[1], fontsize=TEXT, color=INK, parse_math=False)
    return figure


@dataclass(frozen=True, slots=True)
class Point:
    """One model in the plane of rate and distortion.

    Args:
        name: of the model.
        rate: of its own encoder, in nats.
        distortion: likewise.
        curve: rate and distortion ``(M,)`` of the best q at each β, if known.
        one: which of them is β = 1, or the nearest.
    """

    name: str
    rate: float
    distortion: float
    curve: tuple[np.ndarray, np.ndarray] | None = None
    one: int = 0


def rate_distortion_plane(models: Sequence[Point]) -> "Figure":
    """Rate against distortion: each model with its line of constant ELBO, and what its decoder could do at best.

    Args:
        models: at least one.

    Raises:
        ValueError: no model.
    """
    if not models:
        raise ValueError("rate_distortion_plane: there is no model to draw. Give at least one.")
    figure = blank(6.8, 4.8)
    axes = figure.add_subplot()
    tidy(axes, "", "rate: KL(q(z|x) ‖ p(z)) [nats per datum]", "distortion: E −log p(x|z) [nats per datum]")
    rates = np.array([model.rate for model in models])
    distortions = np.array([model.distortion for model in models])
    reach = max(0.35 * float(rates.max()), 0.3 * float(np.ptp(rates)), 1e-3)
    low, high = max(float(rates.min()) - reach, 0.0), float(rates.max()) + reach
    colours = [COLOURS[i % len(COLOURS)] for i in range(len(models))]
    heights: list[float] = list(distortions)
    for model, colour in zip(models, colours, strict=True):
        span = np.array([low, high])
        line = model.distortion + model.rate - span
        axes.plot(span, line, color=colour, linewidth=0.9, linestyle=(0, (4, 3)), alpha=0.8)
        if model.curve is not None:
            order = np.argsort(model.curve[0], kind="stable")
            rate, distortion = model.curve[0][order], model.curve[1][order]
            axes.plot(rate, distortion, color=colour, linewidth=1.6)
            axes.plot(model.curve[0][model.one], model.curve[1][model.one], "|", color=colour, markersize=12)
            heights += list(distortion[(rate >= low) & (rate <= high)])
        together = model.rate + model.distortion
        said = f"{model.name}: R = {model.rate:.2f}, D = {model.distortion:.2f}, R + D = {together:.2f}"
        axes.plot(model.rate, model.distortion, "o", color=colour, markersize=6, label=said)
    room = 0.08 * max(max(heights) - min(heights), 1e-3)
    axes.set(xlim=(low, high), ylim=(min(heights) - room, max(heights) + 2.5 * room))
    axes.plot([], [], color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), label="R + D = −ELBO")
    if any(model.curve is not None for model in models):
        axes.plot([], [], "-|", color=GREY, linewidth=1.6, markersize=12, label="the best any q could do; | at β = 1")
    axes.legend(loc="upper right", fontsize=SMALL, labelcolor=INK, framealpha=0.9, edgecolor="none")
    return figure


def reliability_diagram(
    expected: ArrayLike, observed: ArrayLike, spread: ArrayLike, counts: ArrayLike, title: str = ""
) -> "Figure":
    """Predicted probability of a 1 against how often a 1 came; below, the difference, and how many elements there are.

    Args:
        expected: mean predicted probability of each bin, ``(k,)``; not a number where a bin is empty.
        observed: frequency of ones, ``(k,)``.
        spread: standard errors of the frequencies, ``(k,)``.
        counts: elements of each bin, ``(k,)``.
        title: over the picture.
    """
    said, seen, error = (np.asarray(part, float) for part in (expected, observed, spread))
    held = np.isfinite(said)
    said, seen, error = said[held], seen[held], np.nan_to_num(error[held])
    figure = blank(5.2, 6.0)
    above, middle, below = figure.subplots(3, 1, sharex=True, height_ratios=[3.4, 1.5, 1.0])
    tidy(above, title, "", "frequency of ones")
    above.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
    above.errorbar(said, seen, 2 * error, fmt="o", markersize=4, color=_BLUE, ecolor=_BLUE, elinewidth=1)
    above.set(xlim=(0, 1), ylim=(0, 1))
    tidy(middle, "", "", "difference")
    middle.axhline(0, color=GREY, linewidth=0.8)
    middle.errorbar(said, seen - said, 2 * error, fmt="o", markersize=4, color=_BLUE, ecolor=_BLUE, elinewidth=1)
    middle.text(
        0.99, 0.95, "above 0: more ones than said; bars are ± 2 standard errors", transform=middle.transAxes,
        ha="right", va="top", fontsize=SMALL, color=GREY,
    )  # fmt: skip
    most = 1.9 * max(float(np.abs(seen - said).max()), 2 * float(error.max()), 1e-6)
    middle.set_ylim(-most, most)
    tidy(below, "", "probability of a one, as predicted", "elements")
    edges = np.linspace(0, 1, len(held) + 1)
    below.bar(edges[:-1], np.asarray(counts, float), width=1 / len(held), align="edge", color="#c9d6e2")
    below.set_yscale("log")
    figure.align_ylabels()
    return figure


def transform_histogram(observed: ArrayLike, spread: ArrayLike, title: str = "") -> "Figure":
    """The probability integral transform of all elements as a histogram: flat where p(x | z) is calibrated.

    Args:
        observed: the share of elements in each of k equal bins, ``(k,)``.
        spread: their standard errors, ``(k,)``.
        title: over the picture.
    """
    shares, errors = np.asarray(observed, float), np.nan_to_num(np.asarray(spread, float))
    bins = len(shares)
    figure = blank(6.0, 3.4)
    axes = figure.add_subplot()
    tidy(axes, title, "F(x) under p(x|z): ∪ too sure, ∩ too vague, a slope: biased", "density (1 if calibrated)")
    at = (np.arange(bins) + 0.5) / bins
    axes.bar(at, shares * bins, width=0.94 / bins, color="#8db6d8", yerr=2 * errors * bins, ecolor=INK, capsize=2)
    axes.axhline(1.0, color=_ORANGE, linewidth=1)
    axes.set(xlim=(0, 1), ylim=(0, 1.15 * max(float((shares + 2 * errors).max()) * bins, 1.0)))
    return figure


@dataclass(frozen=True, slots=True)
class Receiver:
    """The curve of one score: false and true positives, the area, and what to call it."""

    name: str
    false_positives: np.ndarray
    true_positives: np.ndarray
    auc: float
    interval: tuple[float, float]


def outlier_curves(
    curves: Sequence[Receiver], scores: Mapping[str, np.ndarray], axis: str, title: str = ""
) -> "Figure":
    """Histograms of one score on several data, and the curves of all scores.

    Args:
        curves: the curve of each score.
        scores: one score of each data set by name, the model's own first.
        axis: what that score is.
        title: over the picture.

    Raises:
        ValueError: nothing to draw.
    """
    if not curves or not scores:
        raise ValueError("outlier_curves: there are no scores to draw. Give at least one.")
    figure = blank(11.5, 4.0)
    left, right = figure.subplots(1, 2, width_ratios=[1.1, 1])
    tidy(left, title, axis, "share of the data")
    _histograms(left, scores)
    tidy(right, "", "inliers called outliers", "outliers found")
    right.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
    for i, curve in enumerate(sorted(curves, key=lambda one: -one.auc)):
        said = f"{curve.auc:.3f} [{curve.interval[0]:.3f}, {curve.interval[1]:.3f}]  {curve.name}"
        right.plot(
            curve.false_positives, curve.true_positives, color=COLOURS[i % len(COLOURS)], linewidth=1.5, label=said
        )
    right.set(xlim=(0, 1), ylim=(0, 1.005))
    right.legend(
        loc="upper left", bbox_to_anchor=(1.02, 1.0), fontsize=SMALL, labelcolor=INK, frameon=False,
        title="area [95 %]  score", title_fontsize=SMALL, alignment="left",
    )  # fmt: skip
    return figure


def _histograms(axes: "Axes", scores: Mapping[str, np.ndarray]) -> None:
    finite = {name: values[np.isfinite(values)] for name, values in scores.items()}
    every = np.concatenate(list(finite.values()))
    edges = np.linspace(float(every.min()), float(every.max()), 50).tolist() if len(every) else [0.0, 1.0]
    for (name, values), colour in zip(finite.items(), (_BLUE, _ORANGE), strict=False):
        weights = np.full(len(values), 1 / max(len(scores[name]), 1))
        axes.hist(np.clip(values, edges[0], edges[-1]), edges, weights=weights, color=colour, alpha=0.55, label=name)
    axes.legend(frameon=False, fontsize=SMALL, labelcolor=INK)
