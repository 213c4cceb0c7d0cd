"""Where data files live, how to find them, and how to get the ones that are missing."""

__all__ = ["DataNotFound", "File", "cache_dir", "content", "data_root", "fetch", "find", "make_folder"]

import gzip
import hashlib
import os
import tempfile
import zlib
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, final
from urllib.error import URLError
from urllib.request import urlopen


@final
class DataNotFound(FileNotFoundError):
    """A data file is missing; the message says which, where it belongs, and how to get it."""


@final
@dataclass(frozen=True, slots=True)
class File:
    """A file of a known data set.

    Args:
        name: its name, as published.
        urls: where it can be had, tried in order.
        md5: its checksum, where the publisher or a widely used loader gives one.
        of_content: the checksum is that of the uncompressed content.
    """

    name: str
    urls: tuple[str, ...] = ()
    md5: str | None = None
    of_content: bool = False


def cache_dir() -> Path:
    """The user's cache folder: ``$XDG_CACHE_HOME/fourfold`` or ``~/.cache/fourfold``."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "fourfold"


def data_root(data_dir: str | Path | None = None) -> Path:
    """The folder of the data files: the one given, else ``$FOURFOLD_DATA``, else the cache folder."""
    given = data_dir or os.environ.get("FOURFOLD_DATA")
    return Path(given).expanduser() if given else cache_dir()


def find(file: File, folder: str, data_dir: str | Path | None = None) -> Path | None:
    """The file in ``root/folder`` or in ``root``, compressed as published or not; None if it is nowhere."""
    root = data_root(data_dir)
    for name in dict.fromkeys((file.name, file.name.removesuffix(".gz"))):
        for path in (root / folder / name, root / name):
            if path.is_file():
                return path
    return None


def make_folder(path: Path, remedy: str) -> Path:
    """The folder, made if it is not there, and writable.

    Raises:
        OSError: if it cannot be made or written, with the remedy.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise type(error)(f"cannot make the folder {path}: {error.strerror or error}. {remedy}") from None
    if not os.access(path, os.W_OK):
        raise PermissionError(f"cannot write to the folder {path}. {remedy}")
    return path


def content(path: Path, file: File | None = None) -> tuple[bytes, str]:
    """The content of a file, uncompressed if it is gzip, and its MD5.

    Raises:
        ValueError: if it is damaged, or is not the file it should be.
    """
    stored = path.read_bytes()
    data = stored
    if stored[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(stored)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is a damaged gzip file ({error}). Delete it and get it again.") from None
    # A file that was unpacked by hand has no compressed form to compare.
    packed = file is not None and file.name.endswith(".gz") and not file.of_content
    md5 = hashlib.md5(stored if packed else data, usedforsecurity=False).hexdigest()
    comparable = not (packed and stored is data)
    if file is not None and file.md5 is not None and comparable and md5 != file.md5:
        raise ValueError(
            f"{path} has MD5 {md5}, wanted {file.md5}: it is damaged, or another file of that name. "
            "Move it away and get the right one."
        )
    return data, md5


_ELSEWHERE = "Choose another with --data-dir, or set FOURFOLD_DATA."


def fetch(file: File, folder: str, data_dir: str | Path | None = None, download: bool = True) -> Path:
    """The path of the file, downloaded if it is missing and may be.

    Raises:
        DataNotFound: if it is missing and cannot be had, with what to put where.
        OSError: if the folder cannot be written.
    """
    path = find(file, folder, data_dir)
    if path is not None:
        return path
    goal = data_root(data_dir) / folder / file.name
    failures = []
    if download and file.urls:
        make_folder(goal.parent, _ELSEWHERE)
        for url in file.urls:
            try:
                _download(url, goal, file)
                return goal
            except (URLError, HTTPException, TimeoutError, ConnectionError, ValueError) as error:
                failures.append(f"{url}: {getattr(error, 'reason', error)}")
    raise DataNotFound(_missing(file, goal, download, failures))


def _missing(file: File, goal: Path, download: bool, failures: list[str]) -> str:
    if failures:
        why = f"could not be downloaded ({'; '.join(failures)})"
    elif file.urls and not download:
        why = f"is missing, and download=False. It is published at {file.urls[0]}"
    else:
        why = "is missing, and there is no address to download it from"
    return f"{file.name} {why}. Put it at {goal}, or name the folder that holds it with --data-dir or FOURFOLD_DATA."


def _open_url(url: str) -> Any:
    return urlopen(url, timeout=30)


def _download(url: str, goal: Path, file: File) -> None:
    """Fetch into a temporary file beside the goal, check, and only then give it its name."""
    from tqdm import tqdm

    handle, name = tempfile.mkstemp(dir=goal.parent, prefix=f".{goal.name}.", suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as out, _open_url(url) as response:
            total = int(response.headers.get("Content-Length") or 0)
            with tqdm(total=total or None, unit="B", unit_scale=True, desc=file.name, disable=None) as bar:
                while block := response.read(1 << 16):
                    out.write(block)
                    bar.update(len(block))
                done = out.tell()
        if total and done != total:
            raise ValueError(f"ended after {done} of {total} bytes")
        content(part, file)
        part.chmod(0o644)
        part.replace(goal)
    finally:
        part.unlink(missing_ok=True)
