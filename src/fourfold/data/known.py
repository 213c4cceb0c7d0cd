"""How the files of the known data sets become splits."""

__all__ = [
    "Content",
    "amat_parts",
    "chardata_parts",
    "digits_parts",
    "drawings_parts",
    "frey_parts",
    "idx_parts",
    "small_parts",
]

import io
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, UInt8

from .dataset import Split
from .images import Source, decode, zip_sources
from .readers import read_amat, read_idx, read_mat, read_npz
from .splits import PUBLISHED, Parts, random_split, shuffled

Content = Mapping[str, tuple[bytes, str]]
"""File name to its content (uncompressed) and its MD5."""

_IDX = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def digits_parts(content: Content, seed: int) -> Parts:
    """The handwritten digits that scikit-learn carries; its levels 0..16 become round(255 v / 16)."""
    from sklearn.datasets import load_digits

    x, labels = load_digits(return_X_y=True)
    levels = np.round(np.asarray(x) * 255 / 16).astype(np.uint8)
    return random_split(levels.reshape(-1, 1, 8, 8), np.asarray(labels), seed, "digits")


def idx_parts(split: str) -> Callable[[Content, int], Parts]:
    """A reader of four IDX files, cut by a published split."""

    def read(content: Content, seed: int) -> Parts:
        x, y, x_test, y_test = (read_idx(content[name][0], name, ndim=3 if "images" in name else 1) for name in _IDX)
        if (len(x), len(x_test)) != (60_000, 10_000):
            raise ValueError(f"{_IDX[0]}, {_IDX[2]}: wanted 60,000 and 10,000 images, got {len(x)} and {len(x_test)}.")
        return PUBLISHED[split](Split(x[:, None], y), Split(x_test[:, None], y_test))

    return read


def amat_parts(content: Content, seed: int) -> Parts:
    """The statically binarised MNIST, already split in three files."""
    train, validation, test = (
        Split(read_amat(data, name, columns=784).reshape(-1, 1, 28, 28)) for name, (data, _) in content.items()
    )
    return train, validation, test


def chardata_parts(content: Content, seed: int) -> Parts:
    """Burda's Omniglot: shuffled with NumPy's legacy generator at 123 and cut, as in the published code."""
    ((name, (data, _)),) = content.items()
    columns, test = read_mat(data, name, ("data", "testdata"))
    x = _upright(columns, name)
    held = 1345
    if len(x) <= held:
        raise ValueError(f"{name}: wanted more than the {held} drawings that are held out, got {len(x)}.")
    x = x[np.random.RandomState(123).permutation(len(x))]
    return Split(x[:-held]), Split(x[-held:]), Split(_upright(test, name))


def _upright(columns: np.ndarray, name: str) -> Float[np.ndarray, "N 1 28 28"]:
    """Images from the columns of a MATLAB matrix, which holds each of them column by column (Fortran order)."""
    if columns.ndim != 2 or columns.shape[0] != 784:
        raise ValueError(f"{name}: wanted matrices of 784 rows, one drawing a column, got shape {columns.shape}.")
    return np.ascontiguousarray(columns.T.reshape(-1, 28, 28).transpose(0, 2, 1)[:, None], dtype=np.float32)


def drawings_parts(content: Content, seed: int) -> Parts:
    """Lake's Omniglot: the background alphabets to learn from (10 % held out), the evaluation alphabets for test."""
    x, y = _drawings(content)
    (background, _), _ = content.values()
    known = len(_zip(background, next(iter(content)), ""))
    train, validation = shuffled(known, seed, known // 10)
    return Split(x[train], y[train]), Split(x[validation], y[validation]), Split(x[known:], y[known:])


def small_parts(content: Content, seed: int) -> Parts:
    """The two small background sets together, each drawing once, split at random."""
    return random_split(*_drawings(content), seed, "omniglot_small")


def _drawings(content: Content) -> tuple[UInt8[np.ndarray, "N 1 28 28"], np.ndarray]:
    """The drawings of all archives, ink bright on dark, and the number of the character of each."""
    sources: dict[str, Source] = {}
    for name, (data, md5) in content.items():
        for source in _zip(data, name, md5):
            sources.setdefault(source.name, source)
    # The area kernel: a pixel's value is the share of ink in its cell.
    paper = np.load(decode(list(sources.values()), " + ".join(content), (28, 28), kernel="BOX"), allow_pickle=False)
    names = [source.name.rpartition("/")[0] for source in sources.values()]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return 255 - paper, np.array([numbers[name] for name in names])


def _zip(data: bytes, name: str, md5: str) -> Sequence[Source]:
    return zip_sources(io.BytesIO(data), name, md5)


def frey_parts(content: Content, seed: int) -> Parts:
    """Brendan Frey's face, frame by frame of one film: neighbours look alike, so a random split is an easy one."""
    ((name, (data, _)),) = content.items()
    if name.endswith(".npz"):
        arrays = read_npz(data, name)
        if "images" not in arrays:
            raise ValueError(f"{name}: wanted an array named images, found {', '.join(arrays) or 'none'}.")
        x = arrays["images"]
    else:
        (columns,) = read_mat(data, name, ("ff",))
        x = columns.T.reshape(-1, 28, 20)
    if x.dtype != np.uint8 or x.shape[1:] != (28, 20):
        raise ValueError(f"{name}: wanted uint8 images of 28 x 20, got {x.dtype} of shape {x.shape}.")
    return random_split(np.ascontiguousarray(x[:, None]), None, seed, "freyfaces")
