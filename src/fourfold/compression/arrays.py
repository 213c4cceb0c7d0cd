"""Arrays of images, ``.npy`` and ``.npz``, read and written block by block: neither need fit in memory."""

__all__ = ["open_array", "open_npy", "open_npz", "write_npy", "write_npz"]

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.lib import format as npy

from .._files import whole
from .._shapes import Shape
from ..data.rows import Array
from .container import ContainerError
from .fields import Fields
from .header import Contents
from .images import Images, axes_of, codes_of, stored, turned

_X = ("x", "images", "image", "data", "inputs", "arr_0")
_Y = ("y", "labels", "label", "targets", "target")
_PIECE = 1 << 20
_DTYPES = ("|u1", "|b1")


@final
class _Array(Images):
    """Images in an array, or in a memory map."""

    def __init__(self, x: Array, shape: Shape, form: dict[str, Any], labels: np.ndarray | None = None) -> None:
        super().__init__(len(x), shape, form, labels)
        self._x = x

    def blocks(self, sizes: Sequence[int]) -> Iterator[np.ndarray]:
        start = 0
        for size in sizes:
            block = np.ascontiguousarray(self._x[start : start + size])
            yield turned(block.view(np.uint8), self.form["axes"])
            start += size

    def kept(self, name: str) -> Iterator[bytes]:
        raise KeyError(name)  # nothing is


def open_array(x: Array, labels: np.ndarray | None, shape: Shape, classes: Sequence[str] | None, where: str) -> Images:
    """Images of a data set, to be written back as an ``.npz`` file of ``x`` (and ``labels``, if the model knows them).

    Raises:
        ValueError: for other types and sizes, and for labels that the model does not know.
    """
    form = {"kind": "npz", "images": "x.npy", "deflated": True, "kept": []}
    form |= {"members": ["x.npy"], "labels": None, **_layout(tuple(x.shape), x.dtype, shape, f"{where}: x")}
    codes = None
    if classes is not None:
        codes = codes_of(labels, classes, where)
        form |= {"members": ["x.npy", "labels.npy"], "labels": _typed("labels.npy", codes)}
    return _Array(x, shape, form, codes)


def open_npy(path: Path, shape: Shape, classes: Sequence[str] | None = None) -> Images:
    """Images of an ``.npy`` file, memory-mapped.

    Raises:
        ValueError: for other types and sizes, for damaged files, and for models that want labels.
    """
    try:
        x = npy.open_memmap(path, mode="r")
    except Exception as error:  # damaged headers raise every kind of error
        raise ValueError(f"{path} cannot be read as .npy: {error}. Save it with np.save(file, x).") from None
    layout = _layout(x.shape, x.dtype, shape, str(path))
    if classes is not None:
        codes_of(None, classes, str(path))
    return _Array(x, shape, {"kind": "npy", "kept": [], **layout})


def _layout(whole_shape: Shape, dtype: np.dtype, shape: Shape, where: str) -> dict[str, Any]:
    """The part of the form that tells how an array lies."""
    if dtype.str not in _DTYPES:
        raise ValueError(
            f"{where}: wanted uint8 (levels, or 0 and 1) or bool, got {dtype}. Whole levels: x.astype(np.uint8); grey "
            "values in [0, 1]: np.round(255 * x).astype(np.uint8), if they are levels divided by 255."
        )
    if len(whole_shape) < 2 or min(whole_shape) < 1:
        raise ValueError(f"{where}: wanted at least one image, (N, H, W) or (N, C, H, W), got shape {whole_shape}.")
    return {"dtype": dtype.str, "axes": axes_of(whole_shape[1:], shape, where)}


def _typed(member: str, labels: np.ndarray) -> dict[str, Any]:
    """How labels that are stored as the model's codes were written."""
    return {"member": member, "dtype": labels.dtype.str, "column": labels.ndim == 2}


@final
class _Npz(Images):
    """Images of one array of an ``.npz`` file, read as a stream; the other arrays are kept beside them."""

    def __init__(self, path: Path, n: int, shape: Shape, form: dict[str, Any], labels: np.ndarray | None) -> None:
        super().__init__(n, shape, form, labels)
        self._path = path

    def blocks(self, sizes: Sequence[int]) -> Iterator[np.ndarray]:
        images = self.form["images"]
        with _readable(self._path), zipfile.ZipFile(self._path) as archive, archive.open(images) as stream:
            for block in _rows(stream, sizes):
                yield turned(block.view(np.uint8), self.form["axes"])

    def kept(self, name: str) -> Iterator[bytes]:
        with _readable(self._path), zipfile.ZipFile(self._path) as archive, archive.open(name) as stream:
            while piece := stream.read(_PIECE):
                yield piece


def open_npz(path: Path, shape: Shape, classes: Sequence[str] | None = None) -> Images:
    """Images of an ``.npz`` file: of its array x, images or data, or of the only one that can be images.

    Raises:
        ValueError: if there is none or several, for other types and sizes, for damaged files, and for labels that the
            model does not know.
    """
    with _readable(path), zipfile.ZipFile(path) as archive:
        members = archive.namelist()
        heads = {name: _head(archive, name) for name in members if name.endswith(".npy")}
        if len(set(members)) < len(members):
            raise ValueError("it has two arrays of one name")
        deflated = any(info.compress_type == zipfile.ZIP_DEFLATED for info in archive.infolist())
    images = _pick(heads, path)
    whole_shape, _, dtype = heads[images]
    layout = _layout(whole_shape, dtype, shape, f"{path}: {images.removesuffix('.npy')}")
    form: dict[str, Any] = {"kind": "npz", "images": images, "members": members, "deflated": deflated, **layout}
    codes, typed = None, None
    if classes is not None:
        name = next((f"{key}.npy" for key in _Y if f"{key}.npy" in heads), None)
        labels = None if name is None else _array(path, name)
        codes = codes_of(labels, classes, str(path))
        if len(codes) != whole_shape[0]:
            raise ValueError(f"{path}: wanted a label for each of {whole_shape[0]:,} images, got {len(codes):,}.")
        plain = labels is not None and labels.dtype.kind in "iu" and labels.shape in (codes.shape, (len(codes), 1))
        if name is not None and labels is not None and plain:
            typed = _typed(name, labels)
    form["labels"] = typed
    form["kept"] = [name for name in members if name != images and not (typed and name == typed["member"])]
    return _Npz(path, whole_shape[0], shape, form, codes)


def _pick(heads: dict[str, tuple[Shape, bool, np.dtype]], path: Path) -> str:
    """The array that holds the images."""
    can = [name for name, (shape, _, dtype) in heads.items() if dtype.str in _DTYPES and len(shape) >= 2]
    named = [f"{key}.npy" for key in _X if f"{key}.npy" in heads]
    if named or len(can) == 1:
        return (named or can)[0]
    if can:
        raise ValueError(
            f"{path}: several arrays could be the images: {', '.join(name.removesuffix('.npy') for name in can)}. "
            "Save each in a file of its own, as x."
        )
    found = ", ".join(name.removesuffix(".npy") for name in heads) or "none"
    raise ValueError(f"{path}: wanted an array of images named x, found {found}. Save it with np.savez(file, x=…).")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Damaged archives raise every kind of error: here they become one."""
    try:
        yield
    except Exception as error:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None):
            raise
        text = f"{path} cannot be read as .npz: {error}. Save it with np.savez(file, x=…, y=…)."
        raise ValueError(text) from None


def _head(archive: zipfile.ZipFile, name: str) -> tuple[Shape, bool, np.dtype]:
    """Shape, whether in Fortran order, and type of an array, from its first bytes."""
    with archive.open(name) as stream:
        return _header(stream)


def _header(stream: Any) -> tuple[Shape, bool, np.dtype]:
    version = npy.read_magic(stream)
    return npy.read_array_header_1_0(stream) if version == (1, 0) else npy.read_array_header_2_0(stream)


def _array(path: Path, name: str) -> np.ndarray:
    with _readable(path), np.load(path, allow_pickle=False) as arrays:
        return arrays[name.removesuffix(".npy")]


def _rows(stream: Any, sizes: Sequence[int]) -> Iterator[np.ndarray]:
    """Blocks of an ``.npy`` stream; an array in Fortran order cannot be cut into rows, and is read whole."""
    shape, fortran, dtype = _header(stream)
    item = shape[1:]
    if fortran:
        flat = np.frombuffer(_exactly(stream, prod(shape)), dtype)
        rows = flat.reshape(shape[::-1]).transpose()
        start = 0
        for size in sizes:
            yield np.ascontiguousarray(rows[start : start + size])
            start += size
        return
    for size in sizes:
        yield np.frombuffer(_exactly(stream, size * prod(item)), dtype).reshape(size, *item)
    if stream.read(1):
        raise ValueError("an array has more bytes than its shape says")  # reading to the end checks its CRC too


def _exactly(stream: Any, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise ValueError("an array has fewer bytes than its shape says")
    return data


def write_npy(contents: Contents, path: Path) -> None:
    """Writes the images as an ``.npy`` file, in C order; nothing is there before all of it is."""
    fields = Fields(contents.header.form, contents.where)
    with whole(path) as file:
        _write_images(contents, fields, file)


def write_npz(contents: Contents, path: Path) -> None:
    """Writes the images, the labels and what was kept as an ``.npz`` file, its arrays named and ordered as they were.

    Raises:
        ContainerError: if the form is not that of an ``.npz`` file.
    """
    fields = Fields(contents.header.form, contents.where)
    images, members, kept = fields.text("images"), fields.texts("members"), fields.texts("kept")
    labels = Fields(fields.inner("labels"), contents.where) if fields.has("labels") else None
    made = [images, *kept, *([labels.text("member")] if labels else [])]
    if sorted(made) != sorted(members) or (labels is not None and contents.header.labels is None):
        raise ContainerError(f"{contents.where}: says that it holds {members[:5]}, but it has {made[:5]}.")
    kind = zipfile.ZIP_DEFLATED if fields.flag("deflated") else zipfile.ZIP_STORED
    with whole(path) as file, zipfile.ZipFile(file, "w", kind) as archive:
        for name in members:
            # a date of its own would make two files of the same arrays differ
            with archive.open(_member(name, kind, contents.where), "w", force_zip64=True) as stream:
                if name == images:
                    _write_images(contents, fields, stream)
                elif name in kept:
                    for piece in contents.kept(name):
                        stream.write(piece)
                elif labels is not None:
                    _write_labels(contents, labels, stream)


def _member(name: str, kind: int, where: str) -> zipfile.ZipInfo:
    if "\0" in name or len(name.encode(errors="replace")) >= 1 << 16 or any("\ud800" <= a <= "\udfff" for a in name):
        raise ContainerError(f"{where}: holds the name {name[:60]!r}, which no archive can. It is no file of fourfold.")
    info = zipfile.ZipInfo(name)
    info.compress_type = kind
    return info


def _write_images(contents: Contents, fields: Fields, stream: Any) -> None:
    dtype = np.dtype(fields.text("dtype", _DTYPES))
    axes = fields.text("axes", ("same", "no channel", "channels last"))
    empty = stored(np.empty((0, *contents.header.shape), np.uint8), axes)
    _write_header(stream, dtype, (contents.header.n, *empty.shape[1:]))
    for block in contents.images():
        stream.write(stored(block, axes).astype(dtype, copy=False).data)


def _write_labels(contents: Contents, labels: Fields, stream: Any) -> None:
    dtype = np.dtype(
        labels.text("dtype", [f"{order}{kind}{size}" for order in "<>|" for kind in "iu" for size in "1248"])
    )
    shape = (contents.header.n, 1) if labels.flag("column") else (contents.header.n,)
    _write_header(stream, dtype, shape)
    stream.write(contents.labels().astype(dtype).data)


def _write_header(stream: Any, dtype: np.dtype, shape: Shape) -> None:
    npy.write_array_header_1_0(stream, {"descr": dtype.str, "fortran_order": False, "shape": shape})
