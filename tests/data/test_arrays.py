"""One's own arrays: types, layouts, labels, splits, files."""

import numpy as np
import pytest

from fourfold.data import DataNotFound, Rows, arrays, from_arrays, load
from fourfold.data.rows import standard

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((9, 5), (5,)),
        ((9, 8, 6), (1, 8, 6)),
        ((9, 8, 6, 3), (3, 8, 6)),
        ((9, 8, 6, 1), (1, 8, 6)),
        ((9, 3, 8, 6), (3, 8, 6)),
        ((9, 3, 8, 3), (3, 8, 3)),
        ((9, 2, 8, 6), (2, 8, 6)),
    ],
)
def test_layouts_become_channels_first(shape, wanted):
    assert from_arrays(np.random.RandomState(0).rand(*shape)).shape == wanted


def test_channels_last_keeps_every_pixel():
    x = np.arange(2 * 6 * 5 * 3, dtype=np.uint8).reshape(2, 6, 5, 3)
    assert standard(x)[1, 2, 3, 4] == x[1, 3, 4, 2]


@pytest.mark.parametrize(
    ("x", "levels", "dtype"),
    [
        (np.arange(20, dtype=np.uint8).reshape(10, 2), 256, np.uint8),
        (np.arange(20).reshape(10, 2), 256, np.uint8),
        (np.eye(10, dtype=np.uint8), 2, np.uint8),
        (np.eye(10, dtype=bool), 2, np.uint8),
        (np.eye(10, dtype=np.int64), 2, np.uint8),
        (np.eye(10), None, np.float32),
        (np.eye(10, dtype=np.float16), None, np.float32),
    ],
)
def test_types_say_what_numbers_mean(x, levels, dtype):
    data = from_arrays(x, split="all")
    assert (data.levels, data.train.x.dtype) == (levels, dtype)
    assert np.array_equal(np.asarray(data.train.x), x)


@pytest.mark.parametrize(
    ("x", "labels", "words"),
    [
        (np.zeros((0, 4)), None, ["at least one row", "(0, 4)"]),
        (np.zeros((2, 4)), None, ["at least 3 rows"]),
        (np.zeros(9), None, ["(N, D)", "(9,)"]),
        (np.zeros((9, 2, 2, 2, 2)), None, ["(N, C, H, W)"]),
        (np.full((9, 2), 256), None, ["0..255", "256..256"]),
        (np.full((9, 2), -1, np.int8), None, ["0..255", "-1"]),
        (np.full((9, 2), 700, np.uint16), None, ["0..255", "uint16"]),
        (np.zeros((9, 2), complex), None, ["complex128", "imaginary"]),
        (np.zeros((9, 2), object), None, ["object", "pickle"]),
        (np.zeros((9, 2), "U3"), None, ["pickle"]),
        (np.full((9, 2), np.nan), None, ["NaN"]),
        (np.full((9, 2), 1e300), None, ["float32", "1e+300"]),
        (np.zeros((9, 2)), np.zeros(8, int), ["(9,)", "(8,)"]),
        (np.zeros((9, 2)), np.zeros(9), ["whole numbers"]),
        (np.zeros((9, 2)), np.eye(9), ["argmax"]),
    ],
)
def test_arrays_that_mean_nothing_are_refused(x, labels, words):
    with pytest.raises(ValueError) as error:
        from_arrays(x, labels, name="mine")
    for word in words:
        assert word in str(error.value)


def test_labels_of_words_are_numbered_in_order():
    data = from_arrays(np.zeros((4, 2)), np.array(["dog", "cat", "dog", "ape"]), split="all")
    assert data.train.labels is not None
    assert data.train.labels.tolist() == [2, 1, 2, 0]
    assert (data.classes, data.class_names) == (3, ("ape", "cat", "dog"))


def test_labels_of_numbers_count_the_classes():
    data = from_arrays(np.zeros((4, 2)), np.array([[0], [4], [1], [1]]), split="all")
    assert data.classes == 5
    assert data.class_names is None


def test_unknown_splits_name_the_right_ones():
    with pytest.raises(ValueError, match=r"'random'.*Known: all, random|'vamp'.*Known: all, random"):
        from_arrays(np.zeros((9, 2)), split="vamp")


def test_npy_and_npz(tmp_path):
    x = np.random.RandomState(0).randint(0, 256, (30, 6, 5)).astype(np.uint8)
    y = np.arange(30) % 3
    np.save(tmp_path / "mine.npy", x)
    np.savez(tmp_path / "named.npz", images=x, labels=y)
    np.savez(tmp_path / "one.npz", whatever=x)
    for name, classes in (("mine.npy", None), ("named.npz", 3), ("one.npz", None)):
        data = load(tmp_path / name, split="all")
        assert (data.shape, data.levels, data.classes) == ((1, 6, 5), 256, classes)
        assert np.array_equal(np.asarray(data.train.x)[:, 0], x)
        assert data.protocol["source"].endswith(name)
        assert len(data.protocol["checksum"]) == 32
    data = load(tmp_path / "named.npz", seed=2)
    assert [len(part) for part in data.parts.values()] == [24, 3, 3]
    assert (data.name, data.protocol["split"], data.protocol["seed"]) == ("named", "random", 2)
    rows = {tuple(row.ravel()): label for row, label in zip(x, y, strict=True)}
    for part in data.parts.values():
        assert part.labels is not None
        assert [rows[tuple(row.ravel())] for row in part.x] == part.labels.tolist()


@pytest.mark.parametrize(("x", "y"), [("x_{}", "y_{}"), ("{}_images", "{}_labels"), ("{}", "labels_{}")])
def test_parts_of_a_file_are_kept(tmp_path, x, y):
    sizes = {"train": 7, "valid": 2, "test": 3}
    parts = {x.format(p): np.full((n, 4), n, np.uint8) for p, n in sizes.items()}
    labels = {y.format(p): np.arange(n) for p, n in sizes.items()}
    np.savez(tmp_path / "parts.npz", **parts, **labels)
    data = load(tmp_path / "parts.npz")
    assert [len(part) for part in data.parts.values()] == [7, 2, 3]
    assert (data.classes, data.protocol["split"]) == (7, "given")
    with pytest.raises(ValueError, match="Known: given"):
        load(tmp_path / "parts.npz", split="random")
    del parts[x.format("valid")]
    np.savez(tmp_path / "two.npz", **parts)
    assert list(load(tmp_path / "two.npz").parts) == ["train", "test"]


def test_files_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY\x01\x00nonsense")
    (tmp_path / "bad.npz").write_bytes(b"PK nonsense")
    (tmp_path / "bad.zip").write_bytes(b"PK nonsense")
    (tmp_path / "model.pt").write_bytes(b"")
    np.save(tmp_path / "pickled.npy", np.array([{}], object), allow_pickle=True)
    np.savez(tmp_path / "two.npz", foo=np.zeros(2), bar=np.zeros(2))
    for name, words in {
        "bad.npy": "cannot be read as .npy",
        "bad.npz": "cannot be read as .npz",
        "bad.zip": "not a zip archive",
        "model.pt": r"wanted .npy, .npz, .txt, .zip or a folder of images, got '.pt'",
        "pickled.npy": "cannot be read as .npy",
        "two.npz": "found foo, bar",
    }.items():
        with pytest.raises(ValueError, match=words) as error:
            load(tmp_path / name)
        assert name in str(error.value)
    with pytest.raises(DataNotFound, match="absent"):
        load(tmp_path / "absent.npy")


def test_large_files_stay_on_disk(tmp_path, monkeypatch):
    x = np.random.RandomState(0).randint(0, 256, (50, 6, 5, 3)).astype(np.uint8)
    np.save(tmp_path / "large.npy", x)
    small = load(tmp_path / "large.npy", seed=1)
    monkeypatch.setattr(arrays, "RESIDENT_BYTES", 100)
    large = load(tmp_path / "large.npy", seed=1)
    assert (large.shape, large.levels) == ((3, 6, 5), 256)
    for name, part in large.parts.items():
        assert isinstance(part.x, Rows)
        assert np.array_equal(np.asarray(part.x), small.parts[name].x)
        assert part.x[1:2].shape == (1, 3, 6, 5)
        assert part.x.nbytes == small.parts[name].x.nbytes


def test_large_files_are_converted_row_by_row(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "RESIDENT_BYTES", 100)
    np.save(tmp_path / "doubles.npy", np.eye(30))
    np.save(tmp_path / "bits.npy", np.eye(30, dtype=bool))
    np.save(tmp_path / "deep.npy", np.zeros((30, 30), np.uint16))
    doubles, bits = load(tmp_path / "doubles.npy"), load(tmp_path / "bits.npy")
    assert (doubles.levels, doubles.train.x[:3].dtype) == (None, np.float32)
    assert (bits.levels, bits.train.x[:3].dtype) == (2, np.uint8)
    with pytest.raises(ValueError, match=r"deep\.npy.*uint16.*65535"):
        load(tmp_path / "deep.npy")
