"""Folders and archives of pictures: decoded once, labelled by folder, refused by name."""

import io
import json
import os
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from fourfold.data import images, load
from fourfold.data.images import describe


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "fourfold" / "images"


def paint(path, value: int, size: tuple[int, int] = (5, 4), mode: str = "L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = value if mode in ("L", "1", "I;16") else (value, 0, 255)
    Image.new(mode, size, colour).save(path)
    return path


def folder_of(root, n: int = 6, **how):
    for i in range(n):
        paint(root / ("cat" if i % 2 else "dog") / f"{i}.png", 10 * i, **how)
    return root


def test_a_folder_is_decoded_and_its_folders_are_labels(tmp_path, cache):
    data = load(folder_of(tmp_path / "pets"), split="all")
    assert (data.name, data.shape, data.levels, data.classes) == ("pets", (1, 4, 5), 256, 2)
    assert data.class_names == ("cat", "dog")
    assert data.train.labels is not None
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert np.asarray(data.train.x)[:, 0, 0, 0].tolist() == [10, 30, 50, 0, 20, 40]
    (manifest,) = cache.glob("*.json")
    assert json.loads(manifest.read_text())["files"][:2] == ["cat/1.png", "cat/3.png"]


def test_a_folder_is_decoded_once(tmp_path, monkeypatch, cache):
    root = folder_of(tmp_path / "pets")
    first = load(root)
    monkeypatch.setattr(images, "_open", None)  # any decoding would fail
    again = load(root)
    assert np.array_equal(np.asarray(first.train.x), np.asarray(again.train.x))
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent.parent))
    time.sleep(0.01)
    paint(root / "cat" / "1.png", 99)
    assert 99 in np.asarray(load(root, split="all").train.x)
    assert len(list(cache.glob("*.npy"))) == 2


def test_a_damaged_cache_is_made_anew(tmp_path, cache):
    root = folder_of(tmp_path / "pets")
    before = np.asarray(load(root).train.x)
    (made,) = cache.glob("*.npy")
    os.truncate(made, 140)
    assert np.array_equal(np.asarray(load(root).train.x), before)


def test_orientation_is_kept(tmp_path):
    picture = np.zeros((16, 24), np.uint8)
    picture[:8, 16:] = 255  # top right
    Image.fromarray(picture).save(tmp_path / "0.png")
    assert np.array_equal(np.asarray(load(tmp_path, split="all").train.x)[0, 0], picture)
    turned = Image.fromarray(picture)
    exif = turned.getexif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees, clockwise
    (tmp_path / "turned").mkdir()
    turned.save(tmp_path / "turned" / "0.jpg", exif=exif)
    shown = np.asarray(load(tmp_path / "turned", split="all").train.x)[0, 0]
    assert shown.shape == (24, 16)
    assert shown[16:, 8:].min() > 200 and shown[:16].max() < 50 and shown[:, :8].max() < 50  # bottom right


def test_colour_makes_all_colour(tmp_path):
    folder_of(tmp_path / "pets")
    paint(tmp_path / "pets" / "cat" / "9.png", 7, mode="RGB")
    data = load(tmp_path / "pets", split="all")
    assert data.shape == (3, 4, 5)
    assert np.asarray(data.train.x)[3, :, 0, 0].tolist() == [7, 0, 255]
    assert np.asarray(data.train.x)[0, :, 0, 0].tolist() == [10, 10, 10]


def test_folders_of_parts_are_splits(tmp_path):
    for part, n in (("train", 4), ("val", 2), ("test", 3)):
        folder_of(tmp_path / "pets" / part, n)
    data = load(tmp_path / "pets")
    assert [len(split) for split in data.parts.values()] == [4, 2, 3]
    assert (data.classes, data.protocol["split"]) == (2, "given")


def test_names_are_described():
    assert describe(["1.png", "2.png"]) == ([None, None], [None, None])
    assert describe(["a/1.png", "2.png"]) == ([None, None], [None, None])
    assert describe(["train/1.png", "test/2.png"]) == (["train", "test"], [None, None])
    assert describe(["train/1.png", "cat/2.png"]) == ([None, None], ["train", "cat"])


def test_sizes_must_agree_or_be_given(tmp_path, unchecked):
    folder_of(tmp_path / "pets")
    paint(tmp_path / "pets" / "dog" / "9.png", 9, size=(8, 4))
    with pytest.raises(ValueError) as error:
        load(tmp_path / "pets")
    for word in ("cat/1.png", "4 x 5", "dog/9.png", "4 x 8", "size=(height, width)"):
        assert word in str(error.value)
    assert load(tmp_path / "pets", size=(3, 2)).shape == (1, 3, 2)
    data = load(tmp_path / "pets", size=7)
    assert (data.shape, data.protocol["resized"]) == ((1, 7, 7), [7, 7])
    with pytest.raises(ValueError, match="size"):
        load(tmp_path / "pets", size=(1, 2, 3))
    with pytest.raises(ValueError, match="size"):
        load(tmp_path / "pets", size=0)


@pytest.mark.parametrize("damage", [lambda b: b"not a picture", lambda b: b[: len(b) // 2], lambda b: b""])
def test_one_bad_picture_is_named_and_nothing_is_left(tmp_path, cache, damage):
    bad = folder_of(tmp_path / "pets", size=(40, 40)) / "dog" / "2.png"
    bad.write_bytes(damage(bad.read_bytes()))
    with pytest.raises(ValueError, match=r"pets: dog/2\.png cannot be decoded"):
        load(tmp_path / "pets")
    assert list(cache.rglob("*")) == []


def test_deep_pictures_are_refused(tmp_path):
    paint(tmp_path / "pets" / "1.png", 9000, mode="I;16")
    with pytest.raises(ValueError, match=r"1\.png has more than 8 bits"):
        load(tmp_path / "pets")


def test_a_folder_without_pictures_is_refused(tmp_path):
    paint(tmp_path / "pets" / ".hidden" / "1.png", 9)
    (tmp_path / "pets" / "notes.txt").touch()
    with pytest.raises(ValueError, match="holds no images"):
        load(tmp_path / "pets")


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(OSError, match="XDG_CACHE_HOME"):
        load(folder_of(tmp_path / "pets"))


def zip_of(path, members: dict[str, int]):
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in members.items():
            picture = io.BytesIO()
            Image.new("L", (5, 4), value).save(picture, "png")
            archive.writestr(name, picture.getvalue())
    return path


def test_an_archive_is_read_without_unpacking(tmp_path):
    path = zip_of(tmp_path / "pets.zip", {"top/cat/1.png": 1, "top/cat/2.png": 2, "top/dog/1.png": 3})
    data = load(path, split="all")
    assert (data.name, data.classes, data.class_names) == ("pets", 2, ("cat", "dog"))
    assert np.asarray(data.train.x)[:, 0, 0, 0].tolist() == [1, 2, 3]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "pets.zip"]


@pytest.mark.parametrize("name", ["../evil.png", "a/../../evil.png", "/evil.png", "C:/evil.png", "a\\..\\..\\evil.png"])
def test_archives_that_reach_outside_are_refused(tmp_path, name):
    path = zip_of(tmp_path / "pets.zip", {"cat/1.png": 1, name: 2})
    with pytest.raises(ValueError, match=r"pets\.zip holds the unsafe path.*evil"):
        load(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pets.zip"]


def test_a_damaged_member_is_named(tmp_path):
    path = zip_of(tmp_path / "pets.zip", {f"cat/{i}.png": i for i in range(4)})
    data = bytearray(path.read_bytes())
    data[data.find(b"IHDR") + 6] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"pets\.zip: 0\.png cannot be decoded"):
        load(path)
