"""What an image costs to compress and to restore: bits-back coding, the model's passes alone, gzip, xz, PNG.

Run with `python -m benchmarks.coding`. All take the same images, interleaved in one process: binary ones under the
model of BB-ANS (784-100-40, Bernoulli; Townsend, Bird and Barber, 2019, arXiv:1901.04866), 8-bit ones under 784-200-50
with a beta-binomial, each trained for a moment so that its posteriors are of a usual width. From arrays to bytes and
back: no file is read or written. MB are of the images as they come, one byte a pixel.
"""

from __future__ import annotations

import argparse
import io
import lzma
import os
import tempfile
import zlib
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks.harness import (
    Absent,
    Candidate,
    Protocol,
    Row,
    candidate,
    compare,
    machine,
    positive,
    save,
    show,
    timed,
)
from benchmarks.loops import PIXELS

if TYPE_CHECKING:
    from fourfold.compression import Block, Codec
    from fourfold.models import Model

__all__ = ["main"]

BASES = ("passes", "gzip -9")
_TRAINED = 5_000  # images, once through


def images(count: int) -> tuple[np.ndarray, str]:
    """8-bit images `(count, 1, 28, 28)` and their name: MNIST (`FOURFOLD_DATA`), else noise where there is ink."""
    if os.environ.get("FOURFOLD_DATA"):
        import fourfold as ff

        return ff.data.load("mnist").train.x[:count], "MNIST; binary: threshold 128"
    draw = np.random.default_rng(0)
    ink = draw.random((count, 1, 28, 28)) < 0.19  # the share of pixels that are not black in MNIST
    return ink * draw.integers(1, 256, ink.shape, dtype=np.uint8), "synthetic"


def model(x: np.ndarray, likelihood: str, latent: int, hidden: int) -> Model:
    """A VAE that has seen some images once."""
    import fourfold as ff
    from fourfold.data import DataSet, Split

    data = DataSet("images", Split(x), None, None, levels=2 if likelihood == "bernoulli" else 256, classes=None)
    recipe = ff.recipes.vae(latent=latent, hidden=(hidden,), likelihood=likelihood)
    with tempfile.TemporaryDirectory() as folder:
        return ff.fit(recipe, data, epochs=1, binarize="none", quiet=True, out=Path(folder) / "run").model


def codec(trained: Model) -> Codec:
    """The model as a code."""
    from fourfold.compression import check_codable

    try:
        return check_codable(trained, (1, 28, 28))
    except ImportError as reason:
        raise Absent(str(reason)) from None


def encoded(trained: Model, x: np.ndarray) -> Block:
    """The images as a block, without trying whether it decodes."""
    from fourfold.compression import CodingOptions

    return codec(trained).encode(x, options=CodingOptions(verify=False))


def decoding(trained: Model, x: np.ndarray) -> Callable[[], object]:
    """Gives the images back."""
    code, block = codec(trained), encoded(trained, x)
    if not np.array_equal(code.decode(block), x):
        raise ArithmeticError("decoding: other images came back")
    return lambda: code.decode(block)


def passes(trained: Model, x: np.ndarray, chunk: int = 100) -> Callable[[], object]:
    """Encoder and decoder once for each image, in float64 as coding has them, and nothing else."""
    from fourfold.noise import Noise

    double = deepcopy(trained).double()
    values = torch.tensor(x, dtype=torch.float64) / max(int(x.max()), 1)

    def piece() -> None:
        with torch.no_grad():
            for rows in values.split(chunk):
                double(rows, noise=Noise(0))

    return piece


def pictures(x: np.ndarray) -> Callable[[], object]:
    """Each image as a PNG."""
    from PIL import Image

    whole = x if x.max() > 1 else x * np.uint8(255)
    return lambda: [Image.fromarray(image[0]).save(io.BytesIO(), "PNG", optimize=True) for image in whole]


def table(trained: Model, x: np.ndarray, protocol: Protocol) -> list[Row]:
    """Race all candidates on some images."""
    n, raw = len(x), x.tobytes()
    field: list[Candidate] = [
        candidate("encode", lambda: timed(lambda: encoded(trained, x), n)),
        candidate("decode", lambda: timed(decoding(trained, x), n)),
        candidate("passes", lambda: timed(passes(trained, x), n)),
        candidate("gzip -9", lambda: timed(lambda: zlib.compress(raw, 9), n)),
        candidate("xz -9e", lambda: timed(lambda: lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME), n)),
        candidate("PNG, each", lambda: timed(pictures(x), n)),
    ]
    return compare(field, BASES, protocol)


def rates(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Images and megabytes a second, by the median."""
    medians = {row.name: row.median for row in rows if row.median is not None}
    return {name: {"images_per_s": 1e6 / us, "mb_per_s": PIXELS / us} for name, us in medians.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the arguments, race, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--binary", type=positive, default=1_000, help="binary images")
    parser.add_argument("--grey", type=positive, default=200, help="8-bit images")
    parser.add_argument("--out", type=Path, help="folder of the JSON (default: benchmarks/results)")
    parser.add_argument("--trial", action="store_true", help="one round of a few images: does it run?")
    options = parser.parse_args(arguments)
    if options.trial:
        options.rounds, options.binary, options.grey = 1, 4, 2
    torch.set_num_threads(options.threads)
    protocol, before = Protocol(rounds=options.rounds, warmup=1), machine(options.threads)
    grey, name = images(_TRAINED)
    binary = (grey >= 128).astype(np.uint8)
    cases = {
        "binary, Bernoulli": (model(binary, "bernoulli", 40, 100), binary[: options.binary]),
        "8-bit, beta-binomial": (model(grey, "beta_binomial", 50, 200), grey[: options.grey]),
    }
    tables, speeds = {}, {}
    for title, (trained, x) in cases.items():
        tables[title] = table(trained, x, protocol)
        speeds[title] = rates(tables[title])
        show(title, tables[title], BASES, protocol)
        for row, speed in speeds[title].items():
            print(f"{row}: {speed['images_per_s']:,.0f} images/s, {speed['mb_per_s']:.2f} MB/s")
    about = {"data": name, "images": [options.binary, options.grey], "rates": speeds}
    save("coding", tables, protocol, {**about, "trial": options.trial, "machine": before}, options.out)


if __name__ == "__main__":
    main()
