"""Unsupervised disentanglement ranking: do runs of the same settings agree on their codes?"""

__all__ = ["UDR", "udr_lasso", "udr_spearman"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from .bins import standardised
from .learning import lasso
from .sample import checked_codes

_LEAST_KL = 0.01
_Similarity = Callable[[np.ndarray, np.ndarray], np.ndarray]


@final
@dataclass(frozen=True, slots=True, eq=False)
class UDR:
    """How well each of several runs agrees with the others.

    Attributes:
        scores: of each run, the median over its partners, ``(R,)``.
        pairs: the agreement of each two runs, ``(R, R)``; NaN on the diagonal.
        protocol: in words.
        informative: how many codes of each run took part, ``(R,)``.
    """

    scores: Float[np.ndarray, " R"]
    pairs: Float[np.ndarray, "R R"]
    protocol: str
    informative: np.ndarray

    def intervals(
        self, rng: np.random.Generator, resamples: int = 1000, level: float = 0.95
    ) -> Float[np.ndarray, "R 2"]:
        """Of each run, an interval for its score: partners are drawn with replacement, and not the run or its data."""
        out = np.empty((len(self.scores), 2))
        for i, row in enumerate(self.pairs):
            others = np.delete(row, i)
            drawn = rng.choice(others, (resamples, len(others)))
            out[i] = np.quantile(np.median(drawn, 1), [(1 - level) / 2, (1 + level) / 2])
        return out


def udr_spearman(codes: Sequence[Float[np.ndarray, "N D"]], kl: Sequence[Float[np.ndarray, " D"]]) -> UDR:
    r"""Unsupervised disentanglement ranking with rank correlations as similarities (Duan et al. 2020).

    .. math:: R_{ab} = |\rho(z^i_a, z^j_b)|, \qquad \mathrm{UDR}_{ij} = \frac12 \Big[
        \operatorname{mean}_b \frac{\max_a R_{ab}^2}{\sum_a R_{ab}}
        + \operatorname{mean}_a \frac{\max_b R_{ab}^2}{\sum_b R_{ab}} \Big]

    over the codes of both runs whose KL is at least 0.01 nats, and of each run the median over all others. It rewards
    codes that come back, up to order and sign, from other seeds: nobody has shown that these are the factors. Runs that
    fail alike agree too.

    Args:
        codes: of each run, the codes of the same N data; at least two runs, better five.
        kl: of each run, the mean KL of each latent in nats.

    Raises:
        ValueError: fewer than two runs, other data, a KL for other latents.

    References:
        Duan et al. 2020, arXiv:1905.12614.
    """
    from scipy.stats import rankdata

    ranked = [rankdata(checked_codes(each, "udr_spearman: codes"), axis=0) for each in codes]
    return _ranking(ranked, kl, _correlation, "Spearman's ρ")


def udr_lasso(
    codes: Sequence[Float[np.ndarray, "N D"]], kl: Sequence[Float[np.ndarray, " D"]], strength: float = 0.1
) -> UDR:
    """The same with coefficients of lasso regressions as similarities: each code of one run from all of the other.

    The equations are those of :func:`udr_spearman`; codes are standardised.

    Args:
        codes: of each run, the codes of the same N data; at least two runs, better five.
        kl: of each run, the mean KL of each latent in nats.
        strength: α of the penalty.

    Raises:
        ValueError: fewer than two runs, other data, a KL for other latents.

    References:
        Duan et al. 2020, arXiv:1905.12614.
    """

    def coefficients(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.abs(np.atleast_2d(lasso(a, b, strength).coef_)).T

    return _ranking(codes, kl, coefficients, f"lasso coefficients, α = {strength:g}")


def _correlation(a: Float[np.ndarray, "N A"], b: Float[np.ndarray, "N B"]) -> Float[np.ndarray, "A B"]:
    return np.abs(a.T @ b) / len(a)


def _ranking(codes: Sequence[np.ndarray], kl: Sequence[np.ndarray], similarity: _Similarity, said: str) -> UDR:
    runs = [standardised(checked_codes(each, "UDR: codes")) for each in codes]
    if len(runs) < 2 or len(kl) != len(runs):
        raise ValueError(f"UDR: wanted the codes and the KL of at least two runs, got {len(runs)} and {len(kl)}.")
    for i, (each, cost) in enumerate(zip(runs, kl, strict=True)):
        if len(each) != len(runs[0]) or np.shape(cost) != (each.shape[1],):
            raise ValueError(
                f"UDR: run {i} has {len(each)} data and a KL of shape {np.shape(cost)}; wanted {len(runs[0])} data, "
                f"the same in all runs, and ({each.shape[1]},)."
            )
    kept = [np.asarray(cost) >= _LEAST_KL for cost in kl]
    used = [each[:, mask] for each, mask in zip(runs, kept, strict=True)]
    pairs = np.full((len(runs), len(runs)), np.nan)
    for i, a in enumerate(used):
        for j, b in enumerate(used):
            if i != j:
                pairs[i, j] = _agreement(similarity(a, b)) if a.size and b.size else 0.0
    protocol = f"{said}, {len(runs)} runs, codes with a KL of at least {_LEAST_KL} nats, median over partners"
    return UDR(np.nanmedian(pairs, 1), pairs, protocol, np.array([mask.sum() for mask in kept]))


def _agreement(similar: Float[np.ndarray, "A B"]) -> float:
    """The relative strength of the best partner of each code, averaged over codes of either side; 0 for one without."""
    both = []
    for each in (similar, similar.T):
        total = each.sum(0)
        both.append(np.where(total > 0, np.square(each.max(0)) / np.where(total > 0, total, 1.0), 0.0).mean())
    return float(np.mean(both))
