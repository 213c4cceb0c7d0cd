"""Disentanglement, completeness and informativeness, by three predictors under three names."""

__all__ = ["DCI", "dci_boosted", "dci_forest", "dci_lasso"]

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Float

from .bins import columns, standardised
from .learning import lasso
from .sample import Sample
from .score import Score, Tick

#: Makes what predicts classes, or numbers.
_Make = Callable[[bool], Any]


@final
@dataclass(frozen=True, slots=True, eq=False)
class DCI:
    """The three scores, and what they are of.

    Attributes:
        disentanglement: does each code matter to one factor only?
        completeness: does one code suffice for each factor?
        informativeness: how well all codes together predict the factors.
        importance: how much each code matters to each factor, ``(D, K)``.
    """

    disentanglement: Score
    completeness: Score
    informativeness: Score
    importance: Float[np.ndarray, "D K"]

    @property
    def scores(self) -> tuple[Score, Score, Score]:
        """All three."""
        return self.disentanglement, self.completeness, self.informativeness


def dci_boosted(train: Sample, test: Sample, seed: int = 0, tick: Tick | None = None) -> DCI:
    r"""DCI by gradient-boosted trees, as Locatello et al. 2019: the version that papers quote, and slow.

    .. math:: D = \sum_i \rho_i \big(1 - H_K(R_{i\cdot})\big), \qquad C = \sum_k \pi_k \big(1 - H_D(R_{\cdot k})\big)

    with R the importance of code i in predicting factor k, each row or column scaled to sum 1 before its entropy (in
    base K or D), ρ and π the shares of all importance. I is the mean accuracy on the test rows. A continuous factor is
    predicted by a regressor and judged by R²; a periodic continuous one as its cosine and its sine. Each of a factor's
    values costs a hundred trees: minutes at 10,000 rows. Other predictors give other numbers, by 0.1 to 0.2: they have
    names of their own.

    Args:
        train: what the predictors are fitted to.
        test: what they are judged by.
        seed: of the trees, which break ties at random.
        tick: told how many factors are done.

    References:
        Eastwood and Williams 2018, "A framework for the quantitative evaluation of disentangled representations";
        Locatello et al. 2019, arXiv:1811.12359.
    """
    from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor

    def make(classes: bool) -> Any:
        return (GradientBoostingClassifier if classes else GradientBoostingRegressor)(random_state=seed)

    return _trees("boosted", "gradient-boosted trees with scikit-learn's defaults", make, (train, test), tick)


def dci_forest(train: Sample, test: Sample, seed: int = 0, tick: Tick | None = None) -> DCI:
    """DCI by a hundred extremely randomised trees for each factor: seconds, and not the numbers that papers quote.

    The equations are those of :func:`dci_boosted`. Each split looks at all codes; leaves have at least 20 rows.
    (Forests whose splits look at a few codes only must use those that know nothing: a perfect code then has 0.75.)

    Args:
        train: what the predictors are fitted to.
        test: what they are judged by.
        seed: of the trees.
        tick: told how many factors are done.

    References:
        Geurts, Ernst and Wehenkel 2006, "Extremely randomized trees".
    """
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

    def make(classes: bool) -> Any:
        options: dict[str, Any] = {"min_samples_leaf": 20, "max_features": None, "random_state": seed}
        return (ExtraTreesClassifier if classes else ExtraTreesRegressor)(100, **options)

    return _trees("forest", "100 extremely randomised trees, 20 rows a leaf", make, (train, test), tick)


def dci_lasso(train: Sample, test: Sample, strength: float = 0.01) -> DCI:
    """DCI by linear regressions with an L1 penalty: quick, and blind to all that is not a straight line.

    The equations are those of :func:`dci_boosted`, with the absolute coefficients as importance and R² on the test rows
    as informativeness. Codes and targets are standardised. A categorical factor is one column of 0 and 1 for each value
    but the first, a periodic one its cosine and sine; their importances are added, their R² averaged. Eastwood and
    Williams choose the strength by cross-validation.

    Codes that know nothing keep a few coefficients by chance, which looks like disentanglement (0.6 for random codes):
    where informativeness is 0, the other two mean nothing.

    Args:
        train: what the regressions are fitted to.
        test: what they are judged by.
        strength: α of the penalty.
    """
    x, judged = standardised(train.codes), standardised(test.codes, like=train.codes)
    importance, right = [], []
    for factor, seen, wanted in zip(train.about, train.factors.T, test.factors.T, strict=True):
        terms = columns(factor, seen)
        target, truth = standardised(terms), standardised(columns(factor, wanted), like=terms)
        model = lasso(x, target, strength)
        importance.append(np.abs(np.atleast_2d(model.coef_)).sum(0))
        right.append(_Explained(truth, np.reshape(model.predict(judged), truth.shape)))
    said = f"lasso, α = {strength:g}, {len(train)} rows to fit, {len(test)} to judge, informativeness R²"
    return _scored("lasso", said, np.stack(importance, 1), right, len(test))


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Explained:
    """Predictions of numbers: R² over rows, averaged over columns."""

    truth: np.ndarray
    predicted: np.ndarray

    def over(self, rows: np.ndarray | slice) -> float:
        truth, error = self.truth[rows], self.truth[rows] - self.predicted[rows]
        total = np.square(truth - truth.mean(0)).sum(0)
        varies = total > 0
        return float((1 - np.square(error).sum(0)[varies] / total[varies]).mean()) if varies.any() else 0.0


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Named:
    """Predictions of classes: accuracy over rows."""

    right: np.ndarray

    def over(self, rows: np.ndarray | slice) -> float:
        return float(self.right[rows].mean())


def _trees(name: str, said: str, make: _Make, parts: tuple[Sample, Sample], tick: Tick | None) -> DCI:
    train, test = parts
    importance, right = [], []
    for k, (factor, seen, wanted) in enumerate(zip(train.about, train.factors.T, test.factors.T, strict=True)):
        if tick:
            tick(k, len(train.about))
        if factor.discrete:
            model = make(True).fit(train.codes, seen.astype(int))
            importance.append(model.feature_importances_)
            right.append(_Named(model.predict(test.codes) == wanted))
            continue
        targets, truth = columns(factor, seen), columns(factor, wanted)
        models = [make(False).fit(train.codes, target) for target in targets.T]
        importance.append(np.sum([model.feature_importances_ for model in models], 0) / len(models))
        right.append(_Explained(truth, np.stack([model.predict(test.codes) for model in models], 1)))
    if tick:
        tick(len(train.about), len(train.about))
    said = f"{said}, {len(train)} rows to fit, {len(test)} to judge"
    return _scored(name, said, np.stack(importance, 1), right, len(test))


def _scored(
    name: str, said: str, importance: Float[np.ndarray, "D K"], right: list[_Explained | _Named], n: int
) -> DCI:
    disentangled, complete = _one_sided(importance), _one_sided(importance.T)

    def again(rng: np.random.Generator) -> float:
        rows = rng.integers(n, size=n)
        return float(np.mean([each.over(rows) for each in right]))

    fixed = "nothing: every replicate would fit all predictors again"
    informative = np.array([each.over(slice(None)) for each in right])
    return DCI(
        Score(f"dci_{name}_disentanglement", disentangled, said, n, fixed, parts={"importance": importance}),
        Score(f"dci_{name}_completeness", complete, said, n, fixed, parts={"importance": importance}),
        Score(
            f"dci_{name}_informativeness",
            float(informative.mean()),
            said,
            n,
            "the rows that judge; the predictors stay as they are",
            again,
            {"by_factor": informative},
        ),
        importance,
    )


def _one_sided(importance: Float[np.ndarray, "A B"]) -> float:
    """One less the entropy of each row, weighted by its share of all importance."""
    from scipy.special import entr

    total = importance.sum(1)
    if importance.shape[1] < 2 or not total.sum() > 0:
        return float(total.sum() > 0)
    shares = importance / np.where(total > 0, total, 1.0)[:, None]
    focus = 1 - entr(shares).sum(1) / np.log(importance.shape[1])
    return float((focus * total).sum() / total.sum())
