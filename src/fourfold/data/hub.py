"""Data sets of the Hugging Face hub, by id; needs the extra ``hf``."""

__all__ = ["from_hub"]

import io
from collections.abc import Callable
from typing import Any

from .arrays import from_sources
from .dataset import DataSet
from .images import Source

_PARTS = ("train", "validation", "test")


def from_hub(name: str, split: str | None = None, seed: int = 0, size: tuple[int, int] | None = None) -> DataSet:
    """A data set of pictures on the Hugging Face hub, decoded once to the cache folder.

    The first image column is taken, and the first column of class labels, if there is one. Nothing of the repository
    is executed. Its own train, validation and test are kept where it has them.

    Args:
        name: ``owner/name``.
        split: as in :func:`~fourfold.data.from_file`.
        seed: of the random split.
        size: (H, W) to resize images to.

    Raises:
        ImportError: without the package ``datasets``.
        ValueError: if there is no image column.
    """
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError(f"hf:{name} needs the package 'datasets'. Install it: pip install 'fourfold[hf]'") from None
    tables = dict(datasets.load_dataset(name))
    parted = "train" in tables and len(tables) > 1
    sources: list[Source] = []
    for part, table in tables.items():
        if not parted or part in _PARTS:
            sources += _sources(table, name, datasets, str(part) if parted else None)
    return from_sources(sources, f"hf:{name}", split, seed, size)


def _sources(table: Any, name: str, datasets: Any, part: str | None) -> list[Source]:
    features = table.features
    column = next((key for key, kind in features.items() if isinstance(kind, datasets.Image)), None)
    if column is None:
        raise ValueError(f"hf:{name} has no column of images. Its columns: {', '.join(features)}.")
    words = _words(table, features, datasets)
    encoded = table.cast_column(column, datasets.Image(decode=False))
    stamp = str(getattr(table, "_fingerprint", len(table)))
    sources = []
    for row in range(len(table)):
        path = [part, None if words is None else words[row], f"{row:08d}"]
        sources.append(Source("/".join(step for step in path if step), _open(encoded, row, column), stamp))
    return sources


def _words(table: Any, features: Any, datasets: Any) -> list[str] | None:
    """The names of the class labels, as folders; None if there are none (-1 stands for a label withheld)."""
    label = next((key for key, kind in features.items() if isinstance(kind, datasets.ClassLabel)), None)
    if label is None or min(table[label], default=-1) < 0:
        return None
    return [features[label].int2str(number).replace("/", "_") for number in table[label]]


def _open(table: Any, row: int, column: str) -> Callable[[], io.BytesIO | io.BufferedReader]:
    def read() -> io.BytesIO | io.BufferedReader:
        cell = table[row][column]
        return io.BytesIO(cell["bytes"]) if cell["bytes"] is not None else open(cell["path"], "rb")

    return read
