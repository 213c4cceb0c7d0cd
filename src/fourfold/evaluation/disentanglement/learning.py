"""The classifiers of scikit-learn as metrics use them: defaults, an explicit seed, and no complaint on the way."""

__all__ = ["lasso", "logistic", "quietly"]

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from jaxtyping import Float, Int


@contextmanager
def quietly() -> Iterator[None]:
    """Without the warning that a solver stopped at its limit: published protocols stop there too."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def lasso(x: Float[np.ndarray, "n D"], y: Float[np.ndarray, "n C"], strength: float) -> Any:
    """Linear regressions with an L1 penalty, one for each column of y, fitted."""
    from sklearn.linear_model import Lasso

    with quietly():
        return Lasso(alpha=strength).fit(x, y)


def logistic(x: Float[np.ndarray, "n D"], y: Int[np.ndarray, " n"]) -> Any:
    """A multinomial logistic regression with scikit-learn's defaults, fitted."""
    from sklearn.linear_model import LogisticRegression

    with quietly():
        return LogisticRegression().fit(x, y)
