"""Finding files, fetching them from mirrors, and what is said when there are none."""

import hashlib
import io
from pathlib import Path
from urllib.error import URLError

import pytest

from fourfold.data import DataNotFound, locate
from fourfold.data.locate import File, cache_dir, data_root, fetch, find

CONTENT = b"the content" * 1000
MD5 = hashlib.md5(CONTENT).hexdigest()
MIRRORS = ("https://one.example/f.bin", "https://two.example/f.bin")
FILE = File("f.bin", MIRRORS, MD5)


class Response(io.BytesIO):
    """What urlopen returns, as far as it is used."""

    def __init__(self, data: bytes, length: int | None = None) -> None:
        super().__init__(data)
        self.headers = {} if length is None else {"Content-Length": str(length)}


@pytest.fixture
def web(monkeypatch):
    """A network with the pages given to it; every other address is unreachable."""
    pages: dict[str, Response | Exception] = {}
    asked: list[str] = []

    def open_url(url: str) -> Response:
        asked.append(url)
        page = pages.get(url, URLError("no network"))
        if isinstance(page, Exception):
            raise page
        return page

    monkeypatch.setattr(locate, "_open_url", open_url)
    return pages, asked


def left(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_the_folder_is_given_or_in_the_environment_or_the_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("FOURFOLD_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data_root() == cache_dir() == tmp_path / "cache" / "fourfold"
    monkeypatch.setenv("FOURFOLD_DATA", str(tmp_path / "env"))
    assert data_root() == tmp_path / "env"
    assert data_root(tmp_path / "given") == tmp_path / "given"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "fourfold"


def test_files_are_found_in_their_folder_first_and_unpacked_too(tmp_path):
    file = File("a.gz")
    assert find(file, "set", tmp_path) is None
    for place in ("a", "set/a", "a.gz", "set/a.gz"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).touch()
    for place in ("set/a.gz", "a.gz", "set/a", "a"):
        assert find(file, "set", tmp_path) == tmp_path / place
        (tmp_path / place).unlink()


def test_a_file_that_is_there_is_not_fetched(tmp_path, web):
    (tmp_path / "f.bin").write_bytes(b"anything")
    assert fetch(FILE, "set", tmp_path) == tmp_path / "f.bin"
    assert web[1] == []


def test_the_second_mirror_helps_out(tmp_path, web):
    pages, asked = web
    pages[MIRRORS[1]] = Response(CONTENT, len(CONTENT))
    assert fetch(FILE, "set", tmp_path).read_bytes() == CONTENT
    assert asked == list(MIRRORS)
    assert left(tmp_path) == ["set/f.bin"]


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (Response(CONTENT[:-1] + b"?", len(CONTENT)), f"wanted {MD5}"),
        (Response(CONTENT[:500], len(CONTENT)), "500 of 11000 bytes"),
        (TimeoutError("too slow"), "too slow"),
        (ConnectionResetError("reset"), "reset"),
    ],
)
def test_bad_downloads_leave_nothing_behind(tmp_path, web, page, words):
    web[0][MIRRORS[0]] = page
    with pytest.raises(DataNotFound) as error:
        fetch(FILE, "set", tmp_path)
    for word in (words, *MIRRORS, "no network", str(tmp_path / "set" / "f.bin"), "--data-dir", "FOURFOLD_DATA"):
        assert word in str(error.value)
    assert left(tmp_path) == []


def test_an_interrupted_download_leaves_nothing_behind(tmp_path, web):
    web[0][MIRRORS[0]] = KeyboardInterrupt()

    class Stopped(Response):
        def read(self, *size: int) -> bytes:
            raise KeyboardInterrupt

    web[0][MIRRORS[0]] = Stopped(CONTENT)
    with pytest.raises(KeyboardInterrupt):
        fetch(FILE, "set", tmp_path)
    assert left(tmp_path) == []


def test_what_is_missing_is_said(tmp_path, web):
    with pytest.raises(DataNotFound, match=r"download=False\. It is published at https://one") as error:
        fetch(FILE, "set", tmp_path, download=False)
    assert isinstance(error.value, FileNotFoundError)
    with pytest.raises(DataNotFound, match=r"f\.bin is missing, and there is no address.*Put it at .*set/f\.bin"):
        fetch(File("f.bin"), "set", tmp_path)
    assert web[1] == [] and left(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path, web):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot make the folder .*file/set.*--data-dir"):
        fetch(FILE, "set", tmp_path / "file")


def test_a_folder_that_cannot_be_written_is_named(tmp_path, web, monkeypatch):
    monkeypatch.setattr(locate.os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match=r"cannot write to the folder .*set.*FOURFOLD_DATA"):
        fetch(FILE, "set", tmp_path)
