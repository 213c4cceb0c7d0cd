"""The layout of ``.ff`` files, byte by byte; whatever is not as it was written is refused."""

import hashlib
import io
import struct
import tracemalloc
from pathlib import Path

import pytest

from fourfold.compression.container import FORMAT, Container, ContainerError, Writer

MAGIC = b"\x89FF\r\n\x1a\n\0"
PARTS = [("keep", b"kept"), ("images", bytes(range(200))), ("images", b""), ("end", b"{}")]


def digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16, person=b"fourfold .ff").digest()


def written(header: object = None, parts: list[tuple[str, bytes]] = PARTS) -> bytes:
    file = io.BytesIO()
    writer = Writer(file.write, {"n": 1} if header is None else header)
    for kind, content in parts:
        writer.add(kind, content)
    assert writer.size == len(file.getvalue())
    return file.getvalue()


@pytest.fixture
def opened(tmp_path: Path):
    def read(data: bytes) -> Container:
        (tmp_path / "a.ff").write_bytes(data)
        return Container.open(tmp_path / "a.ff")

    return read


def by_hand(text: bytes, parts: list[tuple[bytes, bytes]]) -> bytes:
    """The layout as the documentation tells it."""
    data = MAGIC + struct.pack("<HI", 1, len(text)) + text
    last = digest(data)
    data += last
    for kind, content in parts:
        part = kind + struct.pack("<Q", len(content)) + content
        last = digest(last + part)
        data += part + last
    return data


def test_a_file_is_laid_out_as_documented(opened):
    codes = [(b"KEEP", b"kept"), (b"IMGS", bytes(range(200))), (b"IMGS", b""), (b"LAST", b"{}")]
    assert written() == by_hand(b'{"n":1}', codes)
    found = opened(written())
    assert found.header == {"n": 1} and found.size == len(written())
    assert [(part.kind, found.read(part)) for part in found.parts] == PARTS


def test_every_flipped_bit_is_found(opened):
    data = written()
    for at in range(len(data)):
        for bit in (0, 3, 7):
            altered = bytearray(data)
            altered[at] ^= 1 << bit
            with pytest.raises(ContainerError):
                opened(bytes(altered))


def test_every_truncation_is_found(opened):
    data = written()
    for size in range(len(data)):
        with pytest.raises(ContainerError, match=r"empty|truncated|not an .ff file"):
            opened(data[:size])


@pytest.mark.parametrize("more", [b"\0", b"LAST", written()])
def test_what_follows_the_end_is_found(opened, more: bytes):
    with pytest.raises(ContainerError, match=f"{len(more):,} bytes follow its end"):
        opened(written() + more)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"PK\3\4 a zip", "not an .ff file"),
        (b"\x93NUMPY", "not an .ff file"),
        (MAGIC.replace(b"\r\n", b"\n") + written()[8:], "not an .ff file"),  # taken for text on the way
        (MAGIC, "truncated"),
        (MAGIC + struct.pack("<HI", FORMAT + 1, 7) + written()[14:], "format is 2, and this fourfold reads format 1"),
        (MAGIC + struct.pack("<HI", 1, 1 << 31) + written()[14:], "header is damaged"),
        (by_hand(b"[1]", []), "not a JSON object"),
        (by_hand(b"[" * 100_000, []), "not a JSON object"),
        (by_hand(b"{}", [(b"IMGS", b"")]), "truncated"),  # no end
        (by_hand(b"{}", [(b"WHAT", b"")]), "part 1 is damaged"),
        (by_hand(b"{}", []) + b"LAST" + struct.pack("<Q", 1 << 62), "part 1 is damaged"),
        (by_hand(b"{}", []) + b"LAST" + struct.pack("<Q", 1 << 20), "wanted 1,048,592 bytes"),
    ],
)
def test_what_is_not_such_a_file_is_refused_by_name(opened, data: bytes, words: str):
    with pytest.raises(ContainerError, match=words):
        opened(data)


def test_parts_that_were_moved_left_out_or_taken_from_elsewhere_are_found(opened):
    parts = [("images", b"one"), ("images", b"two"), ("end", b"")]
    data, other = written(parts=parts), written({"n": 2}, parts)
    start, each = len(data) - 2 * (12 + 3 + 16) - (12 + 16), 12 + 3 + 16
    one, two, end = data[start : start + each], data[start + each : start + 2 * each], data[start + 2 * each :]
    assert data == data[:start] + one + two + end
    theirs = other[start : start + each]
    for altered in (two + one + end, one + end, two + end, one + one + end, one + two + two + end, theirs + two + end):
        with pytest.raises(ContainerError, match="is damaged"):
            opened(data[:start] + altered)


def test_a_file_that_changes_after_it_was_opened_is_found(opened):
    found = opened(written())
    data = bytearray(written())
    data[found.parts[1].offset + 5] ^= 1
    found.path.write_bytes(bytes(data))
    assert found.read(found.parts[0]) == b"kept"
    for damaged in (bytes(data), bytes(data)[: found.parts[1].offset + 3]):
        found.path.write_bytes(damaged)
        with pytest.raises(ContainerError, match="changed while it was being read"):
            found.read(found.parts[1])


def test_opening_holds_no_part_in_memory(opened):
    data = written(parts=[("images", bytes(32 << 20)), ("end", b"")])
    tracemalloc.start()
    opened(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_the_writer_refuses_what_the_reader_would():
    with pytest.raises(ContainerError, match="header: wanted at most"):
        Writer(len, {"names": "x" * (1 << 20)})
    with pytest.raises(ValueError, match=r"JSON|Out of range"):
        Writer(len, {"bound": float("nan")})
    assert written({"b": 1, "a": "é"})[14:].startswith(b'{"a":"\\u00e9","b":1}')
