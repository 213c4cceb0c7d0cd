"""Townsend, Bird and Barber 2019: the test images of MNIST in one lossless file, in bits per pixel.

Run with ``python -m reproductions.compression`` after ``python -m reproductions.flat_table``; what is done is not done
again, and a run that was stopped goes on where it stood. Published (arXiv:1901.04866; −ELBO, then coded): binarised
0.19 and 0.19 (bz2 0.25, gzip 0.33), 8-bit 1.39 and 1.41 (bz2 1.42, gzip 1.64).

* ``bb_binary``, ``bb_full``: their models (784-100-40 with a Bernoulli, 784-200-50 with a beta-binomial), without batch
  normalisation, and for 100 and 30 epochs instead of 20, at the end with a falling learning rate;
* ``mixture_full``: 784-200-200-50 with mixtures of five discretised logistics, 12 epochs;
* ``vae``, ``vamp_vae``: of the flat table, 784-200-200-50. Its other good lines are no codes: a flow of several steps
  has no one-dimensional conditionals.

Binarised images are those that ``evaluate`` scores with seed 0. A file is all of it: header, digests, initial bits.
What is decoded, by a model read anew from its folder, must be equal. The times are those of one thread, file to file.
"""

import argparse
import hashlib
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import fourfold as ff
from fourfold._files import whole
from fourfold.compression import CodingOptions, FileOptions, Images, baselines, compress, decompress, open_images
from fourfold.evaluation import Row
from fourfold.plan import Plan
from fourfold.runs import Run

from .slices import Limit, OutOfTime, trained
from .store import HOME, keep, kept

__all__ = ["ENTRIES", "main", "page"]

NAME = "compression"


@dataclass(frozen=True, slots=True)
class Entry:
    """A model to code with: one to be trained here, or the line of the flat table that has its name."""

    plan: Plan | None = None
    epochs: float = 0
    training: dict[str, Any] | None = None


ENTRIES = {
    "bb_binary": Entry(ff.recipes.vae(latent=40, hidden=(100,)), 100, {"lr": 1e-3, "lr_schedule": "decay:0.1:0.4"}),
    "vae": Entry(),
    "vamp_vae": Entry(),
    "bb_full": Entry(
        ff.recipes.vae(latent=50, hidden=(200,), likelihood="beta_binomial"),
        30,
        {"lr": 5e-4, "binarize": "none", "lr_schedule": "decay:0.1:0.4"},
    ),
    "mixture_full": Entry(
        ff.recipes.vae(latent=50, hidden=(200, 200), likelihood="discretised_logistic_mixture"),
        12,
        {"lr": 1e-3, "binarize": "none", "lr_schedule": "decay:0.1:0.4"},
    ),
}
#: What others make of the same images; of binary ones and of 8-bit ones.
OTHERS = {True: "others_binary", False: "others_full"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill the table; 3 if time ran out before it was full."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="mnist", choices=("mnist", "digits"))
    parser.add_argument("--entries", nargs="+", default=list(ENTRIES), choices=list(ENTRIES))
    parser.add_argument("--images", type=int, help="only the first so many test images")
    parser.add_argument("--epochs", type=float, help="of every entry that is trained here")
    parser.add_argument("--minutes", type=float, help="stop after so many; the next call goes on")
    parser.add_argument("--runs", type=Path, default=Path("runs/compression"))
    parser.add_argument("--flat", type=Path, default=Path("runs/flat_table"), help="the runs of the flat table")
    parser.add_argument("--results", type=Path, default=HOME)
    options = parser.parse_args(arguments)
    data, limit = ff.data.load(options.data), Limit(options.minutes)
    torch.set_num_threads(1)
    done = {row["protocol"]["entry"] for row in kept(NAME, options.results)}
    try:
        for name in options.entries:
            if name in done:
                continue
            entry = ENTRIES[name]
            run = (
                Run.open(options.flat / name, data=data)
                if entry.plan is None
                else trained(
                    options.runs / name, entry.plan, data, limit, options.epochs or entry.epochs, **_training(entry)
                )
            )
            limit.check()
            keep(NAME, _measured(run, name, options.images), options.results)
            if (other := OTHERS[run.model.support == "binary"]) not in done:
                keep(NAME, _others(run, other, options.images), options.results)
                done.add(other)
            _write(options.results)
    except OutOfTime:
        return 3
    return 0


def _training(entry: Entry) -> dict[str, Any]:
    return {"batch_size": 100, "quiet": True, **(entry.training or {})}


def _write(home: Path) -> None:
    with whole(home / f"{NAME}.md") as file:
        file.write(page(kept(NAME, home)).encode())


def _pixels(run: Run, n: int | None) -> np.ndarray:
    """The test images as a lossless coder takes them: whole numbers, binary ones drawn as ``evaluate`` draws them."""
    top = 1 if run.model.support == "binary" else 255
    seen = torch.cat([batch.x for batch in run.batches(run.split("test"), 0)()])[:n]
    return (seen * top).round().numpy().astype(np.uint8)


def _measured(run: Run, entry: str, n: int | None) -> list[Row]:
    """The rows of one model; nothing is reported of a file that does not give the images back.

    Raises:
        RuntimeError: when it does not.
    """
    assert run.path is not None
    found = run.evaluate("test", seed=0, save=False)
    x = _pixels(run, n)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "images.npy", x)
        images = open_images(folder / "images.npy", run.dataset().shape)
        start = time.perf_counter()
        # Not decoded at once, as compress would do by itself: that is done below, by another model, on the clock.
        options = FileOptions(coding=CodingOptions(verify=False))
        coded = compress(run.model, images, folder / "images.ff", options)
        encoding = time.perf_counter() - start
        other = Run.open(run.path, data=run.dataset()).model
        start = time.perf_counter()
        decompress(other, folder / "images.ff", folder / "back.npy")
        decoding = time.perf_counter() - start
        if not np.array_equal(np.load(folder / "back.npy"), x):
            raise RuntimeError(f"{entry}: the images that came back are not those that were compressed.")
    said = {
        "entry": entry,
        "images": hashlib.md5(x.tobytes()).hexdigest(),
        "bytes": coded.size,
        "coded_bits": coded.coded_bits,
        "initial_bits": coded.initial_bits,
        "options": coded.header.options,
        "versions": coded.header.versions,
        "threads": torch.get_num_threads(),
        "round_trip": "equal",
    }
    protocol = {**run.protocol("test", 0), **said}
    told = [
        ("bits_per_dim_file", 8 * coded.size / x.size, "bits/dim", "the file, all of it"),
        ("bits_per_dim_bound", coded.bound_bits / x.size, "bits/dim", "quantised −ELBO, 1 draw"),
        ("file_over_bound", 8 * coded.size / coded.bound_bits, "", "the file / quantised −ELBO"),
        ("encoding_speed", len(x) / encoding, "images/s", f"{_megabytes(x, encoding)}, file to file"),
        ("decoding_speed", len(x) / decoding, "images/s", f"{_megabytes(x, decoding)}, file to file"),
    ]
    rows = [Row(metric, value, unit, None, how, len(x), protocol) for metric, value, unit, how in told]
    return [*(_with(row, protocol) for row in found.rows if row.metric == "bits_per_dim"), *rows]


def _megabytes(x: np.ndarray, seconds: float) -> str:
    """Of images with one byte a pixel, as they come."""
    return f"{x.nbytes / 1e6 / seconds:.2f} MB/s of one byte a pixel"


def _with(row: Row, protocol: dict[str, Any]) -> Row:
    return Row.from_dict({**row.to_dict(), "protocol": {**row.protocol, **protocol}})


def _others(run: Run, entry: str, n: int | None) -> list[Row]:
    """gzip, bz2, xz, PNG, WebP on the same images."""
    x = _pixels(run, n)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "images.npy"
        np.save(file, x)
        images: Images = open_images(file, run.dataset().shape)
        sizes = baselines(images, entry == OTHERS[True])
    data = {key: value for key, value in run.protocol("test", 0).items() if key in _SHARED}
    data |= {**run.dataset().protocol, "entry": entry, "images": hashlib.md5(x.tobytes()).hexdigest()}
    return [
        Row(
            "bits_per_dim_file",
            8 * size.size / x.size,
            "bits/dim",
            None,
            f"{size.name}, {size.how}",
            len(x),
            {**data, "bytes": size.size},
        )
        for size in sizes
    ]


#: Of a run's protocol, what belongs to the images and not to the model.
_SHARED = ("data_part", "binarize", "seed", "fourfold", "evaluated")

_HEAD = """# Lossless files of the test images of MNIST

Written by `python -m reproductions.compression`, whose docstring is the protocol; not edited by hand. Bits per pixel of
{n:,} images. *File* is every byte of it, header and initial bits included; every file was decoded by a model read anew
from its folder, and what came back was equal. Speeds are of one thread on a shared machine.

| model | likelihood | −ELBO | quantised −ELBO | **file** | file / that | initial bits | coded, images/s | decoded |
|---|---|---|---|---|---|---|---|---|
"""
_OTHERS_HEAD = """
## What others make of them

| | binarised | 8-bit |
|---|---|---|
"""


def page(rows: Sequence[dict[str, Any]]) -> str:
    """The table as Markdown."""
    entries: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        if row["protocol"]["entry"] not in OTHERS.values():
            entries.setdefault(row["protocol"]["entry"], {})[row["metric"]] = row
    names = [name for name in ENTRIES if name in entries]
    head = _HEAD.format(n=entries[names[0]]["bits_per_dim_file"]["n"])
    return head + "".join(_line(name, entries[name]) for name in names) + _OTHERS_HEAD + _others_lines(rows)


def _line(name: str, found: dict[str, dict[str, Any]]) -> str:
    elbo, file = found["bits_per_dim"], found["bits_per_dim_file"]
    cells = [
        name,
        _likelihood(file["protocol"]),
        f"{elbo['value']:.4f} ± {elbo['standard_error']:.4f}",
        f"{found['bits_per_dim_bound']['value']:.4f}",
        f"**{file['value']:.4f}**",
        f"{found['file_over_bound']['value']:.4f}",
        f"{file['protocol']['initial_bits']:,}",
        f"{found['encoding_speed']['value']:,.0f}",
        f"{found['decoding_speed']['value']:,.0f}",
    ]
    return "| " + " | ".join(cells) + " |\n"


def _likelihood(protocol: dict[str, Any]) -> str:
    name = protocol["arguments"]["likelihood"]
    return "bernoulli" if name == "auto" else name


def _others_lines(rows: Sequence[dict[str, Any]]) -> str:
    sizes: dict[str, dict[str, float]] = {}
    for row in rows:
        if (entry := row["protocol"]["entry"]) in OTHERS.values():
            how = row["estimator"].replace(", 1 bit a value", "").replace(", 8 bits a value", "")
            sizes.setdefault(how, {})[entry] = row["value"]
    return "".join(
        f"| {how} | " + " | ".join(f"{found[name]:.4f}" if name in found else "–" for name in OTHERS.values()) + " |\n"
        for how, found in sizes.items()
    )


if __name__ == "__main__":
    sys.exit(main())
