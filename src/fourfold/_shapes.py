"""Shapes: tuples of positive integers, and the folding of leading dimensions."""

__all__ = ["Shape", "as_shape", "size"]

from math import prod
from operator import index

Shape = tuple[int, ...]


def as_shape(value: int | tuple[int, ...] | list[int], name: str) -> Shape:
    """The value as a tuple of positive integers; an integer n means ``(n,)``."""
    given = tuple(value) if isinstance(value, tuple | list) else (value,)
    try:
        shape = tuple(index(n) for n in given)
    except TypeError:
        raise TypeError(f"{name} must be a positive integer or a tuple of them, got {value!r}.") from None
    if any(n < 1 or isinstance(v, bool) for n, v in zip(shape, given, strict=True)):
        raise ValueError(f"{name} must be positive, got {value!r}. Give an integer of at least 1.")
    return shape


def size(shape: Shape) -> int:
    """How many numbers an event of this shape holds."""
    return prod(shape)
