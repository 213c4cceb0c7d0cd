"""The data room: known data sets and one's own, their splits, what a model is shown of them, and their order."""

__all__ = [
    "CATALOG",
    "Batch",
    "DataNotFound",
    "DataSet",
    "DataSpec",
    "Factor",
    "Feed",
    "Order",
    "Quadrants",
    "Resident",
    "Rows",
    "Split",
    "Streaming",
    "View",
    "Vocabulary",
    "available",
    "binarized_mnist",
    "check_binarize",
    "digits",
    "fashion_mnist",
    "feed",
    "fits",
    "freyfaces",
    "from_arrays",
    "from_lines",
    "load",
    "mnist",
    "omniglot",
    "omniglot_small",
    "order_of",
    "sentences",
    "shards",
    "window_of",
    "write_shards",
]

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arrays import from_arrays
from .catalog import CATALOG, available, load
from .dataset import DataSet, DataSpec, Split
from .factors import Factor
from .locate import DataNotFound
from .rows import Rows
from .shards import are_shards, write_shards
from .text import from_lines
from .vocabulary import Vocabulary

if TYPE_CHECKING:
    from .feeds import Feed, Resident, Streaming, feed, fits
    from .order import Order, order_of, window_of
    from .view import Batch, Quadrants, View, check_binarize

# What needs torch is fetched when first used: listing the data sets does not.
_HOME = {
    "Batch": "view",
    "Feed": "feeds",
    "Order": "order",
    "Quadrants": "view",
    "Resident": "feeds",
    "Streaming": "feeds",
    "View": "view",
    "check_binarize": "view",
    "feed": "feeds",
    "fits": "feeds",
    "order_of": "order",
    "window_of": "order",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def digits(seed: int = 0) -> DataSet:
    """The 1,797 handwritten 8 x 8 digits that scikit-learn carries.

    Example:
        >>> digits().shape
        (1, 8, 8)
    """
    return load("digits", seed=seed)


def mnist(split: str | None = None, *, data_dir: str | Path | None = None, download: bool = True) -> DataSet:
    """MNIST; split ``"burda"`` (the default), ``"larochelle"`` or ``"vamp"``."""
    return load("mnist", split=split, data_dir=data_dir, download=download)


def fashion_mnist(split: str | None = None, *, data_dir: str | Path | None = None, download: bool = True) -> DataSet:
    """Fashion-MNIST; the splits of MNIST (Xiao, Rasul, Vollgraf 2017, arXiv 1708.07747)."""
    return load("fashion_mnist", split=split, data_dir=data_dir, download=download)


def binarized_mnist(*, data_dir: str | Path | None = None, download: bool = True) -> DataSet:
    """MNIST binarised once, as Larochelle published it (static MNIST)."""
    return load("binarized_mnist", data_dir=data_dir, download=download)


def omniglot(
    split: str | None = None, *, data_dir: str | Path | None = None, seed: int = 0, download: bool = True
) -> DataSet:
    """Omniglot at 28 x 28; split ``"burda"`` (the default: the file of the IWAE paper) or ``"lake"`` (the drawings)."""
    return load("omniglot", split=split, data_dir=data_dir, seed=seed, download=download)


def omniglot_small(*, data_dir: str | Path | None = None, seed: int = 0, download: bool = True) -> DataSet:
    """The two small background sets of Omniglot, at 28 x 28."""
    return load("omniglot_small", data_dir=data_dir, seed=seed, download=download)


def freyfaces(*, data_dir: str | Path | None = None, seed: int = 0, download: bool = True) -> DataSet:
    """Brendan Frey's face: 1,965 frames of 28 x 20."""
    return load("freyfaces", data_dir=data_dir, seed=seed, download=download)


def shards(path: str | Path, *, split: str | None = None, seed: int = 0) -> DataSet:
    """A folder of ``.npy`` shards as one array, read where it is asked for; :func:`write_shards` writes such folders.

    Args:
        path: of the folder.
        split: ``"random"`` or ``"all"``; ``"given"`` where there are folders ``train``, ``validation``, ``test``.
        seed: of the random split.

    Raises:
        DataNotFound: if there is no such folder.
        ValueError: for anything but a folder of shards; for shards that are torn, or differ in shape or type.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise DataNotFound(f"there is no folder {folder}. Check the name, or write it with fourfold.data.write_shards.")
    if not are_shards(folder):
        raise ValueError(f"{folder}: wanted a folder of .npy files and no others, or of such folders train, test.")
    return load(folder.absolute(), split=split, seed=seed)  # a folder mnist is not the data set of that name


def sentences(*, data_dir: str | Path | None = None) -> DataSet:
    """The sentences of the Stanford Sentiment Treebank, tokenised: 8,544, 1,101 and 2,210 (Socher et al. 2013)."""
    return load("sentences", data_dir=data_dir)
