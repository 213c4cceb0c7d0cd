"""Images: folders and zip archives of pictures, decoded once to a memory-mapped array in the cache folder."""

__all__ = ["Source", "decode", "describe", "folder_sources", "zip_sources"]

import hashlib
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, final

import numpy as np

from .locate import cache_dir, make_folder

_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
_GREY = {"1", "L", "LA"}
_DEEP = {"F", "I", "I;16", "I;16B", "I;16L", "I;16N"}
_PARTS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
_VERSION = 2  # of what decoding does: a change makes old caches invisible


@final
@dataclass(frozen=True, slots=True)
class Source:
    """One encoded picture: its name with ``/`` between folders, how to open it, and a stamp that changes with it."""

    name: str
    open: Callable[[], io.BytesIO | io.BufferedReader]
    stamp: str = ""


def folder_sources(folder: Path) -> list[Source]:
    """The pictures below a folder, sorted by name.

    Raises:
        ValueError: if there are none.
    """
    sources = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if _is_image(name) and path.is_file():
            stat = path.stat()
            sources.append(Source(name, _opener(path), f"{stat.st_size}|{stat.st_mtime_ns}"))
    return _some(sources, folder)


def zip_sources(archive: Path | io.BytesIO, name: str, stamp: str) -> list[Source]:
    """The pictures in a zip archive, read in memory; nothing is ever unpacked to disk.

    Args:
        archive: its path, or its content.
        name: for errors.
        stamp: changes when the archive does.

    Raises:
        ValueError: if it is damaged, holds no pictures, or members with absolute paths or ``..``.
    """
    try:
        members = zipfile.ZipFile(archive)
    except (OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{name} is not a zip archive that can be read: {error}.") from None
    for info in members.infolist():
        path = info.filename.replace("\\", "/")
        if path.startswith("/") or ":" in path.split("/")[0] or ".." in path.split("/"):
            raise ValueError(f"{name} holds the unsafe path {info.filename!r}: absolute, or with '..'. Not read.")
    names = sorted(info.filename for info in members.infolist() if not info.is_dir() and _is_image(info.filename))
    tops = {member.split("/")[0] for member in names}
    strip = len(tops.pop()) + 1 if len(tops) == 1 and all("/" in member for member in names) else 0
    return _some([Source(n[strip:], _member(members, n), f"{stamp}|{n}") for n in names], name)


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in _SUFFIXES and not hidden


def _opener(path: Path) -> Callable[[], io.BytesIO | io.BufferedReader]:
    return lambda: path.open("rb")


def _member(archive: zipfile.ZipFile, name: str) -> Callable[[], io.BytesIO | io.BufferedReader]:
    return lambda: io.BytesIO(archive.read(name))


def _some(sources: list[Source], where: Path | str) -> list[Source]:
    if not sources:
        raise ValueError(f"{where} holds no images ({', '.join(sorted(_SUFFIXES))}), nor .npy shards.")
    return sources


def describe(names: Sequence[str]) -> tuple[list[str | None], list[str | None]]:
    """The part (train, validation, test; or None) and the label (or None) that folders give to each name.

    Example:
        >>> describe(["train/cat/1.png", "test/dog/2.png"])
        (['train', 'test'], ['cat', 'dog'])
        >>> describe(["cat/1.png", "dog/2.png"])
        ([None, None], ['cat', 'dog'])
    """
    paths = [PurePosixPath(name).parts for name in names]
    tops = {path[0].lower() for path in paths if len(path) > 1}
    parted = "train" in tops and tops <= _PARTS.keys() and all(len(path) > 1 for path in paths)
    depth = 1 if parted else 0
    labelled = all(len(path) > depth + 1 for path in paths)
    return (
        [_PARTS[path[0].lower()] if parted else None for path in paths],
        [path[depth] if labelled else None for path in paths],
    )


def decode(
    sources: Sequence[Source], where: str, size: tuple[int, int] | None = None, *, kernel: str = "LANCZOS"
) -> Path:
    """A uint8 ``.npy`` file of ``(N, 1, H, W)`` or ``(N, 3, H, W)`` in the cache folder, made if it is not there yet.

    Grey pictures stay grey if all are; transparency is dropped; the orientation a camera noted is applied. A JSON
    manifest of the same name lists the pictures in order.

    Args:
        sources: the pictures.
        where: what they come from, for errors and the manifest.
        size: (H, W) to resize to (not keeping proportions).
        kernel: Pillow's name of the resampling kernel.

    Raises:
        ValueError: if a picture cannot be decoded, has 16 bits, or another size than the first.
        OSError: if the cache folder cannot be written.
    """
    key = hashlib.blake2b(digest_size=12)
    key.update(json.dumps([_VERSION, size, kernel, [(s.name, s.stamp) for s in sources]]).encode())
    folder = make_folder(cache_dir() / "images", "Set XDG_CACHE_HOME to a folder that can be written.")
    goal = folder / f"{key.hexdigest()}.npy"
    if _readable(goal):
        return goal
    grey, pixels = _survey(sources, where, size)
    shape = (len(sources), 1 if grey else 3, *pixels)
    manifest = {"source": where, "shape": shape, "kernel": kernel if size else None, "files": [s.name for s in sources]}
    part = Path(tempfile.mkdtemp(dir=folder, prefix=".part-"))
    try:
        _write(part / "x.npy", sources, where, shape, kernel)
        (part / "x.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        os.replace(part / "x.json", goal.with_suffix(".json"))
        os.replace(part / "x.npy", goal)
    finally:
        for left in part.iterdir():
            left.unlink()
        part.rmdir()
    return goal


def _readable(path: Path) -> bool:
    try:
        np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return False
    return True


def _survey(sources: Sequence[Source], where: str, size: tuple[int, int] | None) -> tuple[bool, tuple[int, int]]:
    """Whether all are grey, and their common (H, W): from the headers, before anything is decoded."""
    grey, common = True, size
    for source in sources:
        image = _open(source, where)
        if image.mode in _DEEP:
            raise ValueError(
                f"{where}: {source.name} has more than 8 bits a pixel ({image.mode}). Convert it to 8 bits."
            )
        grey = grey and image.mode in _GREY
        shape = (image.height, image.width)
        common = common or shape
        if size is None and shape != common:
            raise ValueError(
                f"{where}: images must have one size, but {sources[0].name} has {common[0]} x {common[1]} pixels and "
                f"{source.name} {shape[0]} x {shape[1]} (height x width). Give size=(height, width) to resize all."
            )
    return grey, common or (0, 0)


def _write(path: Path, sources: Sequence[Source], where: str, shape: tuple[int, ...], kernel: str) -> None:
    from PIL import Image
    from tqdm import tqdm

    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    channels, height, width = shape[1:]
    mode = "L" if channels == 1 else "RGB"
    for row, source in enumerate(tqdm(sources, desc=f"decoding {Path(where).name}", unit="image", disable=None)):
        image = _open(source, where, full=True).convert(mode)
        if (image.height, image.width) != (height, width):
            image = image.resize((width, height), Image.Resampling[kernel])
        array[row] = np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)
    array.flush()


def _open(source: Source, where: str, full: bool = False) -> Any:
    from PIL import Image, ImageOps

    try:
        with source.open() as stream:
            image = Image.open(stream)
            if image.format != "PNG":  # which may note it behind the pixels: to look there would decode them twice
                ImageOps.exif_transpose(image, in_place=True)
            if full:
                image.load()
            return image
    except Exception as error:  # decoders raise every kind of error for damaged files
        raise ValueError(f"{where}: {source.name} cannot be decoded: {error}. Repair or remove it.") from None
