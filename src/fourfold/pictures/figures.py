"""What all pictures share: one look, set on each figure and never globally, and two ways to write it."""

__all__ = ["DPI", "GREY", "INK", "SMALL", "TEXT", "blank", "pixels", "png", "save", "tidy"]

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from .._files import whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 110
TEXT, SMALL = 9.0, 8.0  # points
INK, GREY = "#1f2328", "#59636e"


def blank(width: float, height: float, layout: str | None = "constrained") -> "Figure":
    """An empty white figure, in inches, that belongs to no window and to no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white", layout=layout)  # pyright: ignore
    FigureCanvasAgg(figure)
    return figure


def pixels(words: str, points: float) -> float:
    """How wide these words are in a figure."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties

    return RendererAgg(1, 1, DPI).get_text_width_height_descent(words, FontProperties(size=points), False)[0]


def tidy(axes: "Axes", title: str, x: str, y: str) -> None:
    """The look of a plot: two axes, small ticks, a faint grid, a title that begins where the plot does."""
    axes.set_title(title, loc="left", fontsize=TEXT + 1, color=INK, parse_math=False)
    axes.set_xlabel(x, fontsize=TEXT, color=INK)
    axes.set_ylabel(y, fontsize=TEXT, color=INK)
    axes.tick_params(labelsize=SMALL, colors=GREY, labelcolor=INK, length=3, width=0.7)
    axes.set_facecolor("white")
    axes.grid(True, color="#e6e9ed", linewidth=0.7)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set(color="#9aa3ad", linewidth=0.7)


def png(figure: "Figure") -> bytes:
    """The figure as the bytes of a PNG, at its own size.

    Example:
        >>> png(blank(1, 1))[1:4]
        b'PNG'
    """
    held = BytesIO()
    figure.savefig(held, format="png")
    return held.getvalue()


def save(figure: "Figure", path: str | Path) -> Path:
    """Write the figure; the ending of the path names the format (png, pdf, svg …).

    A reader sees the old file or the new one, never a part of it: it is written beside the path and then renamed.

    Raises:
        ValueError: the path has no ending, or one that matplotlib cannot write.
    """
    path = Path(path)
    if not path.suffix:
        raise ValueError(f"save: path must end with a format, got {str(path)!r}. Use for example {path.name}.png.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as file:
        figure.savefig(file, format=path.suffix[1:].lower())
    return path
