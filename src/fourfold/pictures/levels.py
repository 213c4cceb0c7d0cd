"""Pictures of models whose latents stand in levels: what each costs, what it tells, and ways between two data."""

__all__ = ["interpolations", "level_bars", "level_rates", "moves", "resampled"]

import re
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .cells import Labels, checked, sheet
from .figures import GREY, INK, SMALL, blank, tidy
from .latents import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_KEY = re.compile(r"(train|validation)/(?:.+/)?rate_(\d+) raw \[nats\]")


def level_rates(rows: Sequence[Mapping[str, Any]]) -> "Figure":
    """The rate of each level over the epochs of training, as in the ladder VAE's paper: who is alive, and since when.

    Lines are of validation where there was any, else of training.

    Args:
        rows: of metrics.jsonl: ``"epoch"`` and ``"validation/rate_1 raw [nats]"``, ``"train/rate_1 …"``, level 1 the
            top; numbers of earlier stages count too.

    Raises:
        ValueError: no row holds the rate of a level.

    Example:
        >>> rows = [{"epoch": e, "train/rate_1 raw [nats]": 1.0, "train/rate_2 raw [nats]": e} for e in range(1, 9)]
        >>> [line.get_label() for line in level_rates(rows).axes[0].lines]
        ['level 1, the top: 1.00', 'level 2, the bottom: 8.00']
    """
    found: dict[str, dict[int, list[tuple[float, float]]]] = {"train": {}, "validation": {}}
    for row in rows:
        for key, value in row.items():
            named = _KEY.fullmatch(key)
            if named and "epoch" in row and isinstance(value, int | float) and isfinite(value):
                found[named[1]].setdefault(int(named[2]), []).append((row["epoch"], value))
    validated = any(len(points) > 1 for points in found["validation"].values())
    split = "validation" if validated else "train"
    levels = found[split]
    if not levels:
        raise ValueError(
            f"level_rates: rows must hold 'epoch' and 'train/rate_1 raw [nats]' or the like; none of the {len(rows)} "
            "rows does. Has the model one level only?"
        )
    figure = blank(7.0, 3.4)
    axes = figure.add_subplot()
    tidy(axes, f"Rate of each level, {split}", "epoch", "nats per datum")
    single = all(len(points) == 1 for points in levels.values())
    dots: dict[str, Any] = {"marker": "o"} if single else {}  # a line through one point is not seen
    for i, points in sorted(levels.items()):
        place = ", the top" if i == 1 else ", the bottom" if i == max(levels) else ""
        label = f"level {i}{place}: {points[-1][1]:.2f}".replace("-", "−")
        axes.plot(*zip(*points, strict=True), color=COLOURS[(i - 1) % len(COLOURS)], linewidth=1.5, label=label, **dots)
    lowest = min(y for points in levels.values() for _, y in points)
    axes.set_ylim(bottom=min(0.0, 1.05 * lowest))
    axes.legend(
        frameon=False, fontsize=SMALL, labelcolor=INK, handlelength=1.4, loc="center left", bbox_to_anchor=(1, 0.5)
    )
    axes.tick_params(colors=GREY, labelcolor=INK)
    return figure


def level_bars(rates: ArrayLike, added: ArrayLike, errors: ArrayLike, most: float, upward: bool = False) -> "Figure":
    """What each level costs and what it adds to what is known of the data, from the top.

    Args:
        rates: mean rate of each level in nats, ``(L,)``.
        added: I(x; z_l | the levels inferred before), ``(L,)``.
        errors: its standard errors, ``(L,)``.
        most: log N, what the sum of what they add cannot exceed.
        upward: whether levels are inferred from the bottom.

    Raises:
        ValueError: the shapes do not agree.
    """
    cost, known, spread = (np.asarray(part, float) for part in (rates, added, errors))
    if cost.ndim != 1 or not len(cost) or cost.shape != known.shape or cost.shape != spread.shape:
        raise ValueError(f"level_bars: wanted (L,) of all three, got {cost.shape}, {known.shape}, {spread.shape}.")
    figure = blank(7.0, max(2.4, 1.5 + 0.42 * len(cost)))
    axes = figure.add_subplot()
    title = f"I(x; z) = {known.sum():.2f} nats (at most log N = {most:.2f}), rate {cost.sum():.2f}"
    tidy(axes, title, "nats per datum", "")
    axes.grid(False, axis="y")
    at = np.arange(len(cost))
    given = "below" if upward else "above"
    axes.barh(at, cost, height=0.84, color="#c9d6e2", label="rate: what it costs")
    axes.barh(
        at, known, height=0.5, color="#1f6fb5", xerr=2 * spread, ecolor=INK, capsize=2,
        label=f"I(x; z_l | levels {given}): what it adds, ± 2 standard errors",
    )  # fmt: skip
    places = {0: ", the top", len(cost) - 1: ", the bottom"} if len(cost) > 1 else {}
    axes.set_yticks(at, [f"level {i + 1}{places.get(i, '')}" for i in range(len(cost))])
    axes.invert_yaxis()
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.3), ncols=2, frameon=False, fontsize=SMALL, labelcolor=INK)
    return figure


def moves(images: ArrayLike, names: Sequence[str], values: Sequence[str], title: str, notes: Sequence[str]) -> "Figure":
    """One latent a row, moved from low to high while the others stay.

    Args:
        images: ``(K, steps, C, H, W)`` or ``(K, steps, D)``.
        names: what is moved in each row.
        values: where to, in words.
        title: above.
        notes: what was done with the other latents.

    Raises:
        ValueError: the lengths do not agree, or the images are not as in ``grid``.
    """
    made = checked(images, "moves: images", ["K", "steps"])
    if made.shape[:2] != (len(names), len(values)):
        raise ValueError(f"moves: images must be {len(names)} names × {len(values)} values, got {made.shape[:2]}.")
    labels = Labels(rows=names, columns=values, x="standard deviations of the prior", title=title, notes=notes)
    return sheet(made, None, labels)


def resampled(
    x: ArrayLike, made: ArrayLike, columns: Sequence[str], title: str = "", notes: Sequence[str] = ()
) -> "Figure":
    """Each datum at the left, and beside it what the model makes of some of its latents, the others drawn anew.

    Args:
        x: data ``(N, C, H, W)`` or ``(N, D)``.
        made: ``(N, K, …)``.
        columns: what each of the K is.
        title: above.
        notes: below.

    Raises:
        ValueError: the shapes do not agree, or the images are not as in ``grid``.
    """
    data, drawn = checked(x, "resampled: x", ["N"]), checked(made, "resampled: made", ["N", "K"])
    if drawn.shape != (len(data), len(columns), *data.shape[1:]):
        raise ValueError(
            f"resampled: made must be {(len(data), len(columns), *data.shape[1:])}: N data, K columns, each of the "
            f"shape of a datum; got {drawn.shape}."
        )
    cells = np.concatenate([data[:, None], drawn], 1)
    return sheet(cells, None, Labels(columns=["data", *columns], title=title, notes=notes))


def interpolations(
    ends: ArrayLike, made: ArrayLike, names: Sequence[str], title: str = "", notes: Sequence[str] = ()
) -> "Figure":
    """Ways from one datum to another, a row each, between the data themselves.

    Args:
        ends: the two data ``(2, C, H, W)`` or ``(2, D)``.
        made: ``(K, steps, …)``.
        names: of the K ways.
        title: above.
        notes: below.

    Raises:
        ValueError: the shapes do not agree, or the images are not as in ``grid``.
    """
    data, ways = checked(ends, "interpolations: ends", ["2"]), checked(made, "interpolations: made", ["K", "steps"])
    if ways.shape[2:] != data.shape[1:] or len(data) != 2 or len(ways) != len(names):
        raise ValueError(
            f"interpolations: wanted two ends, and a row for each of {len(names)} names, of one shape of data; got "
            f"{data.shape} and {ways.shape}."
        )
    first, last = (np.broadcast_to(end, (len(ways), 1, *data.shape[1:])) for end in data)
    steps = ways.shape[1]
    columns = ["data", *(f"{i / (steps - 1):.2g}" for i in range(steps)), "data"]
    cells = np.concatenate([first, ways, last], 1)
    return sheet(cells, None, Labels(rows=names, columns=columns, title=title, notes=notes))
