"""Metrics of predictors: SAP, and explicitness."""

__all__ = ["explicitness", "sap"]

import numpy as np
from jaxtyping import Bool, Float, Int

from .bins import BINS, labels, standardised
from .information import r2_of
from .learning import logistic, quietly
from .sample import Sample
from .score import Score


def sap(train: Sample, test: Sample) -> Score:
    r"""Separated attribute predictability: how much better is the best code than the second best?

    .. math:: \mathrm{SAP} = \frac1K \sum_k (s_{(1)k} - s_{(2)k})

    s is how well one code alone predicts one factor. For a discrete factor it is the accuracy on the test rows of a
    linear support vector machine (C = 0.01, balanced classes); for a continuous one the squared correlation over the
    test rows, and for a periodic continuous one the squared multiple correlation with its cosine and sine. **A line
    through one code can name few of many values**, so the ceiling is far below 1: 0.18 for a perfect code of dSprites'
    factors. Published values near 0.5 are of another protocol.

    Args:
        train: what the classifiers are fitted to; unused by continuous factors.
        test: what they are judged by.

    References:
        Kumar et al. 2018, arXiv:1711.00848; Locatello et al. 2019, arXiv:1811.12359.
    """
    right = {k: _right(train, test, k) for k, factor in enumerate(test.about) if factor.discrete}
    correlations = r2_of(test.codes, test.factors, test.about)

    def matrix(rows: Int[np.ndarray, " n"] | None) -> Float[np.ndarray, "D K"]:
        found = (
            correlations
            if rows is None or len(right) == len(test.about)
            else r2_of(test.codes[rows], test.factors[rows], test.about)
        )
        found = found.copy()
        for k, each in right.items():
            found[:, k] = each.mean(1) if rows is None else each[:, rows].mean(1)
        return found

    def value(found: Float[np.ndarray, "D K"]) -> float:
        best = np.sort(found, 0)[::-1]
        return float((best[0] - (best[1] if len(best) > 1 else 0.0)).mean())

    def again(rng: np.random.Generator) -> float:
        return value(matrix(rng.integers(len(test), size=len(test))))

    found = matrix(None)
    said = f"{len(train)} rows to fit, {len(test)} to judge, linear SVM of one code (C = 0.01, balanced)"
    if len(right) < len(test.about):
        said += "; continuous factors: squared correlation, of a period with its cosine and sine"
    resampled = "the rows that judge; the classifiers stay as they are"
    return Score("sap", value(found), said, len(test), resampled, again, {"matrix": found})


def _right(train: Sample, test: Sample, k: int) -> Bool[np.ndarray, "D n"]:
    """Whether each code alone names the value of factor k."""
    from sklearn.svm import LinearSVC

    seen, wanted = train.factors[:, k].astype(int), test.factors[:, k].astype(int)
    out = np.empty((train.latents, len(test)), bool)
    for j in range(train.latents):
        # The primal problem has the same optimum as the dual one, and is solved without drawing anything.
        model = LinearSVC(C=0.01, class_weight="balanced", dual=False)  # pyright: ignore[reportArgumentType]
        with quietly():
            model.fit(train.codes[:, j : j + 1], seen)
        out[j] = model.predict(test.codes[:, j : j + 1]) == wanted
    return out


def explicitness(train: Sample, test: Sample, bins: int = BINS) -> Score:
    r"""Can a linear classifier of all codes tell each value of each factor? (Ridgeway and Mozer 2018)

    .. math:: \frac1K \sum_k \frac{1}{|V_k|} \sum_{v \in V_k} \mathrm{AUC}\big(p(v_k = v \mid z)\big)

    One value against the rest, by the area under the ROC curve of a logistic regression of standardised codes: 0.5 for
    codes that know nothing. It is blind to rotations: say modularity beside it. A value that is missing from the rows
    to fit or to judge has no curve and is left out.

    Args:
        train: what the classifiers are fitted to.
        test: what they are judged by.
        bins: of continuous factors.

    References:
        Ridgeway and Mozer 2018, arXiv:1802.05312; Locatello et al. 2019, arXiv:1811.12359.
    """
    stacked = Sample(
        np.concatenate([train.codes, test.codes]), np.concatenate([train.factors, test.factors]), test.about
    )
    both = labels(stacked, bins)
    of_train, of_test = both[: len(train)], both[len(train) :]
    fit, judge = standardised(train.codes), standardised(test.codes, like=train.codes)
    found = [_scores(fit, a, judge, b) for a, b in zip(of_train.T, of_test.T, strict=True)]

    def by_factor(rows: Int[np.ndarray, " n"] | slice) -> Float[np.ndarray, " K"]:
        return np.array([_auc(scores[rows], own[rows]) for scores, own in found])

    def again(rng: np.random.Generator) -> float:
        return float(by_factor(rng.integers(len(test), size=len(test))).mean())

    terms = by_factor(slice(None))
    said = f"{len(train)} rows to fit, {len(test)} to judge, logistic regression of all codes, mean ROC area of values"
    resampled = "the rows that judge; the classifiers stay as they are"
    return Score("explicitness", float(terms.mean()), said, len(test), resampled, again, {"by_factor": terms})


def _scores(
    x: Float[np.ndarray, "m D"],
    y: Int[np.ndarray, " m"],
    judged: Float[np.ndarray, "n D"],
    wanted: Int[np.ndarray, " n"],
) -> tuple[Float[np.ndarray, "n C"], Bool[np.ndarray, "n C"]]:
    """The probability of each value that is in both parts, and whether it is the right one."""
    model = logistic(x, y)
    own = wanted[:, None] == model.classes_
    both = own.any(0)
    return model.predict_proba(judged)[:, both], own[:, both]


def _auc(scores: Float[np.ndarray, "n C"], own: Bool[np.ndarray, "n C"]) -> float:
    """The mean area under the ROC curves, by ranks (Mann and Whitney); of values that are there."""
    from scipy.stats import rankdata

    yes = own.sum(0)
    no = len(own) - yes
    usable = (yes > 0) & (no > 0)
    if not usable.any():
        return 0.5
    ranks = (rankdata(scores, axis=0) * own).sum(0)
    return float(((ranks - yes * (yes + 1) / 2)[usable] / (yes * no)[usable]).mean())
