"""Pictures of latents: where the data lie in them, and what each of them costs."""

__all__ = ["COLOURS", "code_bars", "kl_bars", "latent_scatter"]

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .figures import GREY, INK, SMALL, TEXT, blank, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Ten colours made to be told apart also by the colour-blind (Petroff 2021, arXiv:2107.02270).
COLOURS = (
    "#3f90da", "#e76300", "#bd1f01", "#717581", "#832db6", "#a96b59", "#94a4a2", "#b9ac70", "#ffa90e", "#92dadd",
)  # fmt: skip
_MARKERS = "o^s"


def latent_scatter(codes: ArrayLike, labels: ArrayLike | None = None, dims: tuple[int, int] = (0, 1)) -> "Figure":
    """Two coordinates of the posterior means, one point a datum, coloured by class where there are labels.

    Args:
        codes: posterior means ``(N, L)``, L ≥ 2.
        labels: classes ``(N,)``, integers or strings. More than 30 of them are coloured by their order.
        dims: which two latents; the two of highest KL say most.

    Raises:
        ValueError: the shapes do not agree, or there is no such latent.
    """
    points, groups = np.asarray(codes), None
    if points.ndim != 2 or points.shape[1] < 2 or not len(points) or not np.issubdtype(points.dtype, np.number):
        raise ValueError(f"latent_scatter: codes must be numbers (N, L) with L of at least 2, got {points.shape}.")
    if len(dims) != 2 or any(not 0 <= d < points.shape[1] for d in dims):
        raise ValueError(f"latent_scatter: dims must be two latents from 0 to {points.shape[1] - 1}, got {dims}.")
    if not np.isfinite(points).all():
        raise ValueError("latent_scatter: codes has numbers that are not finite. Is the model trained?")
    if labels is not None:
        groups = np.asarray(labels)
        if groups.shape != (len(points),):
            raise ValueError(f"latent_scatter: labels must be ({len(points)},), one a code, got {groups.shape}.")
    figure = blank(7.0, 6.0)
    axes = figure.add_subplot()
    tidy(axes, "", *(f"z{dim}, posterior mean (for a flow: its centre)" for dim in dims))
    axes.set_aspect("equal", adjustable="datalim")
    # In the order of the file, the last class would hide the others.
    shuffled = np.random.default_rng(0).permutation(len(points))
    _draw_points(axes, points[:, list(dims)][shuffled], None if groups is None else groups[shuffled])
    return figure


def _draw_points(axes: "Axes", points: NDArray[Any], groups: NDArray[Any] | None) -> None:
    """The points; smaller and fainter, the more there are."""
    many = len(points)
    look: dict[str, Any] = {
        "s": float(np.clip(6000 / many, 7, 30)),
        "alpha": float(np.clip(40 / many**0.5, 0.3, 0.9)),
        "linewidths": 0,
    }
    if groups is None:
        axes.scatter(*points.T, color=COLOURS[0], **look)
        return
    classes, index = np.unique(groups, return_inverse=True)
    if len(classes) > len(COLOURS) * len(_MARKERS):
        from matplotlib.cm import ScalarMappable

        drawn = axes.scatter(*points.T, c=index, cmap="viridis", **look)
        # A bar of its own, for that of the points would be as faint as they are.
        bar = axes.figure.colorbar(ScalarMappable(drawn.norm, drawn.cmap), ax=axes, fraction=0.04, pad=0.02)
        bar.set_label(f"class, by its order: {classes[0]} first, {classes[-1]} last", fontsize=TEXT, color=INK)
        bar.ax.tick_params(labelsize=SMALL, colors=GREY, labelcolor=INK)
        bar.outline.set_visible(False)  # pyright: ignore
        return
    colours = np.array(COLOURS)[index % len(COLOURS)]
    for shape, marker in enumerate(_MARKERS):
        here = index // len(COLOURS) == shape
        if here.any():
            axes.scatter(*points[here].T, c=colours[here], marker=marker, **look)
    _name_classes(
        axes, [f"{name!s}" for name in classes], [np.median(points[index == i], 0) for i in range(len(classes))]
    )


def _name_classes(axes: "Axes", names: list[str], centres: list[NDArray[Any]]) -> None:
    """A legend; and where a colour stands for one class alone, a short name at the median of its points too."""
    from matplotlib.lines import Line2D
    from matplotlib.patheffects import withStroke

    handles = [
        Line2D([], [], linestyle="", markersize=6, marker=_MARKERS[i // len(COLOURS)], color=COLOURS[i % len(COLOURS)])
        for i in range(len(names))
    ]
    said = axes.legend(
        handles, names, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=TEXT, labelcolor=INK,
        handletextpad=0.2, ncols=1 if len(names) <= 20 else 2,
    )  # fmt: skip
    for text in said.get_texts():
        text.set_parse_math(False)
    if len(names) <= len(COLOURS) and max(map(len, names)) <= 12:
        for name, centre in zip(names, centres, strict=True):
            axes.annotate(
                name, tuple(centre), ha="center", va="center", fontsize=TEXT + 1, weight="bold", color=INK,
                parse_math=False, path_effects=[withStroke(linewidth=3, foreground="white")],
            )  # fmt: skip


def kl_bars(kl_per_latent: ArrayLike, active: ArrayLike | None = None, threshold: float = 0.01) -> "Figure":
    """What each latent costs, in nats per datum, dearest first; the inactive ones are grey.

    A unit is active where the variance, over the data, of its posterior mean exceeds the threshold (Burda et al. 2015,
    arXiv:1509.00519): a threshold on that variance, not on the KL that is drawn.

    Args:
        kl_per_latent: ``(L,)``, the KL of each latent, averaged over data.
        active: ``(L,)`` booleans, if known.
        threshold: the variance above which a unit was called active.

    Raises:
        ValueError: the shapes do not agree, or a number is not finite.
    """
    kl = np.asarray(kl_per_latent, float)
    if kl.ndim != 1 or not len(kl) or not np.isfinite(kl).all():
        raise ValueError(f"kl_bars: kl_per_latent must be finite numbers (L,), got {kl.shape}: {kl_per_latent!r}.")
    on = np.ones(len(kl), bool) if active is None else np.asarray(active)
    if on.shape != kl.shape or on.dtype != bool:
        raise ValueError(f"kl_bars: active must be booleans {kl.shape}, one a latent, got {on.dtype} {on.shape}.")
    from matplotlib.patches import Patch

    order = np.argsort(-kl, kind="stable")
    figure = blank(float(np.clip(1.5 + 0.3 * len(kl), 6, 8)), 3.2)
    axes = figure.add_subplot()
    title = f"{kl.sum():.2f} nats in {len(kl)} latent{'s' * (len(kl) > 1)}"
    tidy(axes, title, "latent, dearest first", "KL [nats per datum]")
    axes.grid(False, axis="x")
    colours = np.where(on, "#1f6fb5", "#b8c0c8")
    axes.bar(range(len(kl)), kl[order], width=0.8, color=colours[order].tolist())
    every = -(-len(kl) // 20)
    axes.set_xticks(range(0, len(kl), every), [f"z{i}" for i in order[::every]])
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.7, max(len(kl), 8) - 0.3)
    axes.set_ylim(min(0.0, kl.min()), 1.25 * max(kl.max(), 1e-3))  # room for the legend
    if active is not None:
        rule = f"variance of the posterior mean > {threshold:g}"
        known = [Patch(color="#1f6fb5", label=f"active: {rule} ({on.sum()})")]
        known.append(Patch(color="#b8c0c8", label=f"inactive ({(~on).sum()})"))
        axes.legend(handles=known, loc="upper right", frameon=False, fontsize=SMALL, labelcolor=INK)
    return figure


def code_bars(counts: ArrayLike) -> "Figure":
    """How often each code is chosen, as a share of an even one, most often first.

    Args:
        counts: ``(K,)``, how often each was chosen.

    Raises:
        ValueError: counts that are no finite numbers of at least 0, or all 0.
    """
    found = np.asarray(counts, float)
    if found.ndim != 1 or not np.isfinite(found).all() or (found < 0).any() or not found.any():
        raise ValueError(f"code_bars: counts must be numbers (K,) of at least 0, got {found.shape}: {counts!r}.")
    share = np.sort(found / found.sum())[::-1]
    some = share[share > 0]
    perplexity = np.exp(-(some * np.log(some)).sum())
    figure = blank(8, 3.2)
    axes = figure.add_subplot()
    title = f"perplexity {perplexity:.1f} of {len(share)} codes, {len(some)} used"
    tidy(axes, title, "code, most frequent first", "times an even share")
    axes.grid(False, axis="x")
    axes.bar(range(len(share)), len(share) * share, width=0.9 if len(share) <= 100 else 1.0, color="#1f6fb5")
    axes.axhline(1.0, color=GREY, linewidth=1)
    axes.set_xlim(-0.7, len(share) - 0.3)
    return figure
