"""The mutual information gap of posteriors: densities of mixtures, without bins."""

__all__ = ["Posteriors", "mig_chen", "mig_sup_chen"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log, pi
from typing import final

import numpy as np
from jaxtyping import Float, Int

from ..._checks import positive_int
from .bins import BINS, labels
from .information import entropies
from .mig import gap, supremum_gap
from .sample import Sample
from .score import Score, Tick

_AT_ONCE = 1 << 21  # densities held at a time
_ACTIVE = 1e-2


@final
@dataclass(frozen=True, slots=True, eq=False)
class Posteriors:
    """Diagonal Gaussian posteriors of N data, with the factors that the data were made from.

    Args:
        means: their means as codes, with the factors.
        std: their standard deviations, ``(N, D)``.

    Raises:
        ValueError: standard deviations that do not match the means, or are not all above 0.
    """

    means: Sample
    std: np.ndarray

    def __post_init__(self) -> None:
        std = np.asarray(self.std, dtype=np.float64)
        if std.shape != self.means.codes.shape or not (np.isfinite(std).all() and (std > 0).all()):
            raise ValueError(
                f"Posteriors: std must be as large as the means, {self.means.codes.shape}, finite and above 0; got the "
                f"shape {std.shape}. A point has no density: for means alone there is mig_dlib."
            )
        object.__setattr__(self, "std", std)


def mig_chen(
    posteriors: Posteriors,
    rng: np.random.Generator,
    exclude: Sequence[str] = (),
    samples: int = 10_000,
    tick: Tick | None = None,
) -> Score:
    r"""The mutual information gap as first published: of draws of the posterior, by densities (Chen et al. 2018).

    .. math:: I(z_j; v_k) = E_{n,\, z \sim q(z|x_n)} \log \frac{q(z_j \mid v_k = v_k^{(n)})}{q(z_j)}, \qquad
        q(z_j \mid v) = \frac{1}{N_v} \sum_{n: v_k^{(n)} = v} q(z_j \mid x_n)

    with the mixtures summed over all N data, and the gap of :func:`mig_dlib`. The N data should be the whole data set:
    of fewer, the mixture of few posteriors knows its own draws too well, and information is too large. It is not
    comparable with the version over bins: noise of the posterior counts here, and no bins limit it. The authors leave
    out the shape of dSprites: ``exclude=("shape",)``.

    Args:
        posteriors: of all data.
        rng: where the data and the draws of z are drawn from.
        exclude: names of factors that are left out.
        samples: how many z are drawn, at most one of each datum.
        tick: told how many codes are done: N × samples densities each.

    References:
        Chen et al. 2018, arXiv:1802.04942.
    """
    by_draw, factors = _information(posteriors, rng, exclude, samples, tick)
    entropy = entropies(factors)

    def value(terms: Float[np.ndarray, "D K"]) -> float:
        return float(gap(terms, entropy).mean())

    return _score("mig_chen", value, by_draw, posteriors, exclude, {"by_factor": gap(by_draw.mean(0), entropy)})


def mig_sup_chen(
    posteriors: Posteriors,
    rng: np.random.Generator,
    exclude: Sequence[str] = (),
    samples: int = 10_000,
    tick: Tick | None = None,
) -> Score:
    """The gap seen from the codes, by the densities of :func:`mig_chen`; the gap is that of :func:`mig_sup`.

    Codes count whose means have a variance above 0.01; one of an excluded factor counts too, as one that knows nothing.

    Args:
        posteriors: of all data.
        rng: where the data and the draws of z are drawn from.
        exclude: names of factors that are left out.
        samples: how many z are drawn, at most one of each datum.
        tick: told how many codes are done.

    References:
        Li et al. 2020, arXiv:2002.10549.
    """
    by_draw, factors = _information(posteriors, rng, exclude, samples, tick)
    entropy, active = entropies(factors), posteriors.means.codes.var(0) > _ACTIVE

    def value(terms: Float[np.ndarray, "D K"]) -> float:
        return float(supremum_gap(terms[active], entropy).mean()) if active.any() else 0.0

    return _score("mig_sup_chen", value, by_draw, posteriors, exclude, {})


def _score(
    name: str,
    value: Callable[[np.ndarray], float],
    by_draw: Float[np.ndarray, "S D K"],
    posteriors: Posteriors,
    exclude: Sequence[str],
    parts: dict[str, np.ndarray],
) -> Score:
    n = len(posteriors.means)

    def again(rng: np.random.Generator) -> float:
        return value(by_draw[rng.integers(len(by_draw), size=len(by_draw))].mean(0))

    left_out = f", without {', '.join(exclude)}" if exclude else ""
    said = f"{len(by_draw)} draws of z, densities of mixtures of all {n} posteriors{left_out}"
    parts = {"information": by_draw.mean(0), **parts}
    return Score(name, value(by_draw.mean(0)), said, n, "the draws of z, not the posteriors", again, parts)


def _information(
    posteriors: Posteriors, rng: np.random.Generator, exclude: Sequence[str], samples: int, tick: Tick | None
) -> tuple[Float[np.ndarray, "S D K"], Int[np.ndarray, "N K"]]:
    """log q(z_j | v_k) − log q(z_j) of each draw, and the factors as classes."""
    samples = min(positive_int(samples, "mig_chen: samples"), len(posteriors.means))
    table, std = posteriors.means.without(exclude), posteriors.std
    of = labels(table, BINS)
    rows = np.sort(rng.permutation(len(table))[:samples])
    z = table.codes[rows] + std[rows] * rng.standard_normal((samples, table.latents))
    out = np.empty((samples, table.latents, of.shape[1]))
    for j in range(table.latents):
        if tick:
            tick(j, table.latents)
        mean, scale, draws = table.codes[:, j], std[:, j], z[:, j]
        marginal = _log_mixture(draws, mean, scale)
        for k, classes in enumerate(of.T):
            for v in np.unique(classes[rows]):
                mine, like = classes[rows] == v, classes == v
                out[mine, j, k] = _log_mixture(draws[mine], mean[like], scale[like]) - marginal[mine]
    if tick:
        tick(table.latents, table.latents)
    return out, of


def _log_mixture(
    z: Float[np.ndarray, " s"], mean: Float[np.ndarray, " n"], std: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " s"]:
    """The log density of each z under the equal mixture of Gaussians."""
    out = np.empty(len(z))
    scale, constant = np.sqrt(0.5) / std, -np.log(std) - 0.5 * log(2 * pi)
    step = max(1, _AT_ONCE // len(mean))
    for first in range(0, len(z), step):
        terms = constant - np.square((z[first : first + step, None] - mean) * scale)
        most = terms.max(1, keepdims=True)
        out[first : first + step] = most[:, 0] + np.log(np.exp(terms - most).sum(1))
    return out - log(len(mean))
