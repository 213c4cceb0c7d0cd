"""Out-of-distribution scores, and how well each of them tells foreign data from the model's own."""

__all__ = ["CORRUPTIONS", "REGRET", "Roc", "corrupted", "likelihood_regret", "png_bits", "roc", "waic"]

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch

from .._checks import choice, positive_int
from ..models import Model
from ..noise import Noise
from .batches import BatchLike
from .gap import GapOptions, inference_gaps
from .importance import Progress
from .local import Ascent


@dataclass(frozen=True, slots=True)
class Roc:
    """How well a score tells outliers from inliers, over all thresholds.

    Attributes:
        false_positives: the share of inliers at or above each threshold, rising from 0 to 1.
        true_positives: the share of outliers there.
        auc: the chance that an outlier scores higher than an inlier, a tie counting half.
        standard_error: of it, by bootstrap over both samples.
        interval: where the middle 95 % of the bootstrap lie.
        inside: inliers.
        outside: outliers.
    """

    false_positives: np.ndarray
    true_positives: np.ndarray
    auc: float
    standard_error: float
    interval: tuple[float, float]
    inside: int
    outside: int


def roc(inside: np.ndarray, outside: np.ndarray, noise: Noise | None = None, resamples: int = 500) -> Roc:
    """The receiver operating characteristic of a score that is meant to be higher for outliers.

    An area below 1/2 says that the score calls the outliers the more typical ones, as likelihoods of deep models do on
    data that are simpler than their own.

    Args:
        inside: the score of inliers, ``(N,)``; infinite ones are ranked, last or first.
        outside: the score of outliers, ``(M,)``.
        noise: what the bootstrap is drawn with; ``Noise(0)`` unless given.
        resamples: how often both samples are drawn anew.

    Raises:
        ValueError: fewer than two scores of each, or scores that are no numbers.

    References:
        Fawcett 2006; Nalisnick et al. 2019, arXiv:1810.09136, for areas below 1/2.

    Example:
        >>> roc(np.array([0.0, 1.0, 2.0]), np.array([2.0, 3.0])).auc.__round__(4)
        0.9167
    """
    noise, times = noise or Noise(0), positive_int(resamples, "roc: resamples")
    for name, scores in (("inside", inside), ("outside", outside)):
        if scores.ndim != 1 or len(scores) < 2:
            raise ValueError(f"roc: {name} must be at least two scores (N,), got shape {scores.shape}.")
        if np.isnan(scores).any():
            raise ValueError(
                f"roc: {name} has {int(np.isnan(scores).sum())} scores that are no numbers. Leave them out."
            )
    levels, place = np.unique(np.concatenate((inside, outside)), return_inverse=True)
    of_in, of_out = place[: len(inside)], place[len(inside) :]

    def counted(index: np.ndarray) -> np.ndarray:
        return np.bincount(index, minlength=len(levels)).astype(float)

    def again(index: np.ndarray, key: Noise) -> np.ndarray:
        return counted(index[(key.uniform((len(index),), dtype=torch.float64) * len(index)).long().numpy()])

    keys = noise.fork("inside"), noise.fork("outside")
    areas = np.array([_area(again(of_in, keys[0]), again(of_out, keys[1])) for _ in range(times)])
    negatives, positives = counted(of_in), counted(of_out)
    false, true = (np.concatenate(([0.0], one[::-1].cumsum())) / one.sum() for one in (negatives, positives))
    low, high = np.quantile(areas, (0.025, 0.975))
    error, area = float(areas.std(ddof=1)) if times > 1 else 0.0, _area(negatives, positives)
    return Roc(false, true, area, error, (float(low), float(high)), len(inside), len(outside))


def _area(negatives: np.ndarray, positives: np.ndarray) -> float:
    """P(outlier > inlier) + P(tie) / 2, from counts at each level of the score, rising."""
    below = negatives.cumsum() - negatives
    return float(positives @ (below + 0.5 * negatives) / (negatives.sum() * positives.sum()))


#: Fewer and longer steps than for a gap: all data get the same.
REGRET = GapOptions(ascent=Ascent(steps=100, draws=4, lr=0.03), samples=200, flow=False)


def likelihood_regret(
    model: Model,
    batches: Iterable[BatchLike],
    noise: Noise,
    options: GapOptions = REGRET,
    progress: Progress | None = None,
) -> np.ndarray:
    r"""The likelihood regret of each datum in nats, ``(N,)``: what the encoder lost by not having seen its like.

    .. math:: \mathrm{LR}(x) = \max_{q} \mathcal{L}(x; q) - \mathcal{L}(x; q_\phi)

    It is the amortisation gap of the datum (see ``inference_gaps``), never far below 0: a search that wins nothing by
    a trial of its own is put back to where it began.

    Args:
        model: any model with one group of latents whose posterior is one network and a head, in eval mode.
        batches: the data.
        noise: its forks draw z.
        options: how the best q is looked for, and how many draws measure the bounds.
        progress: told (done, total) decoded rows.

    Raises:
        ValueError: a posterior without parameters of a datum's own, and as ``inference_gaps``.

    References:
        Xiao, Yan and Amit 2020, "Likelihood regret", arXiv:2003.02977.
    """
    return inference_gaps(model, batches, noise, options, progress=progress).parts["amortisation_gap"]


def waic(log_p: np.ndarray) -> np.ndarray:
    r"""The WAIC of each datum over an ensemble, ``(N,)`` in nats: low for what the models do not agree on.

    .. math:: \mathrm{WAIC}(x) = \mathbb{E}_\theta[\log p_\theta(x)] - \mathrm{Var}_\theta[\log p_\theta(x)]

    Nats and squared nats are subtracted, as published. The variance has the denominator K: K runs are the ensemble.

    Args:
        log_p: log p(x) under each model, ``(K, N)``: bounds of one kind stand in for it.

    Raises:
        ValueError: fewer than two models.

    References:
        Choi, Jang and Alemi 2018, arXiv:1810.01392.
    """
    if log_p.ndim != 2 or len(log_p) < 2:
        raise ValueError(f"waic: log_p must be (K, N) of at least 2 models, got shape {log_p.shape}. Give --ensemble.")
    return log_p.mean(0) - log_p.var(0)


def png_bits(images: np.ndarray) -> np.ndarray:
    """How many bits the PNG of each image has, ``(N,)``: how complex it is, to something that knows no data.

    Args:
        images: ``(N, C, H, W)`` with one or three channels: uint8 levels, or booleans, kept at one bit a pixel.

    Raises:
        ValueError: another shape or type.

    References:
        Serrà et al. 2020, "Input complexity and out-of-distribution detection", arXiv:1909.11480.
    """
    from PIL import Image

    if images.ndim != 4 or images.shape[1] not in (1, 3) or images.dtype not in (np.uint8, np.bool_):
        raise ValueError(
            f"png_bits: wanted images (N, 1 or 3, H, W) of uint8 or bool, got {images.dtype} {images.shape}."
        )
    if images.dtype == np.bool_ and images.shape[1] == 3:
        images = images.astype(np.uint8) * np.uint8(255)
    made = []
    for image in images.transpose(0, 2, 3, 1):
        held = BytesIO()
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(held, "PNG", optimize=True)
        made.append(8.0 * held.tell())
    return np.array(made)


def _noise(x: np.ndarray, most: float, noise: Noise) -> np.ndarray:
    drawn = noise.uniform(x.shape).numpy()
    return drawn.astype(np.float32) if x.dtype.kind == "f" else np.floor(drawn * (most + 1)).astype(np.uint8)


def _inverted(x: np.ndarray, most: float, noise: Noise) -> np.ndarray:
    return (np.asarray(most, x.dtype) - x).astype(x.dtype)


def _flipped(x: np.ndarray, most: float, noise: Noise) -> np.ndarray:
    if x.ndim != 4:
        raise ValueError(
            f"outliers: flipped is of images (N, C, H, W), got rows of shape {x.shape[1:]}. Take inverted."
        )
    return np.ascontiguousarray(x[:, :, ::-1])


#: What can be done to data where no other data of their shape are at hand: uniform noise, light for dark, upside down.
CORRUPTIONS: dict[str, Callable[[np.ndarray, float, Noise], np.ndarray]] = {
    "noise": _noise,
    "inverted": _inverted,
    "flipped": _flipped,
}


def corrupted(x: np.ndarray, name: str, levels: int | None, noise: Noise) -> np.ndarray:
    """Rows of the same shape and type that are no longer of the data's distribution.

    Args:
        x: uint8 levels, or grey values from 0 to 1.
        name: one of ``CORRUPTIONS``.
        levels: 256, 2 or ``None``, as in a data set.
        noise: where ``"noise"`` is drawn from.

    Raises:
        ValueError: an unknown name, values outside [0, 1], or rows that have no upside.
    """
    choice(name, CORRUPTIONS, "corrupted: name")
    if levels is None and (x.min() < 0 or x.max() > 1):
        raise ValueError(
            f"corrupted: wanted values in [0, 1], got {x.min():g} to {x.max():g}. Give other data instead."
        )
    return CORRUPTIONS[name](x, float((levels or 2) - 1), noise)
