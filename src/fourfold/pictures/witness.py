"""Pictures of where two samples differ: the data that tell them apart best, and the witness function over a plane."""

__all__ = ["witness_images", "witness_plane"]

from math import ceil
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._checks import positive_int
from .cells import Labels, checked, sheet
from .figures import GREY, INK, SMALL, TEXT, blank, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def witness_images(
    real: ArrayLike, real_values: ArrayLike, made: ArrayLike, made_values: ArrayLike, many: int = 10
) -> "Figure":
    """Real data that the model makes too little of, real ones that it makes well, and the same of its samples.

    Args:
        real: real data ``(N, C, H, W)`` or ``(N, D)``, as for ``grid``.
        real_values: the witness function of (real, made) at them, ``(N,)``: above 0 where there is more real than made.
        made: samples of the model, of the same shape but for their number.
        made_values: the witness function at them, ``(M,)``.
        many: how many of each.

    Raises:
        ValueError: the shapes do not agree, or there are numbers that are not finite.
    """
    many, rows = positive_int(many, "witness_images: many"), []
    groups = (("real", real, real_values), ("made", made, made_values))
    data = [checked(images, f"witness_images: {name}", ["N"]) for name, images, _ in groups]
    if data[0].shape[1:] != data[1].shape[1:]:
        raise ValueError(f"witness_images: made must be of shape {data[0].shape[1:]} too, got {data[1].shape[1:]}.")
    many = min(many, ceil(len(data[0]) / 2), ceil(len(data[1]) / 2))
    labels = []
    for images, (name, _, values) in zip(data, groups, strict=True):
        found = _numbers(values, f"witness_images: {name}_values", (len(images),))
        order = np.argsort(-found, kind="stable")
        for chosen, what in ((order[:many], "highest"), (order[::-1][:many], "lowest")):
            rows.append(images[chosen])
            labels.append(f"{name}, {what}: {_around(float(found[chosen[0]]))} to {_around(float(found[chosen[-1]]))}")
    note = "witness function: above 0 where there is more real than made, below 0 where there is more made than real"
    return sheet(np.stack(rows), None, Labels(rows=labels, group=2, notes=(note,)))


def witness_plane(
    values: ArrayLike, x: ArrayLike, y: ArrayLike, extent: tuple[float, float], names: tuple[str, str] = ("x", "y")
) -> "Figure":
    """The witness function over a plane, with both samples on it: for two latents, or any two features.

    Args:
        values: ``(k, k)``; ``values[i, j]`` belongs to (first coordinate i, second coordinate j), each in k equal steps
            over ``extent``.
        x: the first sample, ``(n, 2)``; the function is high where it has more.
        y: the second sample, ``(m, 2)``.
        extent: from where to where both coordinates go.
        names: what the samples are called.

    Raises:
        ValueError: the shapes are others, or there are numbers that are not finite.
    """
    surface = np.asarray(values)
    if surface.ndim != 2 or surface.shape[0] != surface.shape[1] or len(surface) < 2:
        raise ValueError(f"witness_plane: values must be (k, k) with k of at least 2, got {surface.shape}.")
    surface = _numbers(surface, "witness_plane: values", surface.shape)
    low, high = extent
    if not low < high:
        raise ValueError(f"witness_plane: extent must rise, got {extent}.")
    figure = blank(6.8, 5.2, layout="compressed")
    axes = figure.add_subplot()
    tidy(axes, "", "first coordinate", "second coordinate")
    axes.grid(False)
    steps, most = np.linspace(low, high, len(surface)), float(np.abs(surface).max()) or 1.0
    drawn = axes.contourf(steps, steps, surface.T, levels=np.linspace(-most, most, 22), cmap="PuOr_r")
    axes.contour(steps, steps, surface.T, levels=[0.0], colors=GREY, linewidths=0.8)
    for points, colour, marker, name in ((x, "#7f3b08", "o", names[0]), (y, "#2d004b", "^", names[1])):
        given = np.asarray(points)
        at = _numbers(given, f"witness_plane: {name}", (len(given), 2))
        axes.scatter(*at.T, s=7, c=colour, marker=marker, alpha=0.5, linewidths=0, label=name)
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.legend(loc="upper right", fontsize=TEXT, labelcolor=INK, framealpha=0.8, markerscale=2)
    bar = figure.colorbar(drawn, ax=axes, fraction=0.045, pad=0.02, ticks=[-most, 0, most])
    bar.set_ticklabels([f"more {names[1]}", "0", f"more {names[0]}"])
    bar.ax.tick_params(labelsize=SMALL, colors=GREY, labelcolor=INK, length=0)
    bar.outline.set_visible(False)  # pyright: ignore
    return figure


def _numbers(given: ArrayLike, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    made = np.asarray(given)
    if made.shape != shape:
        raise ValueError(f"{name} must have the shape {shape}, got {made.shape}.")
    made = made.astype(float)
    if not np.isfinite(made).all():
        raise ValueError(f"{name} must be finite numbers.")
    return made


def _around(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")
