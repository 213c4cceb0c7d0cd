"""Images as they come and as they go: what every source of them offers, and what is needed to write them back."""

__all__ = ["Images", "axes_of", "codes_of", "stored", "turned"]

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .._shapes import Shape


class Images(ABC):
    """Images of one shape in a file, a folder or an array: read in blocks, from the first, as often as asked.

    Args:
        n: how many there are.
        shape: of one, as the model has it: ``(C, H, W)`` or ``(D,)``.
        form: what is needed to write them back as they were, as JSON can hold it.
        labels: the class of each, ``(n,)`` whole numbers, if the model is to be told it.
    """

    def __init__(self, n: int, shape: Shape, form: dict[str, Any], labels: np.ndarray | None = None) -> None:
        self.n, self.shape, self.form, self.labels = n, shape, form, labels

    @abstractmethod
    def blocks(self, sizes: Sequence[int]) -> Iterator[np.ndarray]:
        """Blocks of so many images each, uint8, ``(size, *shape)``."""

    @abstractmethod
    def kept(self, name: str) -> Iterator[bytes]:
        """What must be kept beside the images under one of the names in ``form["kept"]``, piece by piece."""

    def name(self, row: int) -> str:
        """What one image is called in errors."""
        return f"row {row}"


def axes_of(item: Shape, shape: Shape, where: str) -> str:
    """How one stored image relates to the model's shape: ``"same"``, ``"no channel"`` or ``"channels last"``.

    Raises:
        ValueError: if it is of another size.

    Example:
        >>> axes_of((28, 28), (1, 28, 28), "x"), axes_of((28, 28, 3), (3, 28, 28), "x")
        ('no channel', 'channels last')
    """
    if item == shape:
        return "same"
    if len(shape) == 3 and shape[0] == 1 and item == shape[1:]:
        return "no channel"
    if len(shape) == 3 and item == (*shape[1:], shape[0]):
        return "channels last"
    raise ValueError(
        f"{where}: images of shape {item}, but this model was trained on shape {shape}. Take a run that was trained "
        "on images of this size, or bring the images to the model's."
    )


def turned(block: np.ndarray, axes: str) -> np.ndarray:
    """Stored images, ``(size, *item)``, in the model's layout."""
    if axes == "no channel":
        return block[:, None]
    return block.transpose(0, 3, 1, 2) if axes == "channels last" else block


def stored(block: np.ndarray, axes: str) -> np.ndarray:
    """Images in the model's layout as they were stored, in C order: undoes :func:`turned`."""
    if axes == "no channel":
        block = block[:, 0]
    return np.ascontiguousarray(block.transpose(0, 2, 3, 1) if axes == "channels last" else block)


def codes_of(labels: np.ndarray | None, classes: Sequence[str], where: str) -> np.ndarray:
    """Labels as the numbers that a conditional model knows: whole numbers as they are, strings by name.

    Raises:
        ValueError: if there are none, or some that the model does not know.

    Example:
        >>> codes_of(np.array(["cat", "dog", "cat"]), ("ant", "cat", "dog"), "pets.npz")
        array([1, 2, 1])
    """
    if labels is None or not labels.size:
        raise ValueError(
            f"{where}: this model is conditioned on a label, and there are none. Save them with the images: "
            "np.savez(file, x=…, y=…)."
        )
    labels = labels.reshape(-1)
    if labels.dtype.kind in "US":
        number = {name: i for i, name in enumerate(classes)}
        words = labels.astype(str).tolist()
        if foreign := sorted(set(words) - set(number)):
            raise ValueError(f"{where}: the model knows no class {foreign[0]!r}; it knows {', '.join(classes[:10])}.")
        return np.array([number[word] for word in words], np.int64)
    if labels.dtype.kind not in "iu":
        raise ValueError(f"{where}: labels must be whole numbers or strings, got {labels.dtype}. Convert them.")
    if int(labels.min()) < 0 or int(labels.max()) >= len(classes):
        got = f"{labels.min()} to {labels.max()}"
        raise ValueError(f"{where}: this model takes labels from 0 to {len(classes) - 1}, got {got}.")
    return labels.astype(np.int64)
