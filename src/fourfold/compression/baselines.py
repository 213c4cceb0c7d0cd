"""What general-purpose compressors make of the same images, with their best usual settings."""

__all__ = ["Size", "baselines"]

import bz2
import io
import lzma
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any, final

import numpy as np

from .files import FileOptions
from .header import sizes_of
from .images import Images

_HIGHEST, _LARGEST = 16_383, 1 << 24  # WebP takes no picture that is higher; and a strip stays small in memory
_FORMATS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("PNG", "PNG", {"optimize": True}),
    ("WebP lossless", "WEBP", {"lossless": True, "quality": 100}),
    ("JPEG-XL lossless", "JXL", {"lossless": True}),
)


@final
@dataclass(frozen=True, slots=True)
class Size:
    """How large the images are in another form.

    Args:
        name: of the compressor.
        how: the images were given to it.
        size: in bytes, all files together.
    """

    name: str
    how: str
    size: int


class _Meter(ABC):
    """Something that counts what blocks of images come to; it holds no more than one block."""

    name: str
    how: str

    @abstractmethod
    def add(self, block: np.ndarray) -> int:
        """Takes a block ``(n, *shape)``, and says by how many bytes the output grew."""

    def end(self) -> int:
        """Says what comes out at the end."""
        return 0


@final
class _Stream(_Meter):
    """All images as one stream of bytes, one a value or (of two values) eight values to a byte."""

    def __init__(self, name: str, compressor: Any, how: str, packed: bool = False) -> None:
        self.name, self.how = name, how
        self._compressor, self._packed = compressor, packed

    def add(self, block: np.ndarray) -> int:
        return len(self._compressor.compress((np.packbits(block != 0) if self._packed else block).tobytes()))

    def end(self) -> int:
        return len(self._compressor.flush())


@final
class _Pictures(_Meter):
    """Images as picture files: one each, or many below one another in a strip."""

    def __init__(self, name: str, save: Callable[[np.ndarray], int], strips: bool) -> None:
        self.name, self.how, self._save, self._strips = name, "strips" if strips else "a file each", save, strips

    def add(self, block: np.ndarray) -> int:
        pixels = np.ascontiguousarray(block.transpose(0, 2, 3, 1))
        _, height, width, channels = pixels.shape
        many = max(min(_HIGHEST // height, _LARGEST // (height * width * channels)), 1) if self._strips else 1
        parts = (pixels[at : at + many] for at in range(0, len(pixels), many))
        return sum(self._save(part.reshape(-1, width, channels)) for part in parts)


def baselines(images: Images, binary: bool, progress: Callable[[int, int], None] | None = None) -> list[Size]:
    """How large gzip, bz2, xz, PNG, lossless WebP and (with pillow-jxl-plugin) lossless JPEG-XL make the images.

    Images of two values are given to the streams in two ways, one bit or one byte a value (now this, now that comes out
    smaller), and to PNG as one bit a pixel. Pictures are counted twice: as one file each, and stacked in strips, which
    spares their headers.

    Args:
        images: their blocks are read once.
        binary: they hold only 0 and another value.
        progress: told (done, total) images.

    Returns:
        One size for each compressor and form, the raw one first.
    """
    raw = Size("raw", "1 bit a value" if binary else "8 bits a value", _raw(images, binary))
    meters = [
        *_streams(binary),
        *_picture_meters(images.shape, binary),
    ]
    totals, done = [0] * len(meters), 0
    for block in images.blocks(sizes_of(images.n, FileOptions().blocks(images.n, images.shape))):
        for i, meter in enumerate(meters):
            totals[i] += meter.add(block)
        done += len(block)
        if progress is not None:
            progress(done, images.n)
    return [raw, *(Size(m.name, m.how, total + m.end()) for m, total in zip(meters, totals, strict=True))]


def _raw(images: Images, binary: bool) -> int:
    values = images.n * int(np.prod(images.shape))
    return -(-values // 8) if binary else values


def _streams(binary: bool) -> Iterator[_Meter]:
    makers: tuple[tuple[str, Callable[[], Any]], ...] = (
        ("gzip -9", lambda: zlib.compressobj(9, wbits=31)),
        ("bz2 -9", lambda: bz2.BZ2Compressor(9)),
        ("xz -9e", lambda: lzma.LZMACompressor(preset=9 | lzma.PRESET_EXTREME)),
    )
    for name, make in makers:
        if binary:
            yield _Stream(name, make(), "one file, 1 bit a value", packed=True)
        yield _Stream(name, make(), "one file, 1 byte a value" if binary else "one file")


def _picture_meters(shape: tuple[int, ...], binary: bool) -> Iterator[_Meter]:
    """Those that can hold images of this shape."""
    from PIL import Image

    with suppress(ImportError):
        import_module("pillow_jxl")  # a plugin, not everybody's, that teaches Pillow JPEG-XL
    Image.init()
    if len(shape) == 3 and shape[0] in (1, 3):
        for name, form, options in _FORMATS:
            if form in Image.SAVE:
                for strips in (False, True):
                    yield _Pictures(name, _saver(form, options, binary), strips)


def _saver(form: str, options: dict[str, Any], binary: bool) -> Callable[[np.ndarray], int]:
    from PIL import Image

    def save(pixels: np.ndarray) -> int:
        if binary:
            pixels = np.where(pixels != 0, np.uint8(255), np.uint8(0))
        image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        if binary and form == "PNG" and image.mode == "L":
            image = image.convert("1", dither=Image.Dither.NONE)
        stream = io.BytesIO()
        image.save(stream, form, **options)
        return len(stream.getvalue())

    return save
