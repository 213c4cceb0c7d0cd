"""What commands print and write."""

__all__ = ["as_json", "columns", "target"]

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def columns(rows: Sequence[Sequence[str]]) -> str:
    """The cells of the rows, aligned."""
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(f"{cell:<{w}}" for cell, w in zip(row, wide, strict=True)).rstrip() for row in rows)


def as_json(value: Any) -> str:
    """One JSON document; numbers that are not finite must have been written as text before."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)


def target(out: str, *suffixes: str) -> Path:
    """The path of a file to be written, checked before the work is done.

    Raises:
        ValueError: for another suffix.
        OSError: if it cannot be written there.
    """
    from ..data.locate import make_folder

    path = Path(out)
    if path.suffix not in suffixes:
        raise ValueError(f"--out: wanted a name that ends in {' or '.join(suffixes)}, got {out!r}.")
    if path.is_dir():
        raise IsADirectoryError(f"--out: {path} is a folder. Name a file in it.")
    make_folder(path.parent, "Choose another with --out.")
    return path
