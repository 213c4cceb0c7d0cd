"""``.ff`` files back to what they were made of: arrays or pictures, exactly, or an error that says why not."""

__all__ = ["decompress", "open_compressed", "writer_of"]

import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, final

import numpy as np

from ..models import Model
from .arrays import write_npy, write_npz
from .block import MOST_ROWS, Block, Damaged
from .codec import Codec, Progress, check_codable
from .container import Container, ContainerError, Part
from .fields import Fields
from .files import INDEX, PIECE, Compressed, later
from .header import Contents, Header, model_digest, versions_here
from .pictures import write_folder, write_zip

_MOST_RECORD = 1 << 26


def open_compressed(path: str | Path) -> tuple[Container, Compressed]:
    """An ``.ff`` file, read through and checked, and what it says of itself. No model is needed for it.

    Raises:
        ContainerError: if any byte of it is not what was written, or bytes are missing or too many.
    """
    container = Container.open(Path(path))
    header = Header.from_dict(container.header, str(path))
    per_block = ["images"] if header.labels is None else ["labels", "images"]
    kinds = [part.kind for part in container.parts]
    body = kinds[next((i for i, kind in enumerate(kinds) if kind != "keep"), 0) :]
    if len(body) != header.blocks * len(per_block) + 1 or body[:-1] != per_block * header.blocks:
        raise ContainerError(f"{path}: its parts are not the {header.blocks:,} blocks that its header tells of.")
    end = _end(container)
    coded, initial = end.whole("coded_bits", 0, 1 << 62), end.whole("initial_bits", 0, 1 << 62)
    kept = sum(part.size for part in container.parts if part.kind in ("keep", "labels"))
    return container, Compressed(header, container.size, coded, initial, end.number("bound_bits"), kept)


def _end(container: Container) -> Fields:
    return Fields(_json(container.read(container.parts[-1]), str(container.path)), str(container.path))


def decompress(model: Model, path: str | Path, out: str | Path, progress: Progress | None = None) -> Header:
    """Writes what an ``.ff`` file was made of, exactly: an array, or pictures.

    Args:
        model: the one that it was compressed with, in evaluation mode.
        path: the ``.ff`` file.
        out: the file or new folder; it takes its name when all of it is there and agrees with the digest of what was
            compressed.
        progress: told (done, total) images.

    Raises:
        ContainerError: for a file that is damaged or of another model, and for a name that does not go with it.
    """
    container, found = open_compressed(path)
    header = found.header
    write = writer_of(header, Path(out))
    _check_versions(header, str(path))
    if (digest := model_digest(model)) != header.model["digest"]:
        raise ContainerError(
            f"{path}: compressed with the model {header.model['digest']}{_known(header)}, but this model is {digest}. "
            "Give the run it was compressed with, at the same checkpoint."
        )
    source = _Source(container, header, _codec(model, header, str(path)), progress)
    write(Contents(str(path), header, source.images, source.kept, source.labels), Path(out))
    return header


def _codec(model: Model, header: Header, where: str) -> Codec:
    try:
        return check_codable(model, header.shape)
    except ValueError as error:
        text = f"{where}: shape {header.shape} in its header does not go with this model: {error}"
        raise ContainerError(text) from error


def writer_of(header: Header, out: Path) -> Callable[[Contents, Path], None]:
    """What writes the images of a file, checked against the name that they are to be given.

    Raises:
        ContainerError: for a suffix that does not go with what was compressed.
    """
    kind = Fields(header.form, "the file").text("kind", ("npy", "npz", "folder", "zip"))
    suffix = out.suffix.lower()
    if kind in ("npy", "npz"):
        if suffix != f".{kind}":
            raise ContainerError(f"--out: the images were an .{kind} file, so wanted a name that ends so, got {out}.")
        return write_npy if kind == "npy" else write_npz
    if suffix in (".npy", ".npz", ".ff"):
        raise ContainerError(f"--out: the images were a {kind} of pictures: name a new folder or a .zip, not {out}.")
    return write_zip if suffix == ".zip" else write_folder


def _known(header: Header) -> str:
    """What is known of the model besides its digest."""
    told = [f"{key} {header.model[key]}" for key in ("run", "recipe", "checkpoint", "steps") if header.model.get(key)]
    return f" ({', '.join(told)})" if told else ""


def _check_versions(header: Header, where: str) -> None:
    """Entropy coders of two versions need not agree."""
    theirs, ours = Fields(header.versions, where).text("constriction"), versions_here()["constriction"]
    if ours and theirs.split(".")[:2] != ours.split(".")[:2]:
        raise ContainerError(
            f"{where}: coded with constriction {theirs}, and this is {ours}. Install the version that it was coded "
            f"with: pip install constriction=={theirs}."
        )


@final
class _Source:
    """What an ``.ff`` file holds, decoded when it is asked for."""

    def __init__(self, container: Container, header: Header, codec: Codec, progress: Progress | None) -> None:
        self._container, self._header, self._codec, self._progress = container, header, codec, progress
        self._where = str(container.path)

    def images(self) -> Iterator[np.ndarray]:
        """The images as they came, block by block; the last one comes when all agree with their digest."""
        header, digest, done = self._header, hashlib.blake2b(digest_size=32), 0
        wanted = _end(self._container).text("digest")
        coded = [part for part in self._container.parts if part.kind == "images"]
        labels = self.labels() if header.labels else None
        for number, (part, size) in enumerate(zip(coded, header.sizes, strict=True), start=1):
            c = None if labels is None else labels[done : done + size]
            block = self._block(part, size, number)
            try:
                x = self._codec.decode(block, c, later(done, size, header.n, self._progress))
            except (ArithmeticError, LookupError, RuntimeError, ValueError) as error:  # whatever a hostile one causes
                why = error if isinstance(error, Damaged) else f"it does not decode ({error})"
                raise ContainerError(f"{self._where}, block {number}: {why}") from error
            x = np.ascontiguousarray(x.astype(np.uint8, copy=False) * np.uint8(header.scale))
            digest.update(x.data)
            done += size
            if done == header.n and digest.hexdigest() != wanted:
                raise ContainerError(
                    f"{self._where}: what was decoded is not what was compressed, so nothing was written: the file was "
                    "made by another program or machine whose arithmetic differs. Decompress it where it was made."
                )
            yield x

    def _block(self, part: Part, size: int, number: int) -> Block:
        """The code of one block; its record is believed no more than the rest."""
        where, content = f"{self._where}, block {number}", self._container.read(part)
        told = INDEX.unpack_from(content)[0] if len(content) >= INDEX.size else len(content)
        if INDEX.size + told > len(content):
            raise ContainerError(f"{where}: its record is longer than itself. It was not written by fourfold.")
        words = content[INDEX.size + told :]
        found = _json(_inflated(content[INDEX.size : INDEX.size + told], _MOST_RECORD, where), where)
        try:
            return Block.unpack(_checked_record(found, size, words, where), words)
        except Damaged as error:
            raise ContainerError(f"{where}: {error}") from None

    def labels(self) -> np.ndarray:
        """The labels of all images."""
        header, dtype = self._header, np.dtype(self._header.labels or "|u1")
        parts = [part for part in self._container.parts if part.kind == "labels"]
        found = []
        for part, size in zip(parts, header.sizes, strict=True):
            data = _inflated(self._container.read(part), size * dtype.itemsize, self._where)
            if len(data) != size * dtype.itemsize:
                raise ContainerError(f"{self._where}: wanted {size} labels in a block, got {len(data)} bytes of them.")
            found.append(np.frombuffer(data, dtype).astype(np.int64))
        return np.concatenate(found)

    def kept(self, name: str) -> Iterator[bytes]:
        """The pieces of what was kept under a name."""
        index = Fields(self._header.form, self._where).texts("kept").index(name)
        for part in self._container.parts:
            if part.kind == "keep":
                content = self._container.read(part)
                if len(content) >= INDEX.size and INDEX.unpack_from(content)[0] == index:
                    yield _inflated(content[INDEX.size :], PIECE, self._where)


def _checked_record(record: object, size: int, words: bytes, where: str) -> Mapping[str, Any]:
    """A block's record, if it speaks of this block: before anything is made as large as it says."""
    told = Fields(record, where)
    chunk = told.whole("chunk", 1, MOST_ROWS)
    told.whole("n", size, size)
    told.text("dtype", ("uint8",))
    pairs = told.pairs("sizes")
    if any(not 0 < each <= chunk or count < 1 for each, count in pairs) or sum(e * c for e, c in pairs) != size:
        raise ContainerError(f"{where}: its chunks are not of {size} images. It was not written by fourfold.")
    if len(words) % 4:
        raise ContainerError(
            f"{where}: wanted words of 4 bytes, got {len(words)} bytes. It was not written by fourfold."
        )
    return told.entries


def _inflated(data: bytes, most: int, where: str) -> bytes:
    """What was compressed by zlib, if it is not larger than it may be."""
    inflate = zlib.decompressobj()
    try:
        found = inflate.decompress(data, most + 1)
    except zlib.error as error:
        raise ContainerError(f"{where}: cannot be inflated ({error}). It was not written by fourfold.") from None
    if len(found) > most or not inflate.eof:
        raise ContainerError(f"{where}: inflates to more than {most:,} bytes. It was not written by fourfold.")
    return found


def _json(data: bytes, where: str) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise ContainerError(f"{where}: wanted JSON, got {data[:40]!r}. It was not written by fourfold.") from None
