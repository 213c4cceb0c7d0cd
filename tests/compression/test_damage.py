"""Damaged, foreign and hostile ``.ff`` files: each is refused by name, quickly, and nothing is written."""

import json
import re
import shutil
import struct
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fourfold as ff
from fourfold.cli import main
from fourfold.compression import CodingOptions, ContainerError, FileOptions, compress, decompress, open_images
from fourfold.compression.container import Container, Writer
from fourfold.models import Model

pytestmark = pytest.mark.usefixtures("unchecked")

N, SHAPE = 23, (1, 8, 8)
SMALL = ["--likelihood", "discretised_logistic", "--hidden", "8", "--latent", "2", "--epochs", "1", "-q", "--no-report"]


@dataclass(frozen=True)
class Desk:
    """Two runs, and compressed files of an array (in three blocks) and of a folder of pictures."""

    folder: Path

    @property
    def model(self) -> Model:
        return ff.load(self.folder / "run")

    def data(self, name: str = "array.ff") -> bytes:
        return (self.folder / name).read_bytes()

    def container(self, name: str = "array.ff") -> Container:
        return Container.open(self.folder / name)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    folder = tmp_path_factory.mktemp("desk")
    for seed, name in enumerate(("run", "other")):
        assert main(["train", "vae", "--seed", str(seed), "--out", str(folder / name), *SMALL]) == 0
    x = ff.data.digits().test.x[:N]
    np.savez(folder / "array.npz", x=x, y=np.arange(N))
    np.savez(folder / "twin.npz", x=x[::-1], y=np.arange(N))
    (folder / "pictures").mkdir()
    for i in range(3):
        Image.fromarray(x[i, 0]).save(folder / "pictures" / f"{i}.png")
    model = ff.load(folder / "run")
    for name in ("array.npz", "twin.npz", "pictures"):
        options = FileOptions(8, CodingOptions(chunk=8))
        out = (folder / name).with_suffix(".ff")
        compress(model, open_images(folder / name, SHAPE), out, options, {"run": "run", "recipe": "vae"})
    return Desk(folder)


# Ways to damage a file -----------------------------------------------------------------------------------------------

Damage = Callable[[Desk], bytes]


def flipped(at: int | Callable[[Container], int], bit: int = 0) -> Damage:
    """One bit is another."""

    def damaged(desk: Desk) -> bytes:
        data = bytearray(desk.data())
        data[at(desk.container()) if callable(at) else at] ^= 1 << bit
        return bytes(data)

    return damaged


def cut(at: int | Callable[[Container], int]) -> Damage:
    """All from there on is missing."""
    return lambda desk: desk.data()[: at(desk.container()) if callable(at) else at]


def block(number: int, into: int = 0) -> Callable[[Container], int]:
    """So many bytes into the content of a coded block."""
    return lambda c: [part for part in c.parts if part.kind == "images"][number].offset + into


def arranged(*pieces: int | bytes) -> Damage:
    """The start, then the parts of these numbers, as they stand in the file."""

    def damaged(desk: Desk) -> bytes:
        data, parts = desk.data(), desk.container().parts
        spans = [data[part.offset - 12 : part.offset + part.size + 16] for part in parts]
        return data[: parts[0].offset - 12] + b"".join(spans[p] if isinstance(p, int) else p for p in pieces)

    return damaged


def foreign(number: int) -> Damage:
    """A block that stands at the same place in another file of the same model and header."""

    def damaged(desk: Desk) -> bytes:
        (mine, theirs), data = (desk.container(n).parts[number] for n in ("array.ff", "twin.ff")), desk.data()
        piece = desk.data("twin.ff")[theirs.offset - 12 : theirs.offset + theirs.size + 16]
        return data[: mine.offset - 12] + piece + data[mine.offset + mine.size + 16 :]

    return damaged


Parts = list[tuple[str, bytes]]


def crafted(edit: Callable[[dict[str, Any], Parts], object], name: str = "array.ff") -> Damage:
    """A file all of whose digests are right, and which says something else."""

    def damaged(desk: Desk) -> bytes:
        found = desk.container(name)
        header = json.loads(json.dumps(found.header))
        parts = [(part.kind, found.read(part)) for part in found.parts]
        edit(header, parts)
        pieces: list[bytes] = []
        writer = Writer(pieces.append, header)
        for kind, content in parts:
            writer.add(kind, content)
        return b"".join(pieces)

    return damaged


def says(**entries: Any) -> Damage:
    """Other entries in the header; None leaves one out."""

    def edit(header: dict[str, Any], parts: Parts) -> None:
        header.update(entries)
        for name in [name for name, value in entries.items() if value is None]:
            del header[name]

    return crafted(edit)


def form(name: str = "array.ff", **entries: Any) -> Damage:
    return crafted(lambda header, parts: header["form"].update(entries), name)


def recorded(**entries: Any) -> Damage:
    """Other entries in the record of the first block."""

    def edit(header: dict[str, Any], parts: Parts) -> None:
        content = parts[1][1]
        told = struct.unpack_from("<I", content)[0]
        record = {**json.loads(zlib.decompress(content[4 : 4 + told])), **entries}
        packed = zlib.compress(json.dumps(record).encode())
        parts[1] = "images", struct.pack("<I", len(packed)) + packed + content[4 + told :]

    return crafted(edit)


def part(number: int, change: Callable[[bytes], bytes], name: str = "array.ff") -> Damage:
    def edit(header: dict[str, Any], parts: Parts) -> None:
        parts[number] = parts[number][0], change(parts[number][1])

    return crafted(edit, name)


def told(**entries: Any) -> Damage:
    return part(-1, lambda content: json.dumps({**json.loads(content), **entries}).encode())


def names(*given: str, modes: Any = "L") -> Damage:
    listed = struct.pack("<I", 0) + zlib.compress(json.dumps({"names": given, "modes": modes}).encode())
    return part(0, lambda content: listed, "pictures.ff")


BOMB = zlib.compress(bytes(1 << 27), 9)

DAMAGED: dict[str, tuple[Damage, str]] = {
    # what happens to files
    "empty": (cut(0), "is empty"),
    "another format": (lambda desk: (desk.folder / "array.npz").read_bytes(), "not an .ff file"),
    "taken for text": (lambda desk: desk.data().replace(b"\r\n", b"\n"), "not an .ff file"),
    "magic flipped": (flipped(0), "not an .ff file"),
    "format flipped": (flipped(8, 1), "its format is 3"),
    "an older format": (flipped(8), "its format is 0"),
    "a newer format": (flipped(9), "its format is 257"),
    "header length flipped": (flipped(10), "header is damaged"),
    "header length huge": (flipped(13, 7), "header is damaged"),
    "header flipped": (flipped(40), "header is damaged"),
    "header digest flipped": (flipped(lambda c: c.parts[0].offset - 13), "header is damaged"),
    "kind flipped": (flipped(lambda c: c.parts[1].offset - 12), "part 2 is damaged"),
    "length flipped": (flipped(lambda c: c.parts[1].offset - 8), "part 2 is damaged"),
    "length huge": (flipped(lambda c: c.parts[1].offset - 1, 7), "part 2 is damaged"),
    "length longer than the file": (flipped(lambda c: c.parts[1].offset - 6), "truncated or damaged"),
    "what is kept flipped": (flipped(lambda c: c.parts[0].offset + 5), "part 1 is damaged"),
    "block flipped": (flipped(block(1, 30)), "part 3 is damaged"),
    "block digest flipped": (flipped(lambda c: c.parts[1].offset + c.parts[1].size), "part 2 is damaged"),
    "end flipped": (flipped(lambda c: c.parts[-1].offset), "part 5 is damaged"),
    "cut in the magic": (cut(5), "truncated"),
    "cut in the header": (cut(100), "truncated"),
    "cut after the header": (cut(lambda c: c.parts[0].offset - 12), "truncated"),
    "cut between blocks": (cut(lambda c: c.parts[2].offset - 12), "part 3: truncated"),
    "cut in a block": (cut(block(1, 30)), "truncated or damaged"),
    "cut before the last byte": (cut(-1), "truncated or damaged"),
    "a byte more": (lambda desk: desk.data() + b"\0", "1 bytes follow its end"),
    "written twice": (lambda desk: 2 * desk.data(), "bytes follow its end"),
    "zeros in the middle": (lambda desk: desk.data()[:1500] + bytes(512) + desk.data()[2012:], "damaged"),
    "blocks swapped": (arranged(0, 2, 1, 3, 4), "part 2 is damaged"),
    "a block missing": (arranged(0, 1, 3, 4), "part 3 is damaged"),
    "a block twice": (arranged(0, 1, 1, 2, 3, 4), "part 3 is damaged"),
    "no blocks": (arranged(4), "part 1 is damaged"),
    "a block of another file": (foreign(2), "part 3 is damaged"),
    # what someone may write on purpose
    "n too large": (says(n=N + 1), "block 3: n: wanted a whole number from 8"),
    "n immense": (says(n=1 << 47), "its header means nothing"),
    "n beyond all": (says(n=1 << 80), " n: wanted"),
    "n is no number": (says(n="23"), " n: wanted"),
    "no n": (says(n=None), " n: wanted"),
    "another shape": (says(shape=[1, 8, 9]), "does not go with this model"),
    "an immense shape": (says(shape=[1 << 20, 1 << 20, 1 << 20]), "its header means nothing"),
    "no shape": (says(shape=[]), " shape: wanted"),
    "a scale of its own": (says(scale=7), "its header means nothing"),
    "no blocks told": (says(blocks=0), " blocks: wanted"),
    "fewer blocks told": (says(blocks=2), "not the 2 blocks"),
    "labels told": (says(labels="|u1"), "not the 3 blocks"),
    "labels of objects": (says(labels="|O"), " labels: wanted"),
    "no model": (says(model={}), " digest: wanted"),
    "no form": (says(form=[]), " form: wanted"),
    "an unknown kind": (form(kind="exe"), " kind: wanted"),
    "members that are not there": (form(members=["x.npy", "z.npy"]), "but it has"),
    "unknown axes": (form(axes="upside down"), " axes: wanted"),
    "a type of objects": (form(dtype="|O"), " dtype: wanted"),
    "another coder": (says(versions={"constriction": "9.9.1"}), "coded with constriction 9.9.1"),
    "no coder": (says(versions={}), " constriction: wanted"),
    "a record of other images": (recorded(n=7), " n: wanted"),
    "a record of immense chunks": (recorded(sizes=[[1, 1 << 60]]), "chunks are not of 8 images"),
    "a record of negative chunks": (recorded(sizes=[[-1, 1], [9, 1]]), "chunks are not of 8 images"),
    "a record of floats": (recorded(dtype="float64"), " dtype: wanted"),
    "a record without grids": (recorded(grids=None), "not what pack"),
    "a record of other grids": (recorded(grids=[]), "block 1: The block does not decode"),
    "a record of an immense chunk": (recorded(chunk=1 << 40), " chunk: wanted"),
    "a record of other shifts": (
        recorded(shifts=[[i, 1, 0, part, 9] for i in range(4) for part in range(256)]),
        "block 1: The block does not decode",
    ),
    "a record longer than the block": (part(1, lambda b: b"\xff\xff\xff\x7f" + b[4:]), "longer than itself"),
    "a record that is a bomb": (part(1, lambda b: struct.pack("<I", len(BOMB)) + BOMB), "inflates to more"),
    "a record that is not deflated": (part(1, lambda b: b"\4\0\0\0abcd"), "cannot be inflated"),
    "a block of nothing": (part(1, lambda b: b""), "longer than itself"),
    "words cut by a byte": (part(1, lambda b: b[:-1]), "words of 4 bytes"),
    "words cut by one": (part(1, lambda b: b[:-4]), "block 1: .* does not decode"),
    "one word more": (part(1, lambda b: b + b"\1\0\0\0"), "block 1: The block does not decode"),
    "words of zeros": (part(1, lambda b: b[:-40] + bytes(40)), "block 1: The block does not decode"),
    "kept that is a bomb": (part(0, lambda b: b[:4] + BOMB), "inflates to more"),
    "an end that is no JSON": (part(-1, lambda b: b"{"), "wanted JSON"),
    "an end of another digest": (told(digest="00"), "is not what was compressed"),
    "an end of no digest": (told(digest=None), " digest: wanted"),
    "an end of immense bits": (told(coded_bits=1 << 70), " coded_bits: wanted"),
}

PICTURES: dict[str, tuple[Damage, str]] = {
    "a name that leads out": (names("../0.png", "1.png", "2.png"), "'../0.png', which would not be safe"),
    "a name from the root": (names("/tmp/0.png", "1.png", "2.png"), "'/tmp/0.png', which would not be safe"),
    "a name of a drive": (names("C:/0.png", "1.png", "2.png"), "'C:/0.png', which would not be safe"),
    "a name with a backslash": (names("..\\0.png", "1.png", "2.png"), "would not be safe"),
    "one name twice": (names("0.png", "1.png", "1.png"), "have one name"),
    "a picture that is a folder": (names("0.png", "0.png/1.png", "2.png"), "have one name"),
    "a program": (names("0.exe", "1.png", "2.png"), "do not end in"),
    "a name missing": (names("0.png", "1.png"), "not one of 3"),
    "names that are numbers": (part(0, lambda b: b[:4] + zlib.compress(b"[1]"), "pictures.ff"), "cannot be read"),
    "modes of colour": (names("0.png", "1.png", "2.png", modes="RGB"), "do not go with shape"),
    "unknown modes": (names("0.png", "1.png", "2.png", modes=["L", "L", "X"]), "do not go with shape"),
    "no list": (form("pictures.ff", kept=["z"]), "list of pictures cannot be read"),
}


def refused(words: list[str], saying: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command ends with status 2 and one line that says so, in good time, and leaves nothing."""
    before, start = sorted(folder.iterdir()), time.process_time()
    assert main(words) == 2
    said = capsys.readouterr()
    assert re.search(saying, said.err), said.err
    assert said.err.startswith("fourfold: error: ") and said.err.count("\n") == 1 and not said.out
    assert sorted(folder.iterdir()) == before
    assert time.process_time() - start < 10


@pytest.mark.parametrize("name", [*DAMAGED, *PICTURES])
def test_it_is_refused(name: str, desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    damage, saying = {**DAMAGED, **PICTURES}[name]
    data = damage(desk)
    assert data not in (desk.data(), desk.data("pictures.ff"))
    (tmp_path / "damaged.ff").write_bytes(data)
    out = "out" if name in PICTURES else "out.npz"
    words = ["decompress", str(tmp_path / "damaged.ff"), "--run", str(desk.folder / "run")]
    refused([*words, "--out", str(tmp_path / out), "-q"], saying, tmp_path, capsys)


def test_other_models_are_refused_with_both_digests(desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    further = shutil.copytree(desk.folder / "run", tmp_path / "further")
    assert main(["train", "--resume", str(further), "--epochs", "2", "-q"]) == 0
    of = ff.compression.model_digest
    for run in (desk.folder / "other", further):
        mine, theirs = of(desk.model), of(ff.load(run))
        words = ["decompress", str(desk.folder / "array.ff"), "--run", str(run), "--out", str(tmp_path / "o.npz")]
        capsys.readouterr()
        refused(
            [*words, "-q"], rf"the model {mine} \(run run, recipe vae\), but this model is {theirs}", tmp_path, capsys
        )


def test_every_byte_of_the_start_matters(desk: Desk, tmp_path: Path):
    """Magic, format, length, header and digest: every byte, one bit and all bits."""
    data, path = desk.data(), tmp_path / "a.ff"
    for at in range(desk.container().parts[0].offset):
        for change in (1 << at % 8, 0xFF):
            path.write_bytes(data[:at] + bytes([data[at] ^ change]) + data[at + 1 :])
            with pytest.raises(ContainerError):
                ff.compression.open_compressed(path)


def test_bytes_of_the_body_matter(desk: Desk, tmp_path: Path):
    data, path, model = desk.data(), tmp_path / "a.ff", desk.model
    rng = np.random.default_rng(0)
    for at in rng.integers(desk.container().parts[0].offset, len(data), 300):
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 << int(rng.integers(8)))]) + data[at + 1 :])
        with pytest.raises(ContainerError, match="damaged"):
            decompress(model, path, tmp_path / "out.npz")
    assert list(tmp_path.iterdir()) == [path]


def test_altered_codes_with_right_digests_are_never_other_images(desk: Desk, tmp_path: Path):
    """What the digests of the parts cannot find, the code or the digest of the images does."""
    rng, model, path = np.random.default_rng(0), desk.model, tmp_path / "a.ff"
    for _ in range(20):
        number, at, bit = 1 + int(rng.integers(3)), float(rng.uniform()), int(rng.integers(8))

        def alter(content: bytes, at: float = at, bit: int = bit) -> bytes:
            start = 4 + struct.unpack_from("<I", content)[0]
            i = start + int(at * (len(content) - start))
            return content[:i] + bytes([content[i] ^ (1 << bit)]) + content[i + 1 :]

        path.write_bytes(part(number, alter)(desk))
        with pytest.raises(ContainerError, match=r"block|is not what was compressed"):
            decompress(model, path, tmp_path / "out.npz")
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_itself_is_whole(desk: Desk, tmp_path: Path):
    """So that none of the refusals above is of something else."""
    for out, crafted_from in (("out.npz", "array.ff"), ("out", "pictures.ff")):
        (tmp_path / crafted_from).write_bytes(crafted(lambda header, parts: None, crafted_from)(desk))
        assert (tmp_path / crafted_from).read_bytes() == desk.data(crafted_from)
        run = str(desk.folder / "run")
        assert main(["decompress", str(tmp_path / crafted_from), "--run", run, "--out", str(tmp_path / out), "-q"]) == 0
    assert len(DAMAGED) + len(PICTURES) >= 25
