"""Arrays and pictures through ``.ff`` files and back: names, types, order and every value."""

import io
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fourfold.compression import (
    Block,
    Codec,
    CodingOptions,
    Compressed,
    ContainerError,
    FileOptions,
    NotCodable,
    compress,
    decompress,
    model_digest,
    open_array,
    open_compressed,
    open_images,
)
from fourfold.conditional import Condition, Conditional, NetworkConditional
from fourfold.distributions import BernoulliHead, CategoricalHead, GaussianHead, Head
from fourfold.models import VAE, Model
from fourfold.priors import StandardNormal

# An album with a text beside its pictures may be warned of.
pytestmark = pytest.mark.filterwarnings("ignore:.*not compressed with the rest")

CLASSES = ("ant", "bee", "cat")
CODING = CodingOptions(chunk=10, verify=False)
SMALL, TINY = FileOptions(10, CODING), FileOptions(2, CODING)
RNG = np.random.default_rng(0)


class WithLabel(nn.Module):
    """A linear map of the context and of c beside it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs + len(CLASSES), outputs)

    def forward(self, x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return self.linear(torch.cat((x.flatten(1), c), -1))


def model(head: Callable[..., Head] = BernoulliHead, shape=(1, 4, 3), seed: int = 0, labels: bool = False) -> Model:
    """A tiny VAE of random weights."""
    inputs, given = int(np.prod(shape)), (len(CLASSES),) if labels else None

    def room(inputs: int, head: Head, event: Any) -> Conditional:
        outputs = int(np.prod(head.raw_shape))
        if labels:
            return NetworkConditional(WithLabel(inputs, outputs), head, event, given)
        return NetworkConditional(nn.Sequential(nn.Flatten(), nn.Linear(inputs, outputs)), head, event)

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        parts = room(inputs, GaussianHead(2), shape), StandardNormal(2), room(2, head(shape), 2)
        return VAE(*parts, Condition.label(len(CLASSES)) if labels else None).eval()


def there_and_back(source: Path, out: Path, machine: Model, shape=(1, 4, 3), **more: Any) -> Compressed:
    images = open_images(source, shape, more.pop("classes", None))
    found = compress(machine, images, out.parent / "a.ff", **more)
    decompress(machine, out.parent / "a.ff", out)
    assert found == open_compressed(out.parent / "a.ff")[1]
    assert found.size == (out.parent / "a.ff").stat().st_size
    return found


def same(one: np.ndarray, other: np.ndarray) -> None:
    assert (one.dtype, one.shape) == (other.dtype, other.shape)
    np.testing.assert_array_equal(one, other)


def coins(*shape: int) -> np.ndarray:
    return RNG.integers(0, 2, shape, dtype=np.uint8)


def levels(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


BINARY, GREY = model(), model(CategoricalHead)
ARRAYS = {
    "binary": (BINARY, coins(25, 1, 4, 3)),
    "no_channel": (BINARY, coins(25, 4, 3)),
    "channels_last": (GREY, levels(25, 4, 3, 1)),
    "bool": (BINARY, coins(25, 4, 3).astype(bool)),
    "black_and_white": (BINARY, coins(25, 4, 3) * np.uint8(255)),
    "all_black": (BINARY, np.zeros((3, 4, 3), np.uint8)),
    "grey": (GREY, levels(25, 1, 4, 3)),
    "0_and_1_as_levels": (GREY, coins(25, 1, 4, 3)),
    "fortran": (GREY, np.asfortranarray(levels(25, 4, 3))),
    "one": (GREY, levels(1, 4, 3)),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_npy_file_comes_back(name: str, tmp_path: Path):
    machine, x = ARRAYS[name]
    np.save(tmp_path / "x.npy", x)
    there_and_back(tmp_path / "x.npy", tmp_path / "back.npy", machine, options=SMALL)
    same(np.load(tmp_path / "back.npy"), x)


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_file_comes_back_with_all_that_is_in_it(name: str, save: Any, tmp_path: Path):
    machine, x = ARRAYS[name]
    others = {"y": np.arange(len(x)), "note": np.array("text"), "weights": RNG.normal(size=(300, 500))}
    save(tmp_path / "x.npz", first=others["note"], x=x, **others)
    there_and_back(tmp_path / "x.npz", tmp_path / "back.npz", machine, options=SMALL)
    with np.load(tmp_path / "x.npz") as before, np.load(tmp_path / "back.npz") as after:
        assert before.files == after.files
        for key in before.files:
            same(after[key], before[key])
    kinds = [{info.compress_type for info in zipfile.ZipFile(tmp_path / n).infolist()} for n in ("x.npz", "back.npz")]
    assert kinds[0] == kinds[1]


def test_the_only_array_that_can_be_images_needs_no_name(tmp_path: Path):
    np.savez(tmp_path / "x.npz", frames=levels(5, 4, 3), time=np.arange(5.0))
    there_and_back(tmp_path / "x.npz", tmp_path / "back.npz", GREY)
    with np.load(tmp_path / "x.npz") as before, np.load(tmp_path / "back.npz") as after:
        same(after["frames"], before["frames"])


@pytest.mark.parametrize(
    "labels",
    [
        np.array([0, 1, 2, 1, 0]),
        np.array([[2], [1], [2], [1], [0]], np.int16),
        np.array(["ant", "cat", "bee", "bee", "cat"]),
        np.array([2, 1, 0, 1, 1], np.uint8),
    ],
    ids=["int64", "column", "names", "uint8"],
)
def test_labels_that_the_model_is_told_come_back_too(labels: np.ndarray, tmp_path: Path):
    machine = model(labels=True)
    np.savez(tmp_path / "x.npz", labels=labels, images=coins(5, 4, 3))
    there_and_back(tmp_path / "x.npz", tmp_path / "back.npz", machine, classes=CLASSES, options=TINY)
    with np.load(tmp_path / "x.npz") as before, np.load(tmp_path / "back.npz") as after:
        for key in ("labels", "images"):
            same(after[key], before[key])


def test_labels_are_told_to_the_model(tmp_path: Path):
    """The same images under other labels are other bits, and the bound says so."""
    machine, x = model(labels=True), coins(30, 1, 4, 3)
    found = [
        compress(machine, open_array(x, np.full(30, label), (1, 4, 3), CLASSES, "x"), tmp_path / "a.ff")
        for label in range(3)
    ]
    assert len({each.bound_bits for each in found}) == 3
    with pytest.raises(ValueError, match="conditioned on labels"):
        compress(machine, open_array(x, None, (1, 4, 3), None, "x"), tmp_path / "a.ff")


def picture(path: Path, pixels: np.ndarray, mode: str, form: str = "PNG") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode, dither=Image.Dither.NONE).save(path, form)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Pictures in folders, of two modes and three formats, and something that is no picture."""
    folder = tmp_path / "album"
    picture(folder / "b.png", levels(4, 3), "L")
    picture(folder / "sub" / "é a.PNG", levels(4, 3), "L")
    picture(folder / "sub" / "deep" / "x.bmp", levels(4, 3), "L", "BMP")
    picture(folder / "sub" / "y.tif", levels(4, 3), "L", "TIFF")
    picture(folder / "a.png", 255 * coins(4, 3), "1")
    (folder / "readme.txt").write_text("not a picture")
    return folder


def pictures(folder: Path) -> dict[str, tuple[str, str | None, bytes]]:
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".txt":
            with Image.open(path) as image:
                found[path.relative_to(folder).as_posix()] = image.mode, image.format, image.tobytes()
    return found


@pytest.mark.parametrize("block", [2, 100])
def test_a_folder_of_pictures_comes_back(album: Path, tmp_path: Path, block: int):
    there_and_back(album, tmp_path / "back", GREY, options=FileOptions(block, CODING))
    assert pictures(tmp_path / "back") == pictures(album) and len(pictures(album)) == 5
    assert not (tmp_path / "back" / "readme.txt").exists()
    decompress(GREY, tmp_path / "a.ff", tmp_path / "back.zip")
    with zipfile.ZipFile(tmp_path / "back.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    assert pictures(tmp_path / "unpacked") == pictures(album)


def test_black_and_white_pictures_of_a_bernoulli_come_back(tmp_path: Path):
    for i in range(7):
        picture(tmp_path / "in" / f"{i}.png", 255 * coins(4, 3), "1" if i % 2 else "L")
    found = there_and_back(tmp_path / "in", tmp_path / "out", BINARY)
    assert pictures(tmp_path / "out") == pictures(tmp_path / "in") and found.header.scale == 255


def test_colour_pictures_come_back(tmp_path: Path):
    for i in range(4):
        picture(tmp_path / "in" / f"{i}.png", levels(4, 3, 3), "RGB")
    there_and_back(tmp_path / "in", tmp_path / "out", model(CategoricalHead, (3, 4, 3)), (3, 4, 3))
    assert pictures(tmp_path / "out") == pictures(tmp_path / "in")


@pytest.mark.parametrize("top", ["", "top/"])
def test_a_zip_of_pictures_comes_back(tmp_path: Path, top: str):
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for name in ("b/2.png", "a/1.png", "a/3.png"):
            stream = io.BytesIO()
            Image.fromarray(levels(4, 3)).save(stream, "PNG")
            archive.writestr(top + name, stream.getvalue())
    there_and_back(tmp_path / "in.zip", tmp_path / "out.zip", GREY)
    for name in ("in", "out"):
        with zipfile.ZipFile(tmp_path / f"{name}.zip") as archive:
            archive.extractall(tmp_path / name)
            assert set(archive.namelist()) == {top + name for name in ("a/1.png", "a/3.png", "b/2.png")}
    assert pictures(tmp_path / "out") == pictures(tmp_path / "in")


def test_folders_name_the_classes(tmp_path: Path):
    for name in ("bee/1.png", "cat/2.png", "ant/3.png"):
        picture(tmp_path / "in" / name, 255 * coins(4, 3), "1")
    there_and_back(tmp_path / "in", tmp_path / "out", model(labels=True), classes=CLASSES)
    assert pictures(tmp_path / "out") == pictures(tmp_path / "in")
    assert open_images(tmp_path / "in", (1, 4, 3), CLASSES).labels.tolist() == [0, 1, 2]


def test_what_is_counted_is_the_whole_file(tmp_path: Path):
    np.savez(tmp_path / "x.npz", x=ARRAYS["grey"][1], y=np.arange(25))
    found = there_and_back(tmp_path / "x.npz", tmp_path / "b.npz", GREY, options=SMALL)
    container, _ = open_compressed(tmp_path / "a.ff")
    assert [part.kind for part in container.parts] == ["keep", "images", "images", "images", "end"]
    assert found.header.sizes == [9, 8, 8]
    assert found.coded_bits > found.bound_bits > 0 and 0 < found.initial_bits < found.coded_bits
    assert found.coded_bits / 8 + found.kept < found.size
    assert found.kept == sum(part.size for part in container.parts if part.kind == "keep") > 0


def test_progress_rises_to_the_number_of_images(tmp_path: Path):
    told: list[tuple[int, int]] = []
    np.save(tmp_path / "x.npy", ARRAYS["grey"][1])
    compress(
        GREY,
        open_images(tmp_path / "x.npy", (1, 4, 3)),
        tmp_path / "a.ff",
        options=SMALL,
        progress=lambda done, of: told.append((done, of)),
    )
    for way in range(2):
        assert told == sorted(told) and told[-1] == (25, 25) and {of for _, of in told} == {25}, way
        told.clear()
        if not way:
            decompress(GREY, tmp_path / "a.ff", tmp_path / "b.npy", lambda done, of: told.append((done, of)))


def copied(self: Codec, x: np.ndarray, *rest: object) -> Block:
    words = np.frombuffer(x.tobytes() + bytes(-x.size % 4), np.uint32)
    return Block(len(x), "uint8", 100, 0, (100,) * (len(x) // 100), (), (), words, 0, 0.0)


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Four times as many images, no more memory: neither there nor back, neither .npy nor .npz.

    What a codec needs for a block is another matter, so here it only copies.
    """
    shape, peaks = (1, 32, 32), {}
    monkeypatch.setattr(Codec, "encode", copied)
    monkeypatch.setattr(Codec, "decode", lambda self, block, *rest: block.words.view(np.uint8).reshape(block.n, *shape))
    machine = model(CategoricalHead, shape)
    for n in (2000, 8000):
        np.save(tmp_path / "x.npy", np.resize(levels(100, 32, 32), (n, 32, 32)))
        np.savez(tmp_path / "x.npz", x=np.load(tmp_path / "x.npy"), z=np.zeros((n, 1000)))
        for suffix in ("npy", "npz"):
            tracemalloc.start()
            images = open_images(tmp_path / f"x.{suffix}", shape)
            compress(machine, images, tmp_path / "a.ff", options=FileOptions(500))
            decompress(machine, tmp_path / "a.ff", tmp_path / f"back.{suffix}")
            peaks[n, suffix] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            back, x = (np.load(tmp_path / name, mmap_mode="r") for name in (f"back.{suffix}", "x.npy"))
            same(back if suffix == "npy" else back["x"], x)
    for suffix in ("npy", "npz"):
        assert peaks[8000, suffix] < 1.1 * peaks[2000, suffix] < 1.1 * (8 << 20)


@pytest.mark.parametrize(
    ("save", "machine", "error", "words"),
    [
        ({"x": levels(5, 4, 3)}, BINARY, ValueError, "over 0 and 1, got grey values in row 0. Nothing is binarised"),
        ({"x": np.array([0, 1, 255] * 4, np.uint8).reshape(1, 4, 3)}, BINARY, ValueError, "got both 1 and 255"),
        ({"x": coins(5, 3, 4)}, BINARY, ValueError, r"shape \(3, 4\), but this model was trained on shape \(1, 4, 3\)"),
        ({"x": coins(5, 12)}, BINARY, ValueError, r"shape \(12,\), but this model"),
        ({"x": coins(0, 4, 3)}, BINARY, ValueError, "at least one image"),
        ({"x": coins(5, 4, 3).astype(np.float32)}, BINARY, ValueError, "wanted uint8 .* got float32"),
        ({"x": coins(5, 4, 3).astype(np.int64)}, BINARY, ValueError, "wanted uint8 .* got int64"),
        (
            {"x_train": coins(5, 4, 3), "x_test": coins(2, 4, 3)},
            BINARY,
            ValueError,
            "several arrays could be .* x_train",
        ),
        ({"z": np.zeros(3)}, BINARY, ValueError, "wanted an array of images named x, found z"),
        ({"x": np.array([None, 1])}, BINARY, ValueError, "got object"),
        ({"x": levels(5, 4, 3)}, model(GaussianHead), NotCodable, "."),
    ],
)
def test_what_cannot_be_compressed_is_refused(save: dict, machine: Model, error: type, words: str, tmp_path: Path):
    np.savez(tmp_path / "x.npz", **save)
    with pytest.raises(error, match=words):
        compress(machine, open_images(tmp_path / "x.npz", (1, 4, 3)), tmp_path / "a.ff")
    assert {path.name for path in tmp_path.iterdir()} == {"x.npz"}


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (None, "there are none"),
        (np.array([0, 1, 2, 3, 0]), "labels from 0 to 2, got 0 to 3"),
        (np.array([0, -1, 2, 1, 0]), "got -1 to 2"),
        (np.array(["ant", "bee", "dog", "ant", "ant"]), "no class 'dog'; it knows ant, bee, cat"),
        (np.array([0.0, 1, 1, 1, 1]), "whole numbers or strings, got float64"),
        (np.array([0, 1]), "a label for each of 5 images, got 2"),
    ],
)
def test_labels_that_the_model_does_not_know_are_refused(labels: np.ndarray | None, words: str, tmp_path: Path):
    np.savez(tmp_path / "x.npz", x=coins(5, 4, 3), **({} if labels is None else {"y": labels}))
    with pytest.raises(ValueError, match=words):
        open_images(tmp_path / "x.npz", (1, 4, 3), CLASSES)


def deep_rgb() -> bytes:
    """A PNG of 16 bits a channel, which Pillow would read as one of 8."""
    import struct
    import zlib

    def piece(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = piece(b"IHDR", struct.pack(">IIBBBBB", 3, 4, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + piece(b"IDAT", zlib.compress(bytes(4 * 19))) + piece(b"IEND", b"")


def saved(pixels: np.ndarray, mode: str, form: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, form, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.png", saved(levels(4, 3, 3), "P"), "got mode P"),
        ("a.png", saved(levels(4, 3, 3), "RGBA"), "got mode RGBA"),
        ("a.png", saved(levels(4, 3), "L", transparency=3), "mode L, transparency"),
        ("a.png", saved(levels(4, 3), "I;16"), "more than 8 bits"),
        ("a.png", deep_rgb(), "more than 8 bits"),
        ("a.jpg", saved(levels(4, 3), "L", "JPEG"), "convert it to PNG first"),
        ("a.png", saved(levels(3, 4), "L"), r"a picture of 1 × 3 × 4 .* trained on shape \(1, 4, 3\)"),
        ("a.png", saved(levels(4, 3, 3), "RGB"), "a picture of 3 × 4 × 3"),
        ("a.png", saved(levels(4, 3), "L")[:40], "cannot be decoded"),
        ("a.png", b"nothing", "cannot be decoded"),
        (
            "a.tif",
            saved(levels(4, 3), "L", "TIFF", save_all=True, append_images=[Image.fromarray(levels(4, 3))]),
            "several pictures in one file",
        ),
        ("c:x.png", saved(levels(4, 3), "L"), "would not be safe to write"),
    ],
)
def test_pictures_that_would_not_come_back_exactly_are_refused(name: str, content: bytes, words: str, tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0.png").write_bytes(saved(levels(4, 3), "L"))
    (tmp_path / "in" / name).write_bytes(content)
    with pytest.raises(ValueError, match=words):
        compress(GREY, open_images(tmp_path / "in", (1, 4, 3)), tmp_path / "a.ff")
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


def test_names_are_held_to_what_was_compressed(album: Path, tmp_path: Path):
    np.save(tmp_path / "x.npy", coins(5, 4, 3))
    compress(BINARY, open_images(tmp_path / "x.npy", (1, 4, 3)), tmp_path / "x.ff")
    compress(GREY, open_images(album, (1, 4, 3)), tmp_path / "p.ff")
    before = sorted(tmp_path.iterdir())
    for name in ("x.npz", "x", "x.png"):
        with pytest.raises(ContainerError, match="wanted a name that ends so"):
            decompress(BINARY, tmp_path / "x.ff", tmp_path / name)
    for name in ("x.npz", "p.npy", "p.ff"):
        with pytest.raises(ContainerError, match="name a new folder or a"):
            decompress(GREY, tmp_path / "p.ff", tmp_path / name)
    with pytest.raises(FileExistsError, match="exists already"):
        decompress(GREY, tmp_path / "p.ff", album)
    with pytest.raises(ValueError, match=r"wanted .npy, .npz, .zip or a folder"):
        open_images(tmp_path / "x.ff", (1, 4, 3))
    with pytest.raises(FileNotFoundError, match="there is no file"):
        open_images(tmp_path / "none.npz", (1, 4, 3))
    assert sorted(tmp_path.iterdir()) == before


def test_what_stops_in_the_middle_leaves_nothing(album: Path, tmp_path: Path):
    def stop(done: int, of: int) -> None:
        raise KeyboardInterrupt

    images = open_images(album, (1, 4, 3))
    with pytest.raises(KeyboardInterrupt):
        compress(GREY, images, tmp_path / "a.ff", progress=stop)
    assert sorted(tmp_path.iterdir()) == [album]
    compress(GREY, images, tmp_path / "a.ff", options=TINY)
    for name in ("back", "back.zip"):
        with pytest.raises(KeyboardInterrupt):
            decompress(GREY, tmp_path / "a.ff", tmp_path / name, lambda done, of: stop(done, of) if done > 2 else None)
        assert sorted(tmp_path.iterdir()) == [tmp_path / "a.ff", album]


def test_a_digest_tells_models_apart(tmp_path: Path):
    one, digest = model(), model_digest(model())
    assert digest == model_digest(one) and len(digest) == 32
    with torch.no_grad():
        next(one.parameters()).view(-1)[0].nextafter_(torch.tensor(9.0))
    turned = model(shape=(1, 3, 4))  # the same weights, and another shape of what they give
    others = [model(seed=1), model(CategoricalHead), model().double(), one, model(labels=True), turned]
    assert len({digest, *map(model_digest, others)}) == 7
    other = model()
    other.likelihood.network[1].bias.requires_grad_(False)
    assert model_digest(other) == model_digest(other.train()) == digest
