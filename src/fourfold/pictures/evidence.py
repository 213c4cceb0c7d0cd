"""The picture of the evidence: how far importance sampling stays below annealing at each K."""

__all__ = ["evidence_curve"]

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from .figures import GREY, INK, SMALL, blank, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE, _BAND = "#1f6fb5", "#f3dfce"


def evidence_curve(
    samples: Sequence[int], bounds: ArrayLike, ais: ArrayLike | None = None, gap: ArrayLike | None = None
) -> "Figure":
    """The bound of importance sampling against K, from that of annealing (where there is one) downwards.

    Everything is paired: what is drawn are means of differences of each datum, with two of their standard errors.
    Without annealing the curve starts at the ELBO and rises.

    Args:
        samples: K, rising; the first is 1, the ELBO.
        bounds: the bound of each datum at each K, ``(M, N)``, in nats.
        ais: that of annealing, ``(N,)``, in nats.
        gap: of the sandwich of simulated data: how far log p(x) can be above annealing, on data like those.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> figure = evidence_curve((1, 10), [[-3.0, -4.0], [-2.5, -3.0]], ais=[-2.0, -3.0])
        >>> figure.axes[0].get_title(loc="left")
        'ELBO 1.00, IS-10 0.25 nats below AIS (2 data)'
    """
    values, top = np.asarray(bounds, float), None if ais is None else np.asarray(ais, float)
    if values.ndim != 2 or len(values) != len(samples) or (top is not None and top.shape != values[0].shape):
        got = f"{len(samples)} K, {values.shape} and {None if top is None else top.shape}"
        raise ValueError(f"evidence_curve: wanted M values of K, bounds (M, N) and ais (N,), got {got}.")
    base = values[0] if top is None else top
    differences = values - base
    means, n = differences.mean(1), values.shape[1]
    errors = differences.std(1, ddof=1) / np.sqrt(n) if n > 1 else np.zeros(len(values))
    figure = blank(6.4, 3.8)
    axes = figure.add_subplot()
    last = f"IS-{samples[-1]:,}"
    if top is None:
        title, label = f"{last} {means[-1]:.2f} nats above the ELBO ({n:,} data)", "nats above the ELBO"
    else:
        title = f"ELBO {-means[0]:.2f}, {last} {-means[-1]:.2f} nats below AIS ({n:,} data)"
        label = "nats from AIS"
    tidy(axes, title, "K, draws of z for each datum (1: the ELBO)", label)
    _reference(axes, top is not None, gap)
    axes.errorbar(samples, means, 2 * errors, color=_BLUE, marker="o", markersize=4, linewidth=1.4, capsize=2.5)
    for k, mean in zip(samples, means, strict=True):
        text = f"{mean:.2f}".replace("-", "−")
        axes.annotate(text, (k, mean), (5, -11), textcoords="offset points", fontsize=SMALL, color=INK)
    axes.set_xscale("log")
    axes.set_xticks(list(samples), [f"{k:,}" for k in samples])
    axes.minorticks_off()
    axes.margins(x=0.12, y=0.14)
    return figure


def _reference(axes: "Axes", annealed: bool, gap: ArrayLike | None) -> None:
    """What the curve is drawn from, and how sure that is."""
    axes.axhline(0, color=INK, linewidth=1, zorder=1)
    axes.text(0.02, 0, "AIS" if annealed else "ELBO", transform=axes.get_yaxis_transform(), **_BELOW)
    if annealed and gap is not None:
        width = float(np.mean(np.asarray(gap, float)))
        axes.axhspan(0, max(width, 0), color=_BAND, zorder=0, linewidth=0)
        said = f"log p(x) is in here on simulated data ({width:.2f} nats)"
        axes.text(0.98, max(width, 0), said, transform=axes.get_yaxis_transform(), **_ABOVE)


_BELOW = {"va": "top", "ha": "left", "fontsize": SMALL, "color": INK}
_ABOVE = {"va": "bottom", "ha": "right", "fontsize": SMALL, "color": GREY}
