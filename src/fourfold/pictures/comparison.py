"""Pictures of comparisons: differences with their intervals, and how they are spread over the data."""

__all__ = ["paired_differences"]

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from .figures import GREY, INK, SMALL, TEXT, blank, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BARS, _TOLD, _UNTOLD = "#c9d6e3", "#0b5cad", "#c8500a"
_OUTSIDE = 0.005  # of the data, on each side, may lie outside of the histograms


def paired_differences(
    lines: Sequence[tuple[str, ArrayLike, tuple[float, float]]], label: str, title: str = ""
) -> "Figure":
    """One line a pair: the mean difference with its interval, and beside it the histogram over the data.

    Up to half a per cent of the data on each side may lie outside of the histograms. An interval that leaves out 0 is
    blue, one that holds it orange.

    Args:
        lines: what is subtracted from what, the differences ``(N,)``, and the interval of their mean.
        label: what the differences are, with its unit.
        title: of the whole.

    Raises:
        ValueError: no lines, or numbers that are not finite.
    """
    if not lines:
        raise ValueError("paired_differences: lines must hold at least one pair.")
    arrays = [np.asarray(numbers, dtype=float) for _, numbers, _ in lines]
    for (name, _, interval), numbers in zip(lines, arrays, strict=True):
        if numbers.ndim != 1 or not np.isfinite([*numbers, *interval]).all():
            raise ValueError(f"paired_differences: the differences of {name} must be (N,) finite numbers.")
    figure = blank(9.0, 1.4 + (0.42 if len(lines) > 2 else 0.8) * len(lines))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1, 1.25))
    figure.suptitle(title, x=0.01, ha="left", fontsize=TEXT + 1, color=INK, parse_math=False)
    tidy(left, "mean, with its interval", label, "")
    tidy(right, "of each datum", label, "")
    places = np.arange(len(lines))[::-1]
    every = np.concatenate(arrays)
    low, high = np.quantile(every, (_OUTSIDE, 1 - _OUTSIDE))
    edges = np.linspace(min(low, 0.0), max(high, 0.0), 61) if high > low else np.linspace(low - 1, high + 1, 61)
    for place, numbers, (_, _, interval) in zip(places, arrays, lines, strict=True):
        _interval(left, place, float(numbers.mean()), interval)
        counts, _ = np.histogram(numbers, edges)
        right.bar(
            edges[:-1], 0.8 * counts / max(counts.max(), 1), np.diff(edges), place - 0.4, align="edge", color=_BARS
        )
        right.plot([numbers.mean()] * 2, [place - 0.4, place + 0.4], color=INK, linewidth=1.2)
    for axes in (left, right):
        axes.axvline(0, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
    left.set_yticks(places, [name for name, _, _ in lines], parse_math=False)
    left.set_ylim(-0.6, len(lines) - 0.4)
    return figure


def _interval(axes: "Axes", place: float, mean: float, interval: tuple[float, float]) -> None:
    colour = _UNTOLD if interval[0] <= 0 <= interval[1] else _TOLD
    axes.plot(interval, [place, place], color=colour, linewidth=2.2, solid_capstyle="butt")
    axes.plot([mean], [place], "o", color=colour, markersize=3.5)
    text = f"{mean:+.2f}".replace("-", "−")
    axes.annotate(text, (mean, place), (0, 6), textcoords="offset points", ha="center", fontsize=SMALL, color=INK)
