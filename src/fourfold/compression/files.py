"""Images to ``.ff`` files, block by block: memory does not grow with their number."""

__all__ = ["Compressed", "FileOptions", "INDEX", "PIECE", "compress", "later", "open_images"]

import hashlib
import json
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path
from typing import Any, final

import numpy as np

from .._checks import positive_int
from .._files import whole
from .._shapes import Shape
from ..models import Model
from .arrays import open_npy, open_npz
from .block import Block, CodingOptions
from .codec import Codec, Progress, check_codable
from .container import Writer
from .header import Header, model_digest, sizes_of
from .images import Images
from .pictures import open_pictures

PIECE = 1 << 20
"""What is kept beside the images is deflated in pieces of so many bytes."""

INDEX = struct.Struct("<I")
"""Before a kept piece: of which name it is. Before a coded block: how long its record is."""

_BLOCK_BYTES = 32 << 20


@final
@dataclass(frozen=True, slots=True)
class FileOptions:
    """How files are compressed.

    Args:
        block: at most so many images are read, coded and held at once (fewer where they are larger than 3 kB). Each
            block pays its own initial bits.
        coding: how a block is coded.

    Raises:
        ValueError: for a block of no images.
    """

    block: int = 10_000
    coding: CodingOptions = field(default_factory=CodingOptions)

    def __post_init__(self) -> None:
        positive_int(self.block, "FileOptions: block")

    def blocks(self, n: int, shape: Shape) -> int:
        """How many blocks n images are coded in."""
        return -(-n // max(min(self.block, _BLOCK_BYTES // prod(shape)), 1))


@final
@dataclass(frozen=True, slots=True)
class Compressed:
    """What came of compressing, in bits; nothing is left out.

    Args:
        header: of the file.
        size: of the file, in bytes.
        coded_bits: of the coded images, with the initial bits of every block.
        initial_bits: what of them was needed to start the stacks.
        bound_bits: the quantised −ELBO of the images, one draw: what the code aims at.
        kept: bytes of what is kept beside the images: other arrays, labels, names.
    """

    header: Header
    size: int
    coded_bits: int
    initial_bits: int
    bound_bits: float
    kept: int

    def per_dimension(self, bits: float) -> float:
        """So many bits, in bits per value."""
        return bits / self.header.dimensions


def open_images(path: str | Path, shape: Shape, classes: Sequence[str] | None = None) -> Images:
    """Images of an ``.npy`` or ``.npz`` file, of a folder of pictures, or of a zip archive of them.

    Args:
        path: where they are.
        shape: of one, as the model has it: ``(C, H, W)`` or ``(D,)``.
        classes: the names of the model's classes, if it is conditioned on one; labels are then wanted.

    Raises:
        ValueError: for other formats, types and sizes, and for what could not be written back exactly.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}. Check the name.")
    if path.is_dir() or path.suffix.lower() == ".zip":
        return open_pictures(path, shape, classes)
    if path.suffix.lower() == ".npy":
        return open_npy(path, shape, classes)
    if path.suffix.lower() == ".npz":
        return open_npz(path, shape, classes)
    got = path.suffix or "a file without suffix"
    raise ValueError(f"{path}: wanted .npy, .npz, .zip or a folder of pictures, got {got}. Save it as one of these.")


def compress(
    model: Model,
    images: Images,
    out: str | Path,
    options: FileOptions | None = None,
    about: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Compressed:
    """Writes images as an ``.ff`` file, which :func:`decompress` turns back into what they came from.

    Nothing is binarised or rounded: values that the likelihood has no probability for are refused. Images of only two
    values, 0 and 255, are 0 and 1 to a Bernoulli, and come back as 0 and 255.

    Args:
        model: in evaluation mode; decompressing needs one with the same weights.
        images: from :func:`open_images`.
        out: the file, which takes its name when all of it is there.
        options: how.
        about: of the model, for people: run, recipe, protocol; anything JSON can hold.
        progress: told (done, total) images.

    Raises:
        NotCodable: for a model that is no code, with the reason.
        ValueError: for images outside the support of its likelihood.
    """
    options = options or FileOptions()
    codec = check_codable(model, images.shape)
    if model.condition is not None and images.labels is None:
        raise ValueError("compress: this model is conditioned on labels: name its classes in open_images.")
    header = Header(
        n=images.n,
        shape=images.shape,
        scale=_scale(images, options) if model.support == "binary" else 1,
        blocks=options.blocks(images.n, images.shape),
        labels=None if images.labels is None else "|u1" if int(images.labels.max()) < 256 else "<u4",
        form=images.form,
        model={**(about or {}), "digest": model_digest(model)},
        options=asdict(options.coding),
    )
    with whole(Path(out)) as file:
        writer = Writer(file.write, header.to_dict())
        _write_kept(images, writer)
        blocks = _encoded(codec, images, header, options.coding, progress)
        return _write_blocks(blocks, header, writer)


def _scale(images: Images, options: FileOptions) -> int:
    """What stands for 1 in images of two values; grey ones are refused, all of them being looked at."""
    seen, row = {0}, 0
    for block in images.blocks(sizes_of(images.n, options.blocks(images.n, images.shape))):
        flat = block.reshape(len(block), -1)
        grey = ((flat != 0) & (flat != 1) & (flat != 255)).any(axis=1)
        values = {value for value in (0, 1, 255) if (flat == value).any()}
        if grey.any() or {1, 255} <= seen | values:
            first = row + int(grey.argmax())
            got = f"grey values in {images.name(first)}" if grey.any() else "both 1 and 255"
            raise ValueError(
                f"compress: this model's likelihood is over 0 and 1, got {got}. Nothing is binarised here: give images "
                "that are 0 and 1 already (docs: compression, 'Binary images'), or take a run with a likelihood over "
                "256 levels (--likelihood discretised_logistic_mixture)."
            )
        seen |= values
        row += len(block)
    return 255 if 255 in seen else 1


def _write_kept(images: Images, writer: Writer) -> None:
    for index, name in enumerate(images.form["kept"]):
        for whole_piece in images.kept(name):
            for at in range(0, len(whole_piece), PIECE):
                piece = zlib.compress(whole_piece[at : at + PIECE], 9)
                writer.add("keep", INDEX.pack(index) + piece)


def _encoded(
    codec: Codec, images: Images, header: Header, options: CodingOptions, progress: Progress | None
) -> Iterator[tuple[np.ndarray, np.ndarray | None, Block]]:
    """Every block of images, as they came, with its labels and its code."""
    done = 0
    for x in images.blocks(header.sizes):
        c = None if images.labels is None else images.labels[done : done + len(x)]
        block = codec.encode(x // np.uint8(header.scale), c, options, later(done, len(x), header.n, progress))
        yield x, c, block
        done += len(x)


def later(start: int, size: int, total: int, progress: Progress | None) -> Progress | None:
    """The progress of a block of so many images, as progress of the whole."""
    return None if progress is None else lambda done, of: progress(start + size * done // of, total)


def _write_blocks(
    blocks: Iterator[tuple[np.ndarray, np.ndarray | None, Block]], header: Header, writer: Writer
) -> Compressed:
    digest = hashlib.blake2b(digest_size=32)
    coded, initial, bound = 0, 0, 0.0
    for x, c, block in blocks:
        if c is not None and header.labels is not None:
            writer.add("labels", zlib.compress(c.astype(header.labels).tobytes(), 9))
        record, words = block.pack()
        told = zlib.compress(json.dumps(record, separators=(",", ":"), allow_nan=False).encode(), 9)
        writer.add("images", INDEX.pack(len(told)) + told + words)
        digest.update(np.ascontiguousarray(x).data)
        coded, initial, bound = coded + block.bits, initial + block.initial_bits, bound + block.bound_bits
    end = {"digest": digest.hexdigest(), "coded_bits": coded, "initial_bits": initial, "bound_bits": bound}
    writer.add("end", json.dumps(end, sort_keys=True, allow_nan=False).encode())
    return Compressed(header, writer.size, coded, initial, bound, writer.sizes["keep"] + writer.sizes["labels"])
