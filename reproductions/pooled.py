"""MNIST pooled to 14 × 14, where models that look pixel by pixel take minutes on a CPU and not hours.

``mnist_14()`` in Python; ``python -m reproductions.pooled mnist_14.npz`` writes a file for ``fourfold --data``.
Likelihoods of these images are to be compared with one another only, never with those of 28 × 28.
"""

__all__ = ["main", "mnist_14", "pooled"]

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import fourfold as ff
from fourfold._files import whole
from fourfold.data.arrays import checksum


def pooled(x: np.ndarray) -> np.ndarray:
    """Means of 2 × 2 pixels, rounded (halves up) to 8 bits again: ``(N, C, H, W)`` to ``(N, C, H/2, W/2)``.

    Example:
        >>> pooled(np.array([[[[0, 255, 9, 9], [255, 0, 9, 8]]]], np.uint8)).tolist()
        [[[[128, 9]]]]
    """
    wide = x.astype(np.uint16)
    total = wide[..., ::2, ::2] + wide[..., 1::2, ::2] + wide[..., ::2, 1::2] + wide[..., 1::2, 1::2]
    return ((total + 2) // 4).astype(np.uint8)


def mnist_14(data: ff.DataSet | None = None) -> ff.DataSet:
    """MNIST in the split of Burda et al. 2015, pooled; binarise it dynamically, as a binary likelihood does by itself.

    Args:
        data: other images of 8 bits with even sides; MNIST if not given.
    """
    full = data or ff.data.load("mnist", split="burda")
    parts = {part: replace(split, x=pooled(np.asarray(split.x))) for part, split in full.parts.items()}
    name = f"{full.name}_{full.shape[-1] // 2}"
    now = {"dataset": name, "pooled": "means of 2 x 2 pixels, rounded to 8 bits", "checksum": checksum(parts)}
    return replace(full, **parts, name=name, protocol={**full.protocol, **now}, origin=None)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the images and their labels to a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="such as mnist_14.npz")
    out, data = parser.parse_args(arguments).out, mnist_14()
    rows = {f"x_{part}": np.asarray(split.x) for part, split in data.parts.items()}
    labels = {f"y_{part}": split.labels for part, split in data.parts.items() if split.labels is not None}
    with whole(out) as file:
        np.savez_compressed(file, allow_pickle=False, **rows, **labels)


if __name__ == "__main__":
    main()
