"""The numbers of a sweep against one of its axes."""

__all__ = ["swept"]

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from .figures import GREY, SMALL, blank, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = ("#1f6fb2", "#c8500a", "#3a8a3f", "#8551a8", "#b8860b", "#2a9d9d", "#b03060", "#59636e")

_Points = Mapping[str, Sequence[tuple[Any, Mapping[str, float]]]]


def swept(points: _Points, x: str, titles: Mapping[str, tuple[str, str]]) -> "Figure":
    """A panel for each number: a dot for each member, a line through the means over seeds.

    The axis is logarithmic where its values are positive and the largest is at least thirty times the smallest; values
    that are no numbers stand side by side.

    Args:
        points: for each line, by its words, the members: where each stands on the axis, and its numbers by name.
        x: what the axis is called.
        titles: the panels: title and unit of each number by name.

    Raises:
        ValueError: there is nothing to draw.

    Example:
        >>> figure = swept({"": [(1.0, {"rate": 9.0}), (4.0, {"rate": 5.0})]}, "beta", {"rate": ("rate", "nats")})
        >>> [axes.get_xlabel() for axes in figure.axes]
        ['beta']
    """
    if not titles or not any(points.values()):
        raise ValueError("swept: wanted at least one member with a number. Is any of them finished?")
    where = {repr(at): at for rows in points.values() for at, _ in rows}
    numeric = all(isinstance(at, int | float) and not isinstance(at, bool) for at in where.values())
    order = sorted(where.values()) if numeric else list(where.values())
    places = {repr(at): float(at) if numeric else float(i) for i, at in enumerate(order)}
    named = len([words for words in points if words])
    figure = blank(max(4.2, 2.9 * len(titles) + 0.4), 3.0 + 0.17 * min(named, len(_COLOURS)) * (named > 1))
    for i, (name, (title, unit)) in enumerate(titles.items()):
        axes = figure.add_subplot(1, len(titles), i + 1)
        tidy(axes, title, x, f"{unit} per datum" if unit == "nats" else unit)
        for j, (words, rows) in enumerate(points.items()):
            _line(axes, [(places[repr(at)], own[name]) for at, own in rows if name in own], words, _COLOURS[j % 8])
        _scale(axes, order, places, numeric)
    if named > 1:
        handles, labels = figure.axes[0].get_legend_handles_labels()
        most = len(_COLOURS)
        figure.legend(handles[:most], labels[:most], loc="outside lower center", ncols=3, fontsize=SMALL, frameon=False)
    return figure


def _line(axes: "Axes", found: Sequence[tuple[float, float]], words: str, colour: str) -> None:
    found = [(at, value) for at, value in found if isfinite(value)]
    by_place: dict[float, list[float]] = {}
    for at, value in sorted(found):
        by_place.setdefault(at, []).append(value)
    axes.plot(*zip(*found, strict=True), ".", color=colour, alpha=0.45, markersize=5) if found else None
    means = [float(np.mean(values)) for values in by_place.values()]
    axes.plot(list(by_place), means, color=colour, linewidth=1.4, label=words)


def _scale(axes: "Axes", order: Sequence[Any], places: Mapping[str, float], numeric: bool) -> None:
    """Ticks where there are values."""
    if numeric and min(order) > 0 and max(order) >= 30 * min(order):
        axes.set_xscale("log")
        axes.minorticks_off()
    if len(order) <= 8:
        words = [f"{at:g}" if numeric else str(at) for at in order]
        axes.set_xticks([places[repr(at)] for at in order], words, color=GREY)
        if max(map(len, words)) * len(words) > 34:
            axes.tick_params(axis="x", labelrotation=45)
    if not numeric or len(order) == 1:
        axes.margins(x=0.25)
