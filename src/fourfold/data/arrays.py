"""Arrays of one's own as a data set: their types and layouts, labels, splits; ``.npy``, ``.npz`` and images."""

__all__ = ["Parted", "assemble", "checksum", "from_arrays", "from_file", "from_sources"]

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._checks import choice
from .dataset import DataSet, Split
from .images import Source, decode, describe, folder_sources, zip_sources
from .locate import DataNotFound
from .readers import read_npz
from .rows import RESIDENT_BYTES, Array, Rows, blocks, nbytes, standard, take
from .splits import random_split
from .text import from_text

Parted = Mapping[str, tuple[Any, Any]]
"""Part (``"all"``, or ``"train"`` and perhaps ``"validation"``, ``"test"``) to rows and labels (or None)."""

_X = ("x", "images", "image", "data", "inputs", "arr_0")
_Y = ("y", "labels", "label", "targets", "target")
_PARTS = {"train": ("train", "training"), "validation": ("validation", "valid", "val"), "test": ("test",)}


def from_arrays(
    x: np.ndarray, labels: np.ndarray | None = None, *, name: str = "array", split: str | None = None, seed: int = 0
) -> DataSet:
    """A data set of an array in memory.

    uint8 values are levels (256 of them, or 2 if none is above 1); booleans are 0 and 1; whole numbers from 0 to 255
    become levels; floats are taken as they are, as float32. Images are ``(N, H, W)``, ``(N, C, H, W)`` or
    ``(N, H, W, C)``; labels are whole numbers from 0, or strings (numbered in alphabetical order).

    Args:
        x: the rows.
        labels: one per row.
        name: for people and for the protocol.
        split: ``"random"`` (80/10/10, the default) or ``"all"`` (all in train, nothing held out).
        seed: of the random split.

    Raises:
        ValueError: for types, shapes, values or labels that mean nothing.

    Example:
        >>> from_arrays(np.arange(200).reshape(100, 2) % 256)
        DataSet('array', shape=(2,), levels=256, classes=None, train 80, validation 10, test 10)
    """
    return assemble(name, {"all": (x, labels)}, split, seed, {"source": "array"})


def from_file(path: Path, split: str | None = None, seed: int = 0, size: tuple[int, int] | None = None) -> DataSet:
    """A data set of a ``.npy`` or ``.npz`` file, of a text, of a folder of shards or images, or of a zip of images.

    Args:
        path: an existing file or folder.
        split: as in :func:`from_arrays`; ``"given"`` (the default there) where the file or folder has parts.
        seed: of the random split.
        size: (H, W) to resize images to.

    Raises:
        DataNotFound: if there is no such file.
        ValueError: for other formats, and for damaged files.
    """
    if not path.exists():
        raise DataNotFound(f"there is no file or folder {path}. Check the name.")
    if path.is_dir():
        from .shards import are_shards, from_shards

        if are_shards(path):
            if size is not None:
                raise ValueError(f"{path}: size is of images, and these are arrays. Leave it out.")
            return from_shards(path, split, seed)
        return from_sources(folder_sources(path), str(path), split, seed, size)
    suffix = path.suffix.lower()
    if suffix == ".zip":
        stat = path.stat()
        sources = zip_sources(path, str(path), f"{stat.st_size}|{stat.st_mtime_ns}")
        return from_sources(sources, str(path), split, seed, size)
    if path.name.lower().endswith((".txt", ".txt.gz")):
        if size is not None:
            raise ValueError(f"{path}: size is of images, and this is text. Leave it out.")
        return from_text(path, split, seed)
    if suffix not in (".npy", ".npz"):
        raise ValueError(
            f"{path}: wanted .npy, .npz, .txt, .zip or a folder of images, got {suffix or 'a file without suffix'!r}. "
            "Save your array with np.savez(file, x=..., y=...)."
        )
    parts = {"all": (_npy(path), None)} if suffix == ".npy" else _npz_parts(path)
    return assemble(path.stem, parts, split, seed, {"source": str(path)})


def from_sources(
    sources: Sequence[Source], where: str, split: str | None, seed: int, size: tuple[int, int] | None
) -> DataSet:
    """A data set of encoded pictures; their folders name the labels, or train, validation and test."""
    path = decode(sources, where, size)
    x = _npy(path)
    parts, labels = describe([source.name for source in sources])
    rows: dict[str, list[int]] = {}
    for row, part in enumerate(parts):
        rows.setdefault(part or "all", []).append(row)
    y = None if labels[0] is None else np.array(labels)
    parted = {p: (take(x, np.array(r)), None if y is None else y[r]) for p, r in rows.items()}
    protocol: dict[str, Any] = {"source": where, "decoded": path.name}
    if size:
        protocol["resized"] = list(size)
    return assemble(Path(where).resolve().stem, parted, split, seed, protocol)


def assemble(name: str, parts: Parted, split: str | None, seed: int, protocol: Mapping[str, Any]) -> DataSet:
    """A data set of parts as read: types, layout, levels, labels and the split settled for all of them."""
    allowed = ("given",) if "train" in parts else ("random", "all")
    split = choice(split or allowed[0], allowed, f"data {name!r}: split")
    rows = {part: _rows(x, f"data {name!r}: x") for part, (x, _) in parts.items()}
    labels, names = _number({part: y for part, (_, y) in parts.items()}, name)
    levels = _levels(list(rows.values()))
    classes = None if not labels else 1 + max(int(y.max(initial=0)) for y in labels.values())
    whole = {part: Split(x, labels.get(part)) for part, x in rows.items()}
    seeded = {"seed": seed} if split == "random" else {}
    protocol = {"split": split, **seeded, **protocol, "checksum": checksum(whole)}
    if split == "random":
        every = whole["all"]
        made = random_split(every.x, every.labels, seed, name)
        return DataSet(name, *made, levels, classes, protocol, class_names=names)
    first = whole["all" if split == "all" else "train"]
    held = whole.get("validation"), whole.get("test")
    return DataSet(name, first, *held, levels, classes, protocol, class_names=names)


def checksum(parts: Mapping[str, Split]) -> str:
    """Of the rows and labels of every part, wherever they come from; of 4,096 rows of what does not fit in memory."""
    digest = hashlib.blake2b(digest_size=16)
    for part, split in parts.items():
        x = split.x
        digest.update(f"{part} {x.shape} {x.dtype}".encode())
        some = x if nbytes(x) < RESIDENT_BYTES else take(x, np.linspace(0, len(x) - 1, 4096).astype(np.int64))
        for block in blocks(some):
            digest.update(np.ascontiguousarray(block).data)
        if split.labels is not None:
            digest.update(split.labels.tobytes())
    return digest.hexdigest()


def _rows(x: Any, name: str) -> Array:
    if isinstance(x, Rows):
        return x
    x = np.asarray(x)
    if 0 in x.shape:
        raise ValueError(f"{name}: wanted at least one row, got shape {x.shape}.")
    if x.dtype.kind in "iu" and x.dtype != np.uint8:
        low, high = int(x.min()), int(x.max())
        if low < 0 or high > 255:
            raise ValueError(
                f"{name}: whole numbers must be levels 0..255, got {low}..{high} ({x.dtype}). "
                "Scale them and give float32, as real values."
            )
        x = x.astype(np.uint8)
    if x.dtype.kind == "f" and x.dtype.itemsize > 4 and np.abs(x).max() > np.finfo(np.float32).max:
        raise ValueError(f"{name}: values must be finite and fit float32, got up to {np.abs(x).max():g}. Scale them.")
    return standard(x, name)


def _levels(rows: Sequence[Array]) -> int | None:
    if rows[0].dtype != np.uint8:
        return None
    return 256 if any(block.max() > 1 for x in rows for block in blocks(x)) else 2


def _number(labels: Mapping[str, Any], name: str) -> tuple[dict[str, np.ndarray], tuple[str, ...] | None]:
    """Labels as whole numbers, by part; and the names they stand for, if they were strings."""
    given = {part: np.asarray(y) for part, y in labels.items() if y is not None}
    if not given:
        return {}, None
    if any(y.dtype.kind in "OSU" for y in given.values()):
        words = {part: y.astype(str) for part, y in given.items()}
        names = sorted(set(np.concatenate([y.ravel() for y in words.values()]).tolist()))
        given = {part: np.searchsorted(np.array(names), y) for part, y in words.items()}
        return given, tuple(names)
    for y in given.values():
        if y.ndim == 2 and y.shape[1] > 1:
            raise ValueError(
                f"data {name!r}: labels must be one number per row, got shape {y.shape}. Use argmax(axis=1)."
            )
    return {part: y.reshape(-1) if y.ndim == 2 else y for part, y in given.items()}, None


def _npy(path: Path) -> Array:
    try:
        if path.stat().st_size >= RESIDENT_BYTES:
            return Rows(path)
        return np.load(path, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as .npy: {error}. Save it with np.save(file, x).") from None


def _npz_parts(path: Path) -> Parted:
    arrays = read_npz(path.read_bytes(), str(path))
    named = {key.lower(): value for key, value in arrays.items()}
    parts = {}
    for part, words in _PARTS.items():
        x = _pick(named, [name for w in words for k in _X for name in (f"{k}_{w}", f"{w}_{k}")] + list(words))
        y = _pick(named, [name for w in words for k in _Y for name in (f"{k}_{w}", f"{w}_{k}")])
        if x is not None:
            parts[part] = (x, y)
    if "train" in parts:
        return parts
    x = _pick(named, _X)
    if x is None and len(named) == 1:
        x = next(iter(named.values()))
    if x is None:
        raise ValueError(
            f"{path}: wanted an array named x, images or data (or x_train, x_test), "
            f"found {', '.join(arrays) or 'none'}. Save it with np.savez(file, x=..., y=...)."
        )
    return {"all": (x, _pick(named, _Y))}


def _pick(arrays: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray | None:
    return next((arrays[name] for name in names if name in arrays), None)
