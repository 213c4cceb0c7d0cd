"""What someone may put into a file to make its reader crash, wait or fill the memory; and odd things that go in."""

import io
import json
import os
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_files import BINARY, CLASSES, GREY, coins, levels, model, same

from fourfold.cli import main
from fourfold.compression import (
    Block,
    CodingOptions,
    ContainerError,
    Damaged,
    FileOptions,
    NotCodable,
    check_codable,
    compress,
    decompress,
    open_images,
)
from fourfold.compression.container import Container, Writer
from fourfold.compression.latents import _Bins

pytestmark = pytest.mark.usefixtures("unchecked")

SHAPE = (1, 4, 3)
OPTIONS = FileOptions(10, CodingOptions(chunk=10))
Parts = list[tuple[str, bytes]]


def crafted(source: Path, edit: Callable[[dict[str, Any], Parts], object]) -> None:
    """Rewrites a compressed file with other contents; all its digests are right."""
    found = Container.open(source)
    header = json.loads(json.dumps(found.header))
    parts = [(part.kind, found.read(part)) for part in found.parts]
    edit(header, parts)
    with source.open("wb") as file:
        writer = Writer(file.write, header)
        for kind, content in parts:
            writer.add(kind, content)


def recorded(**entries: Any) -> Callable[[dict[str, Any], Parts], object]:
    """Other entries in the record of the only block."""

    def edit(header: dict[str, Any], parts: Parts) -> None:
        at = [kind for kind, _ in parts].index("images")
        content = parts[at][1]
        told = struct.unpack_from("<I", content)[0]
        record = {**json.loads(zlib.decompress(content[4 : 4 + told])), **entries}
        packed = zlib.compress(json.dumps(record).encode())
        parts[at] = "images", struct.pack("<I", len(packed)) + packed + content[4 + told :]

    return edit


def form(**entries: Any) -> Callable[[dict[str, Any], Parts], object]:
    return lambda header, parts: header["form"].update(entries)


def listed(names: list[str]) -> Callable[[dict[str, Any], Parts], object]:
    piece = struct.pack("<I", 0) + zlib.compress(json.dumps({"names": names, "modes": "L"}).encode())
    return lambda header, parts: parts.__setitem__(0, ("keep", piece))


FLAT = {"exponents": [0, 0], "reach": 1}
ARRAYS = {
    "a grid of one value": (recorded(grids=[FLAT]), "its grids are impossible"),
    "an infinite seed": (recorded(seed=float("inf")), "not what pack"),
    "infinite initial words": (recorded(initial_words=float("inf")), "not what pack"),
    "negative initial words": (recorded(initial_words=-4), "not what it began with"),
    "initial words beyond all memory": (recorded(initial_words=1 << 60), "not what it began with"),
    "chunks beyond all memory": (recorded(chunk=1 << 20), "chunk: wanted a whole number from 1 to 4096"),
    "a shape beyond all memory": (lambda h, p: h.update(shape=[1, 1 << 15, 1 << 15], n=1), "but the model's are"),
    "a name no archive can hold": (form(images="x" * 70_000, members=["x" * 70_000]), "which no archive can"),
    "a name of no letters": (form(images="\ud800", members=["\ud800"]), "which no archive can"),
    "labels that there are not": (
        form(labels={"member": "y.npy", "dtype": "<i8", "column": False}, members=["x.npy", "y.npy"]),
        "says that it holds",
    ),
}
PICTURES = {
    "a name too long": (listed(["a" * 70_000 + ".png", "1.png"]), "would not be safe"),
    "a name of no letters": (listed(["\ud800.png", "1.png"]), "would not be safe"),
    "a stream beside a file": (listed(["a/b.png:c.png", "1.png"]), "would not be safe"),
    "a list beyond all memory": (
        lambda h, p: p.__setitem__(slice(0, 1), [("keep", struct.pack("<I", 0) + zlib.compress(bytes(1 << 20)))] * 3),
        "list of pictures cannot be read",
    ),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_hostile_arrays_are_refused(name: str, tmp_path: Path):
    edit, words = ARRAYS[name]
    np.savez(tmp_path / "x.npz", x=coins(5, 4, 3))
    compress(BINARY, open_images(tmp_path / "x.npz", SHAPE), tmp_path / "a.ff", OPTIONS)
    crafted(tmp_path / "a.ff", edit)
    with pytest.raises(ContainerError, match=words):
        decompress(BINARY, tmp_path / "a.ff", tmp_path / "back.npz")
    assert {path.name for path in tmp_path.iterdir()} == {"x.npz", "a.ff"}


@pytest.mark.parametrize("name", PICTURES)
def test_hostile_lists_of_pictures_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fourfold.compression.pictures._MOST_LIST", 1 << 21)
    edit, words = PICTURES[name]
    pictures(tmp_path / "in", "0.png", "1.png")
    compress(GREY, open_images(tmp_path / "in", SHAPE), tmp_path / "a.ff", OPTIONS)
    crafted(tmp_path / "a.ff", edit)
    with pytest.raises(ContainerError, match=words):
        decompress(GREY, tmp_path / "a.ff", tmp_path / "back")
    assert {path.name for path in tmp_path.iterdir()} == {"in", "a.ff"}


def pictures(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(levels(4, 3)).save(folder / name)


def test_what_a_file_says_of_itself_is_no_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Neither to the terminal it is printed on, nor to the shell that a line of it is copied to."""
    np.savez(tmp_path / "x.npz", x=coins(5, 4, 3))
    path = tmp_path / "a.ff"
    compress(BINARY, open_images(tmp_path / "x.npz", SHAPE), path, OPTIONS)
    crafted(path, lambda h, p: h["model"].update(run="run; rm all\n\x1b[31m\ud800", recipe="\x1b[2J"))
    assert main(["decompress", str(path)]) == 0
    said = capsys.readouterr().out
    assert f"fourfold decompress {path} --run 'run; rm all??[31m?' --out images.npz" in said and "\x1b" not in said
    crafted(path, form(kind="exe"))
    assert main(["decompress", str(path)]) == 2
    assert "kind: wanted one of npy, npz, folder, zip, got 'exe'" in capsys.readouterr().err


def test_no_memory_is_taken_on_the_word_of_a_block():
    codec = check_codable(BINARY, SHAPE)
    block = codec.encode(coins(5, *SHAPE))
    with pytest.raises(Damaged, match="what it began with"):
        codec.decode(replace(block, initial_words=1 << 40))
    record, words = block.pack()
    with pytest.raises(Damaged, match="OverflowError"):
        Block.unpack({**record, "seed": float("inf")}, words)


def test_options_that_no_file_could_be_read_with_are_refused():
    with pytest.raises(ValueError, match=r"at most 4,096 rows, got 4,097"):
        CodingOptions(chunk=4097)
    with pytest.raises(TypeError, match=r"seed: wanted a whole number, got 1\.5"):
        CodingOptions(seed=1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("step", [24.0, 100.0, 1e6])
def test_grids_have_more_than_one_value_however_coarse(step: float):
    codec, x = check_codable(BINARY, SHAPE), coins(30, *SHAPE)
    same(codec.decode(codec.encode(x, options=CodingOptions(step=step))), x)


def test_a_model_that_went_wrong_is_no_code():
    broken = model()
    with torch.no_grad():
        next(broken.parameters()).fill_(torch.nan)
    with pytest.raises(NotCodable, match="not all finite"):
        check_codable(broken, SHAPE).encode(coins(5, *SHAPE))


@pytest.mark.parametrize("log_scale", [2.0, 9.0, 9.5, 20.0, 35.0, 60.0])
def test_the_mass_of_a_step_has_all_its_digits(log_scale: float):
    """Of normals many times wider than a step: the density where they are at all wide, and never nothing."""
    whole, loc = np.array([[-3.0, 0.0, 5.0]]), np.full((1, 3), 0.25)
    found = _Bins(loc, np.full((1, 3), log_scale), np.ones(3)).log_mass(whole)
    t = (whole - loc) * np.exp(-log_scale)
    wanted = -0.5 * t**2 - 0.5 * np.log(2 * np.pi) - log_scale
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-7 + np.exp(-2 * log_scale))


@pytest.mark.parametrize("shape", [(5,), (5, 1), (1, 5), (5, 1, 1)])
def test_labels_keep_their_shape(shape: tuple[int, ...], tmp_path: Path):
    machine, y = model(labels=True), np.array([0, 1, 2, 1, 0]).reshape(shape)
    np.savez(tmp_path / "x.npz", x=coins(5, 4, 3), y=y)
    compress(machine, open_images(tmp_path / "x.npz", SHAPE, CLASSES), tmp_path / "a.ff", OPTIONS)
    decompress(machine, tmp_path / "a.ff", tmp_path / "back.npz")
    same(np.load(tmp_path / "back.npz")["y"], y)


def npy(x: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, x)
    return stream.getvalue()


def archived(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("x.npy", content)
    return stream.getvalue()


DEEP = b"\x93NUMPY\x01\x00" + struct.pack("<H", 5000) + b"(" * 5000


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.npy", archived(npy(coins(5, 4, 3))), "cannot be read as .npy"),
        ("x.npy", b"\x93NUMPY\x01\x00\x10\x00{1: 2, 'a': 3}  ", "cannot be read as .npy"),
        ("x.npy", DEEP, "cannot be read as .npy"),
        ("x.npz", archived(DEEP), "cannot be read as .npz"),
        ("x.npz", archived(npy(coins(5, 4, 3)).replace(b"(5, 4, 3)", b"(-5,4, 3)")), "wanted at least one image"),
    ],
)
def test_arrays_that_are_none_are_refused(name: str, content: bytes, words: str, tmp_path: Path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=words):
        open_images(tmp_path / name, SHAPE)


def test_no_labels_are_refused_by_name(tmp_path: Path):
    np.savez(tmp_path / "x.npz", x=coins(5, 4, 3), y=np.zeros(0, int))
    with pytest.raises(ValueError, match=r"conditioned on a label, and there are none"):
        open_images(tmp_path / "x.npz", SHAPE, CLASSES)


def test_a_picture_whose_next_one_is_nowhere_is_refused_by_name(tmp_path: Path):
    pictures(tmp_path / "in", "0.tif")
    data = bytearray((tmp_path / "in" / "0.tif").read_bytes())
    start = struct.unpack_from("<I", data, 4)[0]
    struct.pack_into("<I", data, start + 2 + 12 * struct.unpack_from("<H", data, start)[0], 1 << 30)
    (tmp_path / "in" / "0.tif").write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own
        with pytest.raises(ValueError, match=r"0\.tif cannot be decoded"):
            open_images(tmp_path / "in", SHAPE)


@pytest.mark.parametrize("archive", [False, True])
def test_what_is_left_out_is_told(archive: bool, tmp_path: Path):
    """Whoever removes the folder afterwards would lose it."""
    source = tmp_path / "in"
    pictures(source, "0.png", "sub/1.png", ".hidden/2.png")
    (source / "notes.txt").write_text("mine")
    if archive:
        with zipfile.ZipFile(tmp_path / "in.zip", "w") as file:
            for path in sorted(source.rglob("*")):
                file.write(path, path.relative_to(source))
        source = tmp_path / "in.zip"
    with pytest.warns(UserWarning, match="2 files in it are hidden or no pictures"):
        assert open_images(source, SHAPE).n == 2


def test_no_picture_replaces_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """On a disk where A.png and a.png are one file."""
    pictures(tmp_path / "in", "A.png", "a.png")
    compress(GREY, open_images(tmp_path / "in", SHAPE), tmp_path / "a.ff", OPTIONS)
    plain = Path.open
    lower = {"A.png": "a.png"}
    monkeypatch.setattr(
        Path, "open", lambda self, *a, **k: plain(self.with_name(lower.get(self.name, self.name)), *a, **k)
    )
    with pytest.raises(FileExistsError):
        decompress(GREY, tmp_path / "a.ff", tmp_path / "back")
    assert not (tmp_path / "back").exists() and not (tmp_path / "back.part").exists()


@pytest.mark.skipif(os.name == "nt", reason="names are letters there")
def test_names_that_are_no_letters_come_back_in_a_folder_only(tmp_path: Path):
    pictures(tmp_path / "in", "0.png")
    odd = os.fsencode(tmp_path / "in") + b"/\xff.png"
    try:
        os.rename(tmp_path / "in" / "0.png", odd)
    except OSError:
        pytest.skip("this disk takes no such names")
    compress(GREY, open_images(tmp_path / "in", SHAPE), tmp_path / "a.ff", OPTIONS)
    decompress(GREY, tmp_path / "a.ff", tmp_path / "back")
    assert [os.fsencode(path.name) for path in (tmp_path / "back").iterdir()] == [b"\xff.png"]
    with pytest.raises(ContainerError, match="Name a new folder"):
        decompress(GREY, tmp_path / "a.ff", tmp_path / "back.zip")
    assert not (tmp_path / "back.zip").exists()
