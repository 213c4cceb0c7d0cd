"""Splits with a name: which rows are learnt from and which are held out."""

__all__ = ["PUBLISHED", "Parts", "burda", "larochelle", "random_split", "shuffled", "vamp"]

from collections.abc import Callable

import numpy as np

from .dataset import Split
from .rows import Array, take

Parts = tuple[Split, Split | None, Split | None]
"""Train, validation, test."""


def shuffled(n: int, seed: int, *held: int) -> list[np.ndarray]:
    """The numbers below n, shuffled once and dealt out: the rest, then each of the held sizes; every part sorted.

    Args:
        n: how many.
        seed: any integer. The legacy generator of NumPy is used because its stream never changes.
        held: sizes of the parts at the end.
    """
    order = np.random.RandomState(seed % 2**32).permutation(n)
    cuts = np.cumsum([n - sum(held), *held])[:-1]
    return [np.sort(part) for part in np.split(order, cuts)]


def random_split(x: Array, labels: np.ndarray | None, seed: int, name: str = "data") -> Parts:
    """80 % to learn from, 10 % each for validation and test, chosen by the seed.

    Raises:
        ValueError: if there are fewer than three rows.

    Example:
        >>> [len(part) for part in random_split(np.zeros((50, 2), np.float32), None, seed=0)]
        [40, 5, 5]
    """
    if len(x) < 3:
        raise ValueError(
            f"{name}: split='random' wants at least 3 rows, got {len(x)}. Use split='all' to keep them together."
        )
    tenth = max(1, len(x) // 10)
    train, validation, test = (
        Split(take(x, part), None if labels is None else labels[part]) for part in shuffled(len(x), seed, tenth, tenth)
    )
    return train, validation, test


def burda(train: Split, test: Split) -> tuple[Split, Split, Split]:
    """The last 400 rows of train, unshuffled, for validation (Burda, Grosse, Salakhutdinov 2016, arXiv 1509.00519)."""
    return (*_cut(train, len(train) - 400), test)


def larochelle(train: Split, test: Split) -> tuple[Split, Split, Split]:
    """The first 50,000 rows to learn from, the others for validation (Larochelle, Murray 2011)."""
    return (*_cut(train, 50_000), test)


def vamp(train: Split, test: Split) -> tuple[Split, Split, Split]:
    """The Larochelle split with validation and test binarised once (Tomczak, Welling 2018, arXiv 1705.07120).

    The draws are those of the published code: NumPy's legacy generator at seed 777, validation first. They are stored
    as levels 0 and 255, which dynamic binarisation leaves as they are.
    """
    rest, validation, test = larochelle(train, test)
    state = np.random.RandomState(777)
    return rest, _binarised(validation, state), _binarised(test, state)


PUBLISHED: dict[str, Callable[[Split, Split], tuple[Split, Split, Split]]] = {
    "burda": burda,
    "larochelle": larochelle,
    "vamp": vamp,
}
"""The splits of 60,000 + 10,000 images that the literature reports on."""


def _cut(split: Split, at: int) -> tuple[Split, Split]:
    x, y = np.asarray(split.x), split.labels
    return Split(x[:at], None if y is None else y[:at]), Split(x[at:], None if y is None else y[at:])


def _binarised(split: Split, state: np.random.RandomState) -> Split:
    probability = np.asarray(split.x).astype(np.float32) / np.float32(255)
    return Split((state.binomial(1, probability) * 255).astype(np.uint8), split.labels)
