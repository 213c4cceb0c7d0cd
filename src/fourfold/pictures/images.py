"""Pictures of data: samples, reconstructions, traversals and the manifold of two latents."""

__all__ = ["grid", "manifold", "normal_quantiles", "reconstructions", "traversal"]

from math import ceil, sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._checks import positive_int
from .cells import Labels, checked, sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FIGURE_SPACE = "\u2007"  # as wide as a digit: all names of latents begin at one place


def grid(images: ArrayLike, columns: int | None = None, title: str | None = None) -> "Figure":
    """Images side by side, row by row.

    Args:
        images: ``(N, C, H, W)`` from 0 (black) to 1, or bytes; one channel is grey, three are red, green and blue, any
            other number stands side by side. Vectors ``(N, D)`` are drawn as lines on one common scale.
        columns: images in a row; by default eight, or more where that would make a tall tower.
        title: a line above.

    Raises:
        ValueError: the shape is another, a number is not finite, or the scale is not 0–1.

    Example:
        >>> grid(np.zeros((10, 1, 8, 8)), columns=5).get_size_inches().round(1).tolist()
        [6.0, 2.5]
    """
    made = checked(images, "grid: images", ["N"])
    count = len(made)
    across = min(count, max(8, ceil(sqrt(count)))) if columns is None else positive_int(columns, "grid: columns")
    return sheet(*_in_rows(made, across), Labels(title=title or ""))


def reconstructions(x: ArrayLike, x_hat: ArrayLike) -> "Figure":
    """Each datum above its reconstruction, ten pairs in a row.

    Args:
        x: data ``(N, C, H, W)`` or ``(N, D)``, as for ``grid``.
        x_hat: their reconstructions, of the same shape.

    Raises:
        ValueError: the shapes differ, or are not those of data.
    """
    data = checked(x, "reconstructions: x", ["N"])
    back = checked(x_hat, "reconstructions: x_hat", ["N"])
    if data.shape != back.shape:
        raise ValueError(f"reconstructions: x_hat must have the shape of x, {data.shape}, got {back.shape}.")
    across = min(len(data), 10)
    (above, present), (below, _) = _in_rows(data, across), _in_rows(back, across)
    cells = np.stack([above, below], 1).reshape(-1, *above.shape[1:])
    labels = Labels(rows=["data", "reconstruction"] * len(above), group=2)
    return sheet(cells, present.repeat(2, axis=0), labels)


def traversal(
    images: ArrayLike, latents: ArrayLike, kl: ArrayLike, values: ArrayLike, committed: ArrayLike | None = None
) -> "Figure":
    """One latent a row, moved from low to high while the others stay; the latent that costs most nats comes first.

    Args:
        images: ``(K, steps, C, H, W)`` or ``(K, steps, D)``: row i is decoded while latent ``latents[i]`` is moved.
        latents: ``(K,)``, the number of each latent, as in ``z[3]``; any order.
        kl: ``(K,)``, the KL of each of these latents, in nats per datum.
        values: ``(steps,)``, what the moved latent was set to.
        committed: ``(K,)``, how much of each KL is spent whatever the datum is, as with the prior of a δ-VAE; the order
            is then that of the rest.

    Raises:
        ValueError: the lengths do not agree, or the images are not as in ``grid``.
    """
    made = checked(images, "traversal: images", ["K", "steps"])
    which = _numbers(latents, "traversal: latents", len(made), "one for each row of images")
    cost = _numbers(kl, "traversal: kl", len(made), "one for each row of images")
    moved = _numbers(values, "traversal: values", made.shape[1], "one for each step")
    spent = np.zeros(len(made)) if committed is None else committed
    fixed = _numbers(spent, "traversal: committed", len(made), "one for each row of images")
    order = np.argsort(fixed - cost, kind="stable")
    names = [f"z{int(latent)}" for latent in which]
    wide = max(len(name) for name in names)
    parts = [f", {given:.2f} committed" if committed is not None else "" for given in fixed]
    rows = [f"{names[i].ljust(wide, _FIGURE_SPACE)}  KL {cost[i]:.2f} nats{parts[i]}" for i in order]
    digits = 1 if np.allclose(moved, moved.round(1), atol=1e-6) else 2
    labels = Labels(rows=rows, columns=[_signed(v, digits) for v in moved], x="value of the latent")
    return sheet(made[order], None, labels)


def manifold(images: ArrayLike, values: ArrayLike) -> "Figure":
    """What a model with two latents makes of each place of its latent plane.

    Args:
        images: ``(n, n, C, H, W)`` or ``(n, n, D)``; ``images[i, j]`` is decoded at z = (values[i], values[j]), so
            that z0 grows to the right and z1 upwards, as in ``latent_scatter``.
        values: ``(n,)``, rising; see ``normal_quantiles``.

    Raises:
        ValueError: there are not n × n images for n values.
    """
    made = checked(images, "manifold: images", ["n", "n"])
    if made.shape[0] != made.shape[1]:
        raise ValueError(f"manifold: images must be n × n, got {made.shape[0]} × {made.shape[1]}.")
    given = _numbers(values, "manifold: values", len(made), "one for each row of images")
    words = [_signed(v, 2) for v in given]
    labels = Labels(rows=words[::-1], columns=words, x="z0", y="z1", below=True, gap=0)
    return sheet(made.swapaxes(0, 1)[::-1], None, labels)


def normal_quantiles(n: int) -> NDArray[np.float64]:
    """n values that cut the standard normal distribution into equal shares: the middle of each of n equal shares.

    Example:
        >>> normal_quantiles(4).round(2).tolist()
        [-1.15, -0.32, 0.32, 1.15]
    """
    n = positive_int(n, "normal_quantiles: n")
    return np.array([NormalDist().inv_cdf((i + 0.5) / n) for i in range(n)])


def _in_rows(images: NDArray[Any], columns: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """``(N, …)`` as ``(rows, columns, …)``, and where there is an image: the last row may be short."""
    rows = ceil(len(images) / columns)
    present = np.arange(rows * columns).reshape(rows, columns) < len(images)
    missing = rows * columns - len(images)
    return np.concatenate([images, images[:1].repeat(missing, 0)]).reshape(rows, columns, *images.shape[1:]), present


def _numbers(given: ArrayLike, name: str, many: int, meaning: str) -> NDArray[np.float64]:
    """The argument as ``many`` finite numbers."""
    made = np.asarray(given)
    if made.shape != (many,):
        raise ValueError(f"{name} must have the shape ({many},), {meaning}, got {made.shape}.")
    made = made.astype(float)
    if not np.isfinite(made).all():
        raise ValueError(f"{name} must be finite numbers, got {made.tolist()}.")
    return made


def _signed(value: float, digits: int) -> str:
    """A number with a true minus sign, and no minus before zero."""
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")
