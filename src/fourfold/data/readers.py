"""Readers of the formats that data sets are published in: IDX, AMAT text, MATLAB, NPZ. None of them unpickles."""

__all__ = ["read_amat", "read_idx", "read_mat", "read_npz"]

import io
from math import prod

import numpy as np
from jaxtyping import UInt8


def read_idx(data: bytes, name: str, ndim: int) -> UInt8[np.ndarray, "..."]:
    """The array of bytes in an IDX file: two zero bytes, the type, the number of dimensions, the sizes, the values.

    Args:
        data: the content of the file, uncompressed.
        name: of the file, for errors.
        ndim: 3 for images, 1 for labels.

    Raises:
        ValueError: if the magic number, the dimensions or the length are wrong.

    Example:
        >>> read_idx(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9]), "labels", ndim=1)
        array([7, 8, 9], dtype=uint8)
    """
    if len(data) < 4 or data[:2] != b"\0\0":
        raise ValueError(f"{name} is not an IDX file: it starts with {data[:4]!r}, wanted two zero bytes.")
    if data[2] != 8 or data[3] != ndim:
        raise ValueError(f"{name}: wanted IDX bytes (type 8) in {ndim} dimensions, got type {data[2]} in {data[3]}.")
    start = 4 + 4 * ndim
    shape = tuple(int.from_bytes(data[at : at + 4], "big") for at in range(4, start, 4))
    if len(data) - start != prod(shape):
        raise ValueError(
            f"{name} is damaged: shape {shape} does not go with {max(len(data) - start, 0)} bytes of values."
        )
    return np.frombuffer(data, dtype=np.uint8, offset=start).reshape(shape)


def read_amat(data: bytes, name: str, columns: int) -> UInt8[np.ndarray, "N D"]:
    """The 0/1 values of a text file with one datum a line, its values apart by blanks.

    Args:
        data: the content of the file.
        name: of the file, for errors.
        columns: how many values a line must have.

    Raises:
        ValueError: if there is anything but single digits 0 and 1, or a line of another length.

    Example:
        >>> read_amat(b"0 1 1\\n1 0 0\\n", "tiny.amat", columns=3)
        array([[0, 1, 1],
               [1, 0, 0]], dtype=uint8)
    """
    text = np.frombuffer(data, dtype=np.uint8)
    digit = (text == ord("0")) | (text == ord("1"))
    blank = (text == ord(" ")) | (text == ord("\n")) | (text == ord("\r")) | (text == ord("\t"))
    wrong = ~(digit | blank)
    wrong[1:] |= digit[1:] & digit[:-1]
    if wrong.any():
        where = int(np.argmax(wrong))
        raise ValueError(f"{name}: wanted 0 and 1 with blanks between, got {data[max(where - 1, 0) : where + 8]!r}.")
    ends = np.append(np.cumsum(digit)[text == ord("\n")], digit.sum())
    if not digit.any() or (ends % columns).any() or (np.diff(ends, prepend=0) > columns).any():
        raise ValueError(f"{name} is damaged: wanted lines of {columns} values each, got {digit.sum()} values in all.")
    return (text[digit] - ord("0")).reshape(-1, columns)


def read_mat(data: bytes, name: str, keys: tuple[str, ...]) -> list[np.ndarray]:
    """The named matrices of a MATLAB file (version 5 or 7).

    Args:
        data: the content of the file.
        name: of the file, for errors.
        keys: the matrices wanted.

    Raises:
        ValueError: if it cannot be read, or lacks one of them.
    """
    from scipy.io import loadmat

    try:
        matrices = loadmat(io.BytesIO(data), variable_names=keys)
    except Exception as error:  # scipy raises many kinds for damaged files
        raise ValueError(f"{name} cannot be read as a MATLAB file: {error}.") from None
    missing = [key for key in keys if key not in matrices]
    if missing:
        raise ValueError(f"{name}: wanted the matrices {', '.join(keys)}; missing: {', '.join(missing)}.")
    return [np.asarray(matrices[key]) for key in keys]


def read_npz(data: bytes, name: str) -> dict[str, np.ndarray]:
    """All arrays of an NPZ file.

    Raises:
        ValueError: if it is damaged, or holds objects (which would need pickle).
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}
    except Exception as error:  # damaged archives raise many kinds
        fix = "Save it with np.savez(file, x=..., y=...)."
        raise ValueError(f"{name} cannot be read as .npz: {error}. {fix}") from None
