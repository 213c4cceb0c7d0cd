"""Folders and zip archives of pictures: names, order, mode and every pixel come back; nothing else of them does."""

__all__ = ["open_pictures", "write_folder", "write_zip"]

import io
import json
import os
import shutil
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, final

import numpy as np

from .._files import whole
from .._shapes import Shape
from ..data.images import Source, describe, folder_sources, zip_sources
from .container import ContainerError
from .header import Contents
from .images import Images, codes_of

_FORMATS = {".png": "PNG", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF"}
_MODES = {"1": 1, "L": 1, "RGB": 3}  # and how many channels each has
_KEPT = "pictures"
_MOST_LIST = 1 << 28  # bytes of the list of names: that of millions of pictures


@final
class _Pictures(Images):
    """Pictures in a folder or an archive, decoded one by one, each time they are asked for."""

    def __init__(self, sources: Sequence[Source], where: str, shape: Shape, kind: str, modes: list[str]) -> None:
        super().__init__(len(sources), shape, {"kind": kind, "kept": [_KEPT]})
        self._sources, self._where, self._modes = sources, where, modes

    def blocks(self, sizes: Sequence[int]) -> Iterator[np.ndarray]:
        start = 0
        for size in sizes:
            block = np.empty((size, *self.shape), np.uint8)
            for i, source in enumerate(self._sources[start : start + size]):
                mode, pixels = _decoded(source, self._where, self.shape)
                if mode != self._modes[start + i]:
                    raise ValueError(f"{self._where}: {source.name} changed while it was being read. Start again.")
                block[i] = pixels
            yield block
            start += size

    def kept(self, name: str) -> Iterator[bytes]:
        alike = self._modes[0] if len(set(self._modes)) == 1 else self._modes
        listed = json.dumps({"names": [s.name for s in self._sources], "modes": alike}, separators=(",", ":")).encode()
        if len(listed) > _MOST_LIST:
            raise ValueError(
                f"{self._where}: the names of {self.n:,} pictures take too many bytes. Make several files."
            )
        yield listed

    def name(self, row: int) -> str:
        return self._sources[row].name


def open_pictures(path: Path, shape: Shape, classes: Sequence[str] | None = None) -> Images:
    """The pictures of a folder (sorted by name) or of a zip archive, and what their folders say of their classes.

    Raises:
        ValueError: for pictures that would not come back exactly (more than 8 bits, palettes, transparency, JPEG), of
            other sizes than the model's, or that cannot be decoded.
    """
    sources = folder_sources(path) if path.is_dir() else zip_sources(path, str(path), "")
    labels = describe([source.name for source in sources])[1]
    _tell_what_is_left_out(path, len(sources))
    if not path.is_dir():
        sources = _with_top(sources, path)
    _check_names([source.name for source in sources], str(path))
    modes = [_mode(source, str(path), shape) for source in sources]
    images = _Pictures(sources, str(path), shape, "folder" if path.is_dir() else "zip", modes)
    if classes is not None:
        images.labels = codes_of(None if labels[0] is None else np.array(labels), classes, str(path))
    return images


def _with_top(sources: Sequence[Source], path: Path) -> list[Source]:
    """The pictures of an archive by their whole names: the folder that holds all of them is one to be restored."""
    with zipfile.ZipFile(path) as archive:
        members, first = archive.namelist(), sources[0].name
    top = "" if first in members else next(n for n in members if n.partition("/")[2] == first).partition("/")[0] + "/"
    return [replace(source, name=top + source.name) for source in sources]


def _tell_what_is_left_out(path: Path, pictures: int) -> None:
    """Warns of files that are no pictures, or are hidden: whoever removes the originals would lose them."""
    if path.is_dir():
        files = sum(one.is_file() or one.is_symlink() for one in path.rglob("*"))
    else:
        with zipfile.ZipFile(path) as archive:
            files = sum(not info.is_dir() for info in archive.infolist())
    if files > pictures:
        warnings.warn(
            f"{path}: {files - pictures:,} files in it are hidden or no pictures, and not compressed with the rest.",
            stacklevel=3,
        )


def _mode(source: Source, where: str, shape: Shape) -> str:
    """The mode of a picture that would come back exactly, from its first bytes."""
    suffix, name = PurePosixPath(source.name).suffix.lower(), f"{where}: {source.name}"
    if suffix not in _FORMATS:
        raise ValueError(
            f"{name}: wanted {', '.join(_FORMATS)}, got {suffix}. Its pixels could not be written back into a file of "
            "that format exactly: convert it to PNG first."
        )
    with _opened(source, where) as image:
        try:
            frames = getattr(image, "n_frames", 1)  # which looks for them
        except Exception as error:
            raise ValueError(f"{name} cannot be decoded: {error}. Repair or remove it.") from None
        deep = ";16" in str([tile[3] for tile in image.tile]) or image.mode.startswith(("I", "F"))
        if deep or image.mode not in _MODES or "transparency" in image.info or frames > 1:
            got = "more than 8 bits a channel" if deep else f"mode {image.mode}"
            got += ", transparency" if "transparency" in image.info else ""
            got += ", several pictures in one file" if frames > 1 else ""
            raise ValueError(
                f"{name}: wanted one picture of mode 1, L or RGB, 8 bits, no transparency, got {got}. "
                "Convert it first: image.convert('L') or 'RGB'."
            )
        found = (_MODES[image.mode], image.height, image.width)
        if found != shape:
            raise ValueError(
                f"{name}: a picture of {' × '.join(map(str, found))} (channels × height × width), but this model was "
                f"trained on shape {shape}. Take a run that was trained on pictures of this size, or resize them."
            )
        return image.mode


def _decoded(source: Source, where: str, shape: Shape) -> tuple[str, np.ndarray]:
    """The mode of a picture and its pixels, uint8 in the model's layout; black and white are 0 and 255."""
    with _opened(source, where) as image:
        try:
            mode, pixels = image.mode, np.asarray(image.convert("L") if image.mode == "1" else image)
        except Exception as error:  # decoders raise every kind of error for damaged files
            raise ValueError(f"{where}: {source.name} cannot be decoded: {error}. Repair or remove it.") from None
    planes = pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels[None]
    if planes.shape != shape or planes.dtype != np.uint8:
        raise ValueError(f"{where}: {source.name} changed while it was being read. Start again.")
    return mode, planes


def _opened(source: Source, where: str) -> Any:
    from PIL import Image

    try:
        with source.open() as stream:
            return Image.open(io.BytesIO(stream.read()))
    except Exception as error:
        raise ValueError(f"{where}: {source.name} cannot be decoded: {error}. Repair or remove it.") from None


def write_folder(contents: Contents, path: Path) -> None:
    """Writes the pictures into a new folder, under the names they had; nothing is there before all of them are.

    Raises:
        FileExistsError: if there is something already.
        ContainerError: for names that would lead out of the folder.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileExistsError(f"--out: {path} exists already. Name a new folder.")
    part = path.with_name(path.name + ".part")
    if part.exists():
        raise FileExistsError(f"--out: {part} is in the way, left by a command that was killed. Remove it.")
    try:
        for name, data in _files(contents):
            goal = part / name
            goal.parent.mkdir(parents=True, exist_ok=True)
            with goal.open("xb") as file:  # where A.png and a.png are one file, the second is not to replace the first
                file.write(data)
        part.replace(path)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def write_zip(contents: Contents, path: Path) -> None:
    """Writes the pictures into a zip archive, under the names they had."""
    with whole(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, data in _files(contents):
            if any("\ud800" <= letter <= "\udfff" for letter in name):
                raise ContainerError(f"--out: {name!r} is not of letters that an archive can name. Name a new folder.")
            archive.writestr(zipfile.ZipInfo(name), data)


def _files(contents: Contents) -> Iterator[tuple[str, bytes]]:
    """Name and content of every picture."""
    from PIL import Image

    names, modes = _listed(contents)
    row = 0
    for block in contents.images():
        for pixels in block:
            image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
            stream = io.BytesIO()
            image.convert(modes[row], dither=Image.Dither.NONE).save(
                stream, _FORMATS[PurePosixPath(names[row]).suffix.lower()]
            )
            yield names[row], stream.getvalue()
            row += 1


def _listed(contents: Contents) -> tuple[list[str], list[str]]:
    """The names and the modes of the pictures: harmless names, one each, and modes that go with the shape."""
    where = contents.where
    try:
        listed = bytearray()
        for piece in contents.kept(_KEPT):
            listed += piece
            if len(listed) > _MOST_LIST:
                raise ValueError
        found = json.loads(listed)
        names, modes = found["names"], found["modes"]
    except (ValueError, RecursionError, KeyError, TypeError):
        raise ContainerError(f"{where}: its list of pictures cannot be read. Get the file again.") from None
    modes = [modes] * contents.header.n if isinstance(modes, str) else modes
    for each in (names, modes):
        if (
            not isinstance(each, list)
            or len(each) != contents.header.n
            or not all(isinstance(one, str) for one in each)
        ):
            raise ContainerError(
                f"{where}: its list of pictures is not one of {contents.header.n:,}. Get the file again."
            )
    if any(PurePosixPath(name).suffix.lower() not in _FORMATS for name in names):
        raise ContainerError(f"{where}: some of its names do not end in {', '.join(_FORMATS)}.")
    channels = contents.header.shape[0] if len(contents.header.shape) == 3 else 0
    if any(_MODES.get(mode) != channels for mode in set(modes)):
        raise ContainerError(f"{where}: modes {sorted(set(modes))[:5]} do not go with shape {contents.header.shape}.")
    _check_names(names, where)
    return names, modes


def _check_names(names: Sequence[str], where: str) -> None:
    """Names that can be files of one folder, and of no other: they are checked on the way in and on the way out."""
    if unsafe := next((name for name in names if not _harmless(name)), None):
        raise ContainerError(f"{where}: holds the name {unsafe!r}, which would not be safe to write. Rename it.")
    folders = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    if len(set(names)) < len(names) or folders & set(names):
        raise ContainerError(f"{where}: two of its pictures have one name. Rename one.")


def _harmless(name: str) -> bool:
    """Whether a name stays within its folder, wherever it is written, and can be a file's."""
    parts = name.split("/")
    try:
        short = len(os.fsencode(name)) < 1 << 12 and all(len(os.fsencode(p)) < 1 << 8 for p in parts)
    except UnicodeEncodeError:
        return False
    return short and all(p not in ("", ".", "..") and not {"\0", "\\", ":"} & set(p) for p in parts)
