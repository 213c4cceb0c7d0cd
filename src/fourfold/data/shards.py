"""Data larger than memory: folders of ``.npy`` shards, read as one array, and how they are written."""

__all__ = ["are_shards", "from_shards", "write_shards"]

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .._checks import positive_int
from .arrays import assemble
from .dataset import DataSet
from .rows import Rows

_PARTS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
_LABELS = "labels"


def are_shards(folder: Path) -> bool:
    """Whether a folder holds shards: ``.npy`` files and no other folders, or parts that do so."""
    with os.scandir(folder) as entries:
        inside = [entry for entry in entries if not entry.name.startswith(".")]
    parts = [entry for entry in inside if entry.is_dir()]
    if parts:
        return all(entry.name in _PARTS and are_shards(folder / entry.name) for entry in parts)
    return any(entry.name.endswith(".npy") for entry in inside)


def from_shards(folder: Path, split: str | None = None, seed: int = 0) -> DataSet:
    """A data set of shards: ``.npy`` files of rows of one shape and type, which count through in the order of names.

    Rows are read where they are asked for; values, order and splits are those of one array of all of them. Files whose
    names begin with ``labels`` hold the labels of the others, as many and in the same order. Folders ``train``,
    ``validation`` and ``test`` are the parts.

    Args:
        folder: of the shards, or of the parts.
        split: ``"random"`` (80/10/10), ``"all"``; or ``"given"``, where there are parts.
        seed: of the random split.

    Raises:
        ValueError: a folder without shards; a torn one, or one of another shape or type; labels that do not fit.
    """
    parts = {_PARTS[path.name]: path for path in sorted(folder.iterdir()) if path.is_dir() and path.name in _PARTS}
    if parts and "train" not in parts:
        raise ValueError(f"{folder}: wanted a folder train beside {', '.join(parts)}, found none.")
    found = {part: _part(path) for part, path in (parts or {"all": folder}).items()}
    count = sum(len(x.paths) for x, _ in found.values())
    return assemble(folder.resolve().name, found, split, seed, {"source": str(folder), "shards": count})


def _part(folder: Path) -> tuple[Rows, np.ndarray | None]:
    files = sorted(path for path in folder.glob("*.npy") if not path.name.startswith("."))
    labels = [path for path in files if path.name.startswith(_LABELS)]
    files = [path for path in files if path not in set(labels)]
    if not files:
        raise ValueError(
            f"{folder}: wanted .npy files of rows, found none. Write them with fourfold.data.write_shards."
        )
    x = Rows(files)
    if not labels:
        return x, None
    if len(labels) != len(files):
        raise ValueError(f"{folder}: wanted as many labels*.npy as other shards, {len(files)}, found {len(labels)}.")
    read = [_labels(path) for path in labels]
    for path, own, rows, file in zip(labels, read, x.shards, files, strict=True):
        if len(own) != rows:
            raise ValueError(f"{path}: wanted a label for each of the {rows} rows of {file.name}, got {len(own)}.")
    return x, np.concatenate(read)


def _labels(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as .npy: {error}. Save it with np.save(file, labels).") from None


def write_shards(path: str | Path, arrays: Iterable[Any], rows_per_shard: int = 65_536) -> Path:
    """Writes arrays of rows, of any lengths, as a folder of shards that ``load`` reads; all of it, or nothing.

    Memory is that of one shard and one array.

    Args:
        path: the folder, which must not be there yet.
        arrays: of rows ``(n, …)`` of one shape and type; or pairs of rows and labels ``(n,)``.
        rows_per_shard: how many rows a file holds; the last one has what is left.

    Returns:
        The folder.

    Raises:
        FileExistsError: if there is something of that name.
        ValueError: arrays that differ, labels that are not one a row, or no rows at all.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as home:
        ...     folder = write_shards(f"{home}/mine", (np.ones((4, 2), np.uint8) for _ in range(5)), rows_per_shard=8)
        ...     sorted(file.name for file in folder.iterdir())
        ['x-00000.npy', 'x-00001.npy', 'x-00002.npy']
    """
    target, rows = Path(path), positive_int(rows_per_shard, "write_shards: rows_per_shard")
    if target.exists():
        raise FileExistsError(f"write_shards: {target} is there already. Choose another folder, or remove it.")
    target.parent.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        number = -1
        for number, (x, labels) in enumerate(_dealt(_checked(arrays), rows)):
            _save(home / f"x-{number:05}.npy", x)
            if labels is not None:
                _save(home / f"{_LABELS}-{number:05}.npy", labels)
        if number < 0:
            raise ValueError("write_shards: arrays: wanted at least one row, got none.")
        home.chmod(0o777 & ~_umask())  # a temporary folder is its owner's alone
        os.rename(home, target)
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise
    return target


_Piece = tuple[np.ndarray, np.ndarray | None]


def _checked(arrays: Iterable[Any]) -> Iterator[_Piece]:
    first: _Piece | None = None
    for number, given in enumerate(arrays):
        pair = given if isinstance(given, tuple) else (given, None)
        x, labels = np.asarray(pair[0]), None if pair[1] is None else np.asarray(pair[1])
        where = f"write_shards: array {number}"
        if x.ndim < 2 or x.dtype.hasobject:
            raise ValueError(f"{where}: wanted rows (n, …) of numbers, got shape {x.shape} of {x.dtype}.")
        if labels is not None and labels.shape != (len(x),):
            raise ValueError(f"{where}: wanted labels of shape ({len(x)},), got {labels.shape}.")
        kind = _kind(x), labels is not None
        if first is not None and kind != (_kind(first[0]), first[1] is not None):
            wanted = _kind(first[0]), "labels" if first[1] is not None else "no labels"
            raise ValueError(f"{where}: wanted {wanted} as before, got {_kind(x)}, {'labels' if kind[1] else 'none'}.")
        first = first or (x[:0], labels)
        yield x, labels


def _kind(x: np.ndarray) -> tuple[tuple[int, ...], str]:
    return x.shape[1:], str(x.dtype)


def _dealt(pieces: Iterator[_Piece], rows: int) -> Iterator[_Piece]:
    """The same rows in pieces of one length; what is left at the end is shorter."""
    held: list[_Piece] = []
    count = 0
    for x, labels in pieces:
        for start in range(0, len(x), rows):
            part = slice(start, start + rows)
            held.append((x[part], None if labels is None else labels[part]))
            count += len(held[-1][0])
            if count >= rows:
                whole, own = _joined(held)
                yield whole[:rows], None if own is None else own[:rows]
                count -= rows
                held = [(whole[rows:].copy(), None if own is None else own[rows:].copy())] if count else []
            else:  # whoever gives the arrays may fill the same memory again
                held[-1] = _joined(held[-1:])
    if count:
        yield _joined(held)


def _joined(held: list[_Piece]) -> _Piece:
    labels = [own for _, own in held if own is not None]
    return np.concatenate([x for x, _ in held]), np.concatenate(labels) if labels else None


def _save(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
