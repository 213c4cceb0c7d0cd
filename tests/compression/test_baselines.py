"""Sizes under other compressors: those that their own libraries give, and of images that come back."""

import bz2
import gzip
import io
import lzma
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fourfold.compression import baselines, open_images

RNG = np.random.default_rng(0)
SMOOTH = (np.add.outer(np.arange(50), np.arange(12 * 9)) % 256).astype(np.uint8).reshape(50, 12, 9)
COINS = (RNG.uniform(size=(50, 12, 9)) < 0.1).astype(np.uint8)


@pytest.fixture
def sizes(tmp_path: Path):
    def measured(x: np.ndarray, shape: tuple[int, ...], binary: bool) -> dict[tuple[str, str], int]:
        np.save(tmp_path / "x.npy", x)
        return {(size.name, size.how): size.size for size in baselines(open_images(tmp_path / "x.npy", shape), binary)}

    return measured


def png(image: Image.Image) -> int:
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    stream.seek(0)
    assert Image.open(stream).tobytes() == image.tobytes()
    return len(stream.getvalue())


def test_grey_images(sizes):
    found, raw = sizes(SMOOTH, (1, 12, 9), False), SMOOTH.tobytes()
    assert found["raw", "8 bits a value"] == len(raw)
    assert found["gzip -9", "one file"] == len(gzip.compress(raw, 9))
    assert found["bz2 -9", "one file"] == len(bz2.compress(raw, 9))
    assert found["xz -9e", "one file"] == len(lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME))
    assert found["PNG", "a file each"] == sum(png(Image.fromarray(x)) for x in SMOOTH)
    assert found["PNG", "strips"] == png(Image.fromarray(SMOOTH.reshape(-1, 9)))
    assert found["WebP lossless", "strips"] < found["WebP lossless", "a file each"]


@pytest.mark.parametrize("white", [1, 255])
def test_binary_images_are_given_as_such(sizes, white: int):
    found, packed = sizes(COINS * np.uint8(white), (1, 12, 9), True), np.packbits(COINS).tobytes()
    assert found["raw", "1 bit a value"] == len(packed)
    assert found["gzip -9", "one file, 1 bit a value"] == len(gzip.compress(packed, 9))
    assert found["bz2 -9", "one file, 1 byte a value"] == len(bz2.compress((COINS * np.uint8(white)).tobytes(), 9))
    bits = [Image.fromarray(x * np.uint8(255)).convert("1") for x in COINS]
    assert found["PNG", "a file each"] == sum(map(png, bits))
    assert found["PNG", "strips"] < 2 * len(packed) < found["PNG", "a file each"]


def test_colour_images_and_what_is_no_picture(sizes):
    colour = RNG.integers(0, 256, (5, 4, 3, 3), dtype=np.uint8)
    found = sizes(colour, (3, 4, 3), False)
    assert found["PNG", "a file each"] == sum(png(Image.fromarray(x)) for x in colour)
    assert found["gzip -9", "one file"] == len(gzip.compress(colour.transpose(0, 3, 1, 2).tobytes(), 9))
    assert {name for name, _ in sizes(colour.reshape(5, 36), (36,), False)} == {"raw", "gzip -9", "bz2 -9", "xz -9e"}


def test_strips_are_no_higher_than_webp_takes(sizes):
    x = RNG.integers(0, 2, (40, 1000, 2), dtype=np.uint8)
    found = sizes(x, (1, 1000, 2), True)
    assert 0 < found["WebP lossless", "strips"] < found["WebP lossless", "a file each"]
