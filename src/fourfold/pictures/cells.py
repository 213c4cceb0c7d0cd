"""Sheets of small pictures: every pixel of an image covers a whole number of pixels of the figure."""

__all__ = ["Labels", "checked", "sheet"]

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, prod
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .figures import DPI, GREY, INK, SMALL, TEXT, blank, pixels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_Cells = NDArray[np.floating[Any]]

# Pixels of the figure.
_WIDEST, _LINE, _MARGIN = 880, 17, 8
_MOST = 4096


@dataclass(frozen=True)
class Labels:
    """The words around a sheet.

    Attributes:
        rows: beside each row.
        columns: above each column, or with ``below`` under it.
        x: the name of what the columns count.
        y: the name of what the rows count.
        title: above all.
        notes: under all, in grey.
        below: the columns are labelled at the bottom.
        group: rows that stand together.
        gap: pixels between cells.
    """

    rows: Sequence[str] = ()
    columns: Sequence[str] = ()
    x: str = ""
    y: str = ""
    title: str = ""
    notes: Sequence[str] = ()
    below: bool = False
    group: int = 0
    gap: int = 2


def checked(cells: ArrayLike, what: str, leading: Sequence[str]) -> _Cells:
    """The cells as floats ``(*leading, C, H, W)`` or ``(*leading, D)``; bytes become levels from 0 to 1.

    Raises:
        ValueError: another number of dimensions, nothing in it, a number that is not finite, or a scale of 0–255.
    """
    given = np.asarray(cells)
    wanted = f"({', '.join(leading)}, C, H, W) for images or ({', '.join(leading)}, D) for vectors"
    if given.dtype == object or not (np.issubdtype(given.dtype, np.number) or given.dtype == bool):
        raise ValueError(f"{what} must be an array of numbers {wanted}, got {given.dtype}.")
    if given.ndim - len(leading) not in (1, 3):
        raise ValueError(f"{what} must be {wanted}, got {given.shape}. Grey images need a channel: x[:, None].")
    if not given.size:
        raise ValueError(f"{what} has nothing to draw: its shape is {given.shape}.")
    many = prod(given.shape[: len(leading)])
    if many > _MOST:
        raise ValueError(f"{what} has {many:,} pictures, and at most {_MOST:,} can be seen at once. Give fewer.")
    made = given / np.float32(255) if given.dtype == np.uint8 else given.astype(np.float32)
    wrong = int((~np.isfinite(made)).sum())
    if wrong:
        raise ValueError(f"{what} has {wrong:,} numbers of {made.size:,} that are not finite. Is the model trained?")
    if given.ndim - len(leading) == 3 and np.abs(made).max() > 16:
        raise ValueError(f"{what} must be images from 0 to 1, got values up to {made.max():g}. Divide them by 255.")
    return made


def sheet(cells: _Cells, present: NDArray[np.bool_] | None, labels: Labels) -> "Figure":
    """Draw ``(rows, columns, C, H, W)`` or ``(rows, columns, D)``, where present: a row may be shorter than others."""
    rows, columns = cells.shape[:2]
    if cells.ndim == 5 and cells.shape[2] not in (1, 3):
        labels = replace(labels, gap=10)
    there = np.argwhere(np.ones((rows, columns), bool) if present is None else present)
    beside = max((pixels(label, TEXT) + 10 for label in labels.rows), default=0)
    left = _MARGIN + ceil(beside) + (_LINE + 4 if labels.y else 0)
    space = (_WIDEST - left - _MARGIN + labels.gap) // columns - labels.gap
    if cells.ndim == 3:
        height, width = 60, max(12, min(120, space))
        labels = replace(labels, notes=(*labels.notes, _scale_of(cells)))
        small = None
    else:
        labels = replace(labels, notes=(*labels.notes, *_remarks(cells)))
        small = _sized(_levels(cells), max(1, space), min(168, max(84, 672 // columns)))
        height, width = small.shape[2:4]

    group = labels.group or rows
    tops = [r * (height + labels.gap) + (r // group) * 10 for r in range(rows)]
    lefts = [k * (width + labels.gap) for k in range(columns)]
    extent = (lefts[-1] + width, tops[-1] + height)
    canvas = np.full((extent[1], extent[0], 3), 255, np.uint8)
    for r, k in there:
        patch = np.uint8(246) if small is None else small[r, k]
        canvas[tops[r] : tops[r] + height, lefts[k] : lefts[k] + width] = patch

    figure, axes = _framed(canvas, left, labels, [t + height / 2 for t in tops], [x + width / 2 for x in lefts])
    if small is None:
        corners = [(lefts[k], tops[r]) for r, k in there]
        _draw_lines(axes, cells[tuple(there.T)], corners, (width, height))
    return figure


def _levels(cells: _Cells) -> NDArray[np.uint8]:
    """``(…, C, H, W)`` from 0 to 1 as ``(…, H, W, 3)`` bytes; channels that are no colours stand side by side."""
    if cells.shape[-3] not in (1, 3):
        ruled = np.pad(cells, [(0, 0)] * (cells.ndim - 1) + [(0, 1)], constant_values=1)
        cells = np.concatenate(np.split(ruled, cells.shape[-3], axis=-3), axis=-1)[..., :-1]
    bytes_ = np.round(np.clip(cells, 0, 1) * 255).astype(np.uint8)
    return np.broadcast_to(np.moveaxis(bytes_, -3, -1), (*bytes_.shape[:-3], *bytes_.shape[-2:], 3))


def _sized(levels: NDArray[np.uint8], space: int, tall: int) -> NDArray[np.uint8]:
    """Cells made larger by repeating pixels, or smaller by averaging whole blocks, to be so wide and tall at most."""
    height, width = levels.shape[2:4]
    if width <= space:
        times = max(1, min(space // width, tall // height))
        return levels.repeat(times, axis=2).repeat(times, axis=3)
    block = ceil(width / space)
    grown = np.pad(levels, ((0, 0), (0, 0), (0, -height % block), (0, -width % block), (0, 0)), mode="edge")
    h, w = grown.shape[2] // block, grown.shape[3] // block
    parts = grown.reshape(*grown.shape[:2], h, block, w, block, 3)
    return np.round(parts.mean((3, 5))).astype(np.uint8)


def _remarks(cells: _Cells) -> list[str]:
    """What a reader must know of images that are not plain ones."""
    said = []
    if cells.shape[-3] not in (1, 3):
        said.append(f"Each picture: its {cells.shape[-3]} channels, side by side.")
    outside = float(((cells < 0) | (cells > 1)).mean())
    if outside > 0.001:
        said.append(f"{100 * outside:.1f} % of the values lie outside [0, 1] and are drawn as 0 or 1.")
    return said


def _scale_of(cells: _Cells) -> str:
    many = cells.shape[-1]
    across = f"{many} elements from left to right" if many > 1 else "one element"
    low, high = (f"{v:.3g}".replace("-", "−") for v in (cells.min(), cells.max()))
    return f"Each cell: {across}; bottom to top is {low} to {high}, in every cell alike."


def _draw_lines(axes: Any, cells: _Cells, corners: list[tuple[int, int]], size: tuple[int, int]) -> None:
    """Each vector as a line in its own cell."""
    from matplotlib.collections import LineCollection

    width, height = size
    low, high = float(cells.min()), float(cells.max())
    up = (cells - low) / (high - low) if high > low else np.full_like(cells, 0.5)
    many = cells.shape[1]
    across = np.linspace(5, width - 5, many) if many > 1 else np.array([width / 2])
    at = np.array(corners, float)
    x = at[:, :1] + across
    y = at[:, 1:] + 5 + (height - 10) * (1 - up)
    axes.add_collection(LineCollection(np.stack([x, y], -1), colors="#1f6fb5", linewidths=1.0))  # pyright: ignore
    if many <= 16:
        axes.plot(x.ravel(), y.ravel(), ".", color="#1f6fb5", markersize=3)


def _framed(canvas: NDArray[np.uint8], left: int, labels: Labels, ys: list[float], xs: list[float]) -> Any:
    """A figure with the canvas in it, pixel for pixel, and the words around it."""
    high, wide = canvas.shape[:2]
    titles, notes = wrap(labels.title, 100), [line for note in labels.notes for line in wrap(note, 110)]
    across = (_LINE if labels.columns else 0) + (_LINE + 2 if labels.x else 0)
    head = _MARGIN + (_LINE * len(titles) + 8 if titles else 0) + (0 if labels.below else across)
    foot = _MARGIN + (_LINE * len(notes) + 6 if notes else 0) + (across if labels.below else 0)
    widths = [pixels(line, TEXT + 1) for line in titles] + [pixels(line, SMALL) for line in notes]
    full_width = max(left + wide, ceil(_MARGIN + max(widths, default=0))) + _MARGIN
    full_height = head + high + foot
    figure = blank(full_width / DPI, full_height / DPI, layout=None)
    axes = figure.add_axes((left / full_width, foot / full_height, wide / full_width, high / full_height))
    axes.imshow(canvas, extent=(0, wide, high, 0), interpolation="nearest", aspect="auto")
    axes.set_axis_off()
    axes.autoscale(False)

    def write(x: float, y: float, words: str, **kwargs: Any) -> None:
        style = {"fontsize": TEXT, "color": INK, "va": "center", "parse_math": False} | kwargs
        figure.text(x / full_width, 1 - y / full_height, words, **style)

    for line, words in enumerate(titles):
        write(_MARGIN, _MARGIN + _LINE * (line + 0.5), words, fontsize=TEXT + 1)
    for y, label in _apart(ys, labels.rows, 13.0):
        write(left - 8, head + y, label, ha="right")
    beside = head + high + _LINE / 2 + 1 if labels.below else head - _LINE / 2 - 1
    beyond = beside + _LINE if labels.below else beside - _LINE
    for x, label in _apart(xs, labels.columns, 4 + max((pixels(label, TEXT) for label in labels.columns), default=0)):
        write(left + x, beside, label, ha="center")
    if labels.x:
        write(left + wide / 2, beyond, labels.x, ha="center")
    if labels.y:
        write(_MARGIN + _LINE / 2, head + high / 2, labels.y, ha="center", rotation=90)
    for line, words in enumerate(notes):
        write(_MARGIN, full_height - _MARGIN - _LINE * (len(notes) - line - 0.5), words, fontsize=SMALL, color=GREY)
    return figure, axes


def _apart(at: list[float], words: Sequence[str], room: float) -> list[tuple[float, str]]:
    """The labels with their places; only every second (third …) where each needs more room than it has."""
    pitch = abs(at[1] - at[0]) if len(at) > 1 else room
    return list(zip(at, words, strict=False))[:: max(1, ceil(room / pitch))]
