"""The curves of a training run."""

__all__ = ["curves"]

import re
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

from .figures import GREY, INK, SMALL, blank, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_KEY = re.compile(r"(train|validation)/(.+) \[(.+)\]")
_LOOK = {"train": {"color": "#7fb2e0", "linewidth": 1.2}, "validation": {"color": "#c8500a", "linewidth": 1.6}}
_PANELS = {"elbo": ("−ELBO", -1.0), "distortion": ("distortion", 1.0), "rate": ("rate", 1.0)}

_Points = dict[str, list[tuple[float, float]]]


def curves(rows: Sequence[Mapping[str, Any]]) -> "Figure":
    """−ELBO, distortion and rate against the step, training and validation together.

    Where none of the three was logged (an autoencoder has no rate), all that was logged is drawn. The first twentieth
    of a run, where numbers are far from all later ones, may lie outside of a panel.

    Args:
        rows: each with ``"step"`` and any of ``"train/NAME [UNIT]"`` and ``"validation/NAME [UNIT]"``.

    Raises:
        ValueError: no row holds such a number.

    Example:
        >>> rows = [{"step": s, "train/elbo [nats]": -100 - 50 / s} for s in range(1, 9)]
        >>> [axes.get_title(loc="left") for axes in curves(rows).axes]
        ['−ELBO']
    """
    found: dict[tuple[str, str], _Points] = {}
    for row in rows:
        for key, value in row.items():
            named = _KEY.fullmatch(key)
            if named and "step" in row and isinstance(value, int | float) and isfinite(value):
                split, name, unit = named.groups()
                found.setdefault((name, unit), {}).setdefault(split, []).append((row["step"], value))
    known = [key for name in _PANELS for key in found if key[0] == name]
    chosen = (known or list(found))[:6]
    if not chosen:
        raise ValueError(
            f"curves: rows must hold finite numbers under 'step' and 'train/NAME [UNIT]' or 'validation/NAME [UNIT]'; "
            f"none of the {len(rows)} rows does. Was the run stopped before its first line of metrics?"
        )
    across = min(len(chosen), 3)
    figure = blank(8.0 if across > 1 else 6.0, 2.7 * (1 + (len(chosen) > 3)))
    for i, (name, unit) in enumerate(chosen):
        axes = figure.add_subplot(1 + (len(chosen) > 3), across, i + 1)
        title, sign = _PANELS.get(name, (name, 1.0))
        tidy(axes, title, "step", f"{unit} per datum" if unit == "nats" else unit)
        _draw(axes, {split: [(x, sign * y) for x, y in points] for split, points in found[name, unit].items()})
    return figure


def _draw(axes: "Axes", series: _Points) -> None:
    """The lines of one panel, each with its last value in the legend."""
    from matplotlib.ticker import MaxNLocator

    for split in sorted(series):
        points = sorted(series[split])
        marker = "o" if len(points) < 3 else ""
        x, y = zip(*points, strict=True)
        last_value = f"{y[-1]:.2f}".replace("-", "−")
        axes.plot(x, y, marker=marker, markersize=4, label=f"{split}  {last_value}", **_LOOK[split])
    last = max(x for points in series.values() for x, _ in points)
    every = [y for points in series.values() for _, y in points]
    settled = [y for points in series.values() for x, y in points if x >= 0.05 * last]
    low, high = min(settled), max(settled)
    if high > low and max(every) - min(every) > 1.5 * (high - low):
        axes.set_ylim(low - 0.06 * (high - low), high + 0.06 * (high - low))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.legend(frameon=False, fontsize=SMALL, labelcolor=INK, handlelength=1.4)
    axes.tick_params(colors=GREY, labelcolor=INK)
