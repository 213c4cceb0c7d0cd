"""The gap between log p(x) and the ELBO as a picture: what it is made of, on average and datum by datum."""

__all__ = ["gap_bars"]

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from .figures import GREY, INK, SMALL, TEXT, blank, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Part → its colour, and what it is called. A bar is made of the first and of either the second or the last two.
_PARTS = {
    "amortisation_gap": ("#e07b39", "amortisation: the encoder"),
    "approximation_gap": ("#1f6fb5", "approximation: the family"),
    "flow_gain": ("#7fb2e0", "approximation, won by a flow"),
    "flow_gap": ("#b8c0c8", "approximation, left by the flow"),
}


def gap_bars(gaps: Mapping[str, Mapping[str, ArrayLike]]) -> "Figure":
    """A bar for each model, stacked of what its gap is made of; for a single model every datum beside it.

    Bars are means over the data, whiskers one standard error of the part on whose right end they stand; the number at
    the end of a bar is the whole gap. In the plane of all data, those above the diagonal lose more by the family than
    by the encoder.

    Args:
        gaps: by name of the model the parts ``(N,)`` in nats by name, as ``Gaps.parts`` has them.

    Raises:
        ValueError: no model, or numbers that are not finite.

    Example:
        >>> parts = {"bound_gap": [5.0, 6.0], "amortisation_gap": [3.0, 3.5], "approximation_gap": [2.0, 2.5]}
        >>> [axes.get_title(loc="left") for axes in gap_bars({"vae": parts}).axes]
        ['log p(x) − ELBO and its parts', 'each of 2 data']
    """
    found = {name: {part: np.asarray(v, float) for part, v in parts.items()} for name, parts in gaps.items()}
    if not found:
        raise ValueError("gap_bars: gaps must have at least one model, got none.")
    for name, parts in found.items():
        for part, values in parts.items():
            if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
                raise ValueError(f"gap_bars: {part} of {name!r} must be finite numbers (N,), got {values.shape}.")
    alone = len(found) == 1
    figure = blank(9.2 if alone else 8.0, 3.3 if alone else 1.7 + 0.55 * len(found))
    bars = figure.add_gridspec(1, 2, width_ratios=(3, 2)) if alone else figure.add_gridspec(1, 1)
    _draw_bars(figure.add_subplot(bars[0]), found)
    if alone:
        _draw_data(figure.add_subplot(bars[1]), next(iter(found.values())))
    return figure


def _draw_bars(axes: "Axes", found: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    tidy(axes, "log p(x) − ELBO and its parts", "nats per datum, ± one standard error", "")
    axes.grid(False, axis="y")
    far, seen = 0.0, set[str]()
    for row, parts in enumerate(found.values()):
        end = error = 0.0
        for part in _shown(parts):
            values, (colour, label) = parts[part], _PARTS[part]
            width = float(values.mean())
            error = float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0
            told = f"{label}, {width:.2f} ± {error:.2f}" if len(found) == 1 else label
            axes.barh(row, width, 0.62, left=end, color=colour, label=None if part in seen else told)
            axes.errorbar(end + width, row, xerr=error, color=INK, linewidth=1, capsize=2.5)
            seen.add(part)
            end += width
            far = max(far, end + error)
        axes.annotate(
            f" {parts['bound_gap'].mean():.2f}", (end + error, row), (4, 0), textcoords="offset points", va="center",
            fontsize=TEXT, color=INK, weight="bold",
        )  # fmt: skip
    axes.set_yticks(range(len(found)), [""] if len(found) == 1 else list(found), parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.set_xlim(min(0.0, axes.get_xlim()[0]), 1.16 * far)
    axes.axvline(0, color=GREY, linewidth=0.7)
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.24 if len(found) == 1 else -0.6 / (0.55 * len(found) + 0.4)),
        ncols=1 if len(found) == 1 else 3, frameon=False, fontsize=SMALL, labelcolor=INK,
    )  # fmt: skip


def _shown(parts: Mapping[str, np.ndarray]) -> list[str]:
    """The parts that a bar is made of."""
    return ["amortisation_gap", *(("flow_gain", "flow_gap") if "flow_gain" in parts else ("approximation_gap",))]


def _draw_data(axes: "Axes", parts: Mapping[str, np.ndarray]) -> None:
    x, y = parts["amortisation_gap"], parts["approximation_gap"]
    tidy(axes, f"each of {len(x):,} data", "amortisation [nats]", "approximation [nats]")
    size = float(np.clip(1500 / len(x), 6, 26))
    axes.scatter(x, y, s=size, color="#1f6fb5", alpha=float(np.clip(12 / len(x) ** 0.5, 0.3, 0.8)), linewidths=0)
    most = 1.06 * max(float(x.max()), float(y.max()), 1e-3)
    least = min(float(x.min()), float(y.min()), 0.0)
    axes.plot([least, most], [least, most], color=GREY, linewidth=0.8, linestyle="--")
    axes.annotate(
        "equal", (0.85 * most, 0.85 * most), (-6, 2), textcoords="offset points", ha="right", fontsize=SMALL, color=GREY
    )
    axes.set_xlim(least, most)
    axes.set_ylim(least, most)
