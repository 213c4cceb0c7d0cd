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
_STRIP = 0.25  # of the height of the lines, for the names of stages

_Points = dict[str, list[tuple[float, float]]]
_Stages = Sequence[tuple[str, int]]


def curves(rows: Sequence[Mapping[str, Any]], stages: _Stages = ()) -> "Figure":
    """−ELBO, distortion and rate against the step, training and validation together.

    Where none of the three was logged (an autoencoder has no rate), all that was logged is drawn. Stages follow one
    another, a line where each begins: what they maximise may differ, and then their numbers do not compare. The first
    twentieth of a stage, where numbers are far from all later ones, may lie outside of a panel.

    Args:
        rows: each with ``"step"`` and any of ``"train/NAME [UNIT]"`` and ``"validation/NAME [UNIT]"``.
        stages: name and last step of each; the numbers of all but the last are under ``"train/STAGE/NAME [UNIT]"``.

    Raises:
        ValueError: no row holds such a number.

    Example:
        >>> rows = [{"step": s, "train/elbo [nats]": -100 - 50 / s} for s in range(1, 9)]
        >>> [axes.get_title(loc="left") for axes in curves(rows).axes]
        ['−ELBO']
    """
    found = _numbers(rows, [f"{name}/" for name, _ in stages[:-1]])
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
        points = {split: [(x, sign * y) for x, y in points] for split, points in found[name, unit].items()}
        _draw(axes, points, stages)
    return figure


def _numbers(rows: Sequence[Mapping[str, Any]], early: Sequence[str]) -> dict[tuple[str, str], _Points]:
    """What was logged, by name and unit, then by split; numbers of early stages under the plain name."""
    found: dict[tuple[str, str], _Points] = {}
    for row in rows:
        for key, value in row.items():
            named = _KEY.fullmatch(key)
            if named and "step" in row and isinstance(value, int | float) and isfinite(value):
                split, name, unit = named.groups()
                name = name.removeprefix(next((mark for mark in early if name.startswith(mark)), ""))
                found.setdefault((name, unit), {}).setdefault(split, []).append((row["step"], value))
    return found


def _draw(axes: "Axes", series: _Points, stages: _Stages) -> None:
    """The lines of one panel, each with its last value in the legend; a new line for each stage."""
    from matplotlib.ticker import MaxNLocator

    last = max(x for points in series.values() for x, _ in points)
    ends = [end for _, end in stages[:-1] if end < last] + [last]
    parts = list(zip([0, *ends[:-1]], ends, strict=True))
    settled = []
    for split in sorted(series):
        points = sorted(series[split])
        marker = "o" if len(points) < 3 else ""
        label: str | None = f"{split}  {points[-1][1]:.2f}".replace("-", "−")
        for start, end in parts:
            here = [(x, y) for x, y in points if start < x <= end or start == x == 0]
            settled += [y for x, y in here if x - start >= 0.05 * (end - start)]
            if here:
                axes.plot(*zip(*here, strict=True), marker=marker, markersize=4, label=label, **_LOOK[split])
                label = None
    every = [y for points in series.values() for _, y in points]
    low, high = min(settled), max(settled)
    if high > low and max(every) - min(every) > 1.5 * (high - low):
        axes.set_ylim(low - 0.06 * (high - low), high + 0.06 * (high - low))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    if len(stages) > 1:
        _mark(axes, [(name, start) for (name, _), (start, _) in zip(stages, parts, strict=False)], high > 5 * low > 0)
    axes.legend(frameon=False, fontsize=SMALL, labelcolor=INK, handlelength=1.4)
    axes.tick_params(colors=GREY, labelcolor=INK)


def _mark(axes: "Axes", begun: Sequence[tuple[str, float]], apart: bool) -> None:
    """The names of the stages in a strip above their lines, a mark where each begins; log scale if far apart."""
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    if apart:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_formatter(NullFormatter())
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** _STRIP if apart else high + _STRIP * (high - low))
    left = axes.get_xlim()[0]
    for name, start in begun:
        if start:
            axes.axvline(start, color=GREY, linewidth=0.8, linestyle=(0, (3, 2)))
        axes.annotate(
            name, (max(start, left), 1), (2, -2), xycoords=("data", "axes fraction"), textcoords="offset points",
            rotation=90, va="top", fontsize=SMALL, color=GREY, parse_math=False,
        )  # fmt: skip
