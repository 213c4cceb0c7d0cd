"""The ``.ff`` file: a header, then parts, each with a digest of all up to it; damage is refused by name."""

__all__ = ["FORMAT", "KINDS", "Container", "ContainerError", "Part", "Writer"]

import hashlib
import json
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, final

FORMAT = 1
"""The version of this layout: a change of the layout, or of what the parts mean, counts it up."""

KINDS = {"keep": b"KEEP", "labels": b"LABL", "images": b"IMGS", "end": b"LAST"}
"""What a part may be: what is kept beside the images, labels of the next images, coded images, the end."""

_MAGIC = b"\x89FF\r\n\x1a\n\0"  # not text, and altered by whatever takes it for text
_START = struct.Struct("<8sHI")  # magic, format, length of the header
_HEAD = struct.Struct("<4sQ")  # kind and length of a part
_DIGEST = 16
_MOST_HEADER, _MOST_PART = 1 << 20, 1 << 30
_NAMES = {code: kind for kind, code in KINDS.items()}


class ContainerError(ValueError):
    """An ``.ff`` file that cannot be used: not one, of another version, truncated, altered, or of another model."""


@final
@dataclass(frozen=True, slots=True)
class Part:
    """Where one part is: its kind, where its content begins, how long that is, and the digests before it and of it."""

    kind: str
    offset: int
    size: int
    before: bytes
    digest: bytes


@final
class Writer:
    """Writes a header and then part after part; the last part is of kind ``"end"``.

    Args:
        write: takes the bytes.
        header: what JSON can hold.

    Attributes:
        size: bytes written so far.
        sizes: of the contents of the parts, by kind.
    """

    def __init__(self, write: Callable[[bytes], object], header: Mapping[str, Any]) -> None:
        text = json.dumps(header, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
        if len(text) > _MOST_HEADER:
            raise ContainerError(f"header: wanted at most {_MOST_HEADER:,} bytes, got {len(text):,}. Shorten it.")
        start = _START.pack(_MAGIC, FORMAT, len(text)) + text
        self._write, self._digest = write, _hash(start).digest()
        write(start + self._digest)
        self.size, self.sizes = len(start) + _DIGEST, dict.fromkeys(KINDS, 0)

    def add(self, kind: str, content: bytes) -> None:
        """Writes one part."""
        if len(content) > _MOST_PART:
            raise ContainerError(f"a part of {kind}: wanted at most {_MOST_PART:,} bytes, got {len(content):,}.")
        head = _HEAD.pack(KINDS[kind], len(content))
        hashed = _hash(self._digest + head)
        hashed.update(content)
        self._digest = hashed.digest()
        for piece in (head, content, self._digest):
            self._write(piece)
        self.size += len(head) + len(content) + _DIGEST
        self.sizes[kind] += len(content)


@final
@dataclass(frozen=True)
class Container:
    r"""An ``.ff`` file that has been read through once: every byte of it agrees with the digests in it.

    A file is 8 magic bytes, the format (2 bytes), the length of the header (4 bytes), the header (JSON), and its
    digest; then parts: kind (4 bytes), length (8 bytes), content, digest. Numbers are little-endian. A digest is
    BLAKE2b of 16 bytes,

    .. math:: d_0 = h(\mathrm{start}), \qquad d_i = h(d_{i-1},\, \mathrm{kind}_i,\, \mathrm{length}_i,\,
        \mathrm{content}_i)

    so that a part that was altered, left out, moved, or taken from another file is found. The digests protect against
    accidents; whoever alters a file on purpose can compute them anew, and what is read is checked with that in mind:
    no length is believed before the file is known to be as long.

    Args:
        path: the file.
        header: what the writer said of it.
        parts: in order; the last one is of kind ``"end"``.
        size: of the file, in bytes.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "small.ff"
        ...     with path.open("wb") as file:
        ...         writer = Writer(file.write, {"n": 1})
        ...         writer.add("images", b"coded")
        ...         writer.add("end", b"")
        ...     found = Container.open(path)
        ...     print(found.header, [part.kind for part in found.parts], found.read(found.parts[0]))
        {'n': 1} ['images', 'end'] b'coded'
    """

    path: Path
    header: dict[str, Any]
    parts: tuple[Part, ...]
    size: int

    @classmethod
    def open(cls, path: Path) -> "Container":
        """Reads a file through, in little memory.

        Raises:
            ContainerError: if any byte of it is not what was written, or bytes are missing or too many.
            OSError: if it cannot be read.
        """
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            header, digest = _header(file, size, path)
            parts: list[Part] = []
            while not parts or parts[-1].kind != "end":
                where = f"{path}, part {len(parts) + 1}"
                parts.append(_part(file, size, digest, where))
                digest = parts[-1].digest
            if size != file.tell():
                more = size - file.tell()
                raise ContainerError(f"{path}: {more:,} bytes follow its end. It was appended to: get it again.")
        return cls(path, header, tuple(parts), size)

    def read(self, part: Part) -> bytes:
        """The content of a part, checked again: the file may have changed since it was opened."""
        with self.path.open("rb") as file:
            file.seek(part.offset)
            content = file.read(part.size)
        if _hash(part.before + _HEAD.pack(KINDS[part.kind], part.size) + content).digest() != part.digest:
            raise ContainerError(f"{self.path}: changed while it was being read. Start again.")
        return content


def _hash(data: bytes) -> "hashlib.blake2b":
    return hashlib.blake2b(data, digest_size=_DIGEST, person=b"fourfold .ff")


def _header(file: BinaryIO, size: int, path: Path) -> tuple[dict[str, Any], bytes]:
    """The header and its digest."""
    start = file.read(_START.size)
    if not start:
        raise ContainerError(f"{path} is empty: not an .ff file. Get it again.")
    if not start.startswith(_MAGIC[: len(start)]):
        raise ContainerError(f"{path} is not an .ff file: it starts with {start[:8]!r}, wanted {_MAGIC!r}.")
    if len(start) < _START.size:
        raise _truncated(path, size)
    _, version, length = _START.unpack(start)
    if version != FORMAT:
        raise ContainerError(
            f"{path}: its format is {version}, and this fourfold reads format {FORMAT}. Use the fourfold that wrote it "
            "(if it was this one, the file is damaged)."
        )
    if length > _MOST_HEADER:
        raise _altered(f"{path}: its header")
    text = file.read(length)
    digest = file.read(_DIGEST)
    if len(digest) < _DIGEST:
        raise _truncated(f"{path}: its header", size)
    if _hash(start + text).digest() != digest:
        raise _altered(f"{path}: its header")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise ContainerError(f"{path}: its header is not a JSON object. It was not written by fourfold.")
    return header, digest


def _part(file: BinaryIO, size: int, before: bytes, where: str) -> Part:
    """The next part, read through."""
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise _truncated(where, size)
    code, length = _HEAD.unpack(head)
    offset = file.tell()
    if code not in _NAMES or length > _MOST_PART:
        raise _altered(where)
    if length > size - offset - _DIGEST:
        raise ContainerError(
            f"{where}: wanted {length + _DIGEST:,} bytes after byte {offset:,}, found {size - offset:,}. "
            "The file is truncated or damaged: get it again."
        )
    hashed, left = _hash(before + head), length
    while left and (piece := file.read(min(left, 1 << 20))):
        hashed.update(piece)
        left -= len(piece)
    digest = file.read(_DIGEST)
    if left or len(digest) < _DIGEST:  # it became shorter while it was read
        raise _truncated(where, size)
    if hashed.digest() != digest:
        raise _altered(where)
    return Part(_NAMES[code], offset, length, before, digest)


def _truncated(where: Path | str, size: int) -> ContainerError:
    return ContainerError(f"{where}: truncated, the file ends after {size:,} bytes. Get it again.")


def _altered(where: str) -> ContainerError:
    return ContainerError(f"{where} is damaged: it is not what was written (digest differs). Get the file again.")
